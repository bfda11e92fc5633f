//! The commands, one file a verb. Each takes what it needs and answers. Framing and policy are the session's.

pub mod blocks;
pub mod df;
pub mod get;
pub mod hash;
pub mod hello;
pub mod link;
pub mod login;
pub mod ls;
pub mod mkdir;
pub mod mv;
pub mod part;
pub mod put;
pub mod resume;
pub mod rm;
pub mod set;
pub mod stat;
pub mod symlink;
pub mod tree;
