//! What a user must be able to believe: whatever dies, each name holds its old content or its new content, whole;
//! one more invocation ends complete, and moves only what is missing. One file here for each way to die;
//! `tests/torture` does the same at random, for minutes.

mod backups;
mod changes;
mod clock;
mod cuts;
mod damage;
mod disks;
mod file_systems;
mod kills;
mod order;
mod parts;
mod retries;
mod sizes;
mod stalls;
mod writers;
