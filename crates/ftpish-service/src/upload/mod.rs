//! An upload: how bytes that a client sends become a file. Each state is a type, and each step takes one state and returns
//! the next, so no step can be left out.
//!
//! ```text
//!  resume ──▶ Offered ──put with ranges──▶ Receiving ──body verified──▶ Complete ──commit──▶ stored
//!              │   ▲                           ▲
//!              └───┘ part, over any connection │
//!                                              │
//!  put ────────────────────────────────────────┘
//! ```
//!
//! A step that fails abandons the upload. The partial file stays for a later `resume`, if it is worth one.
//!
//! Elsewhere: replies, and small files that are committed together, are the front's.

mod offered;
mod parts;
mod receiving;
mod replacing;

pub use offered::{Offered, is_optimistic, must_ask_first};
pub use parts::{Parts, Uploads, bad_part};
pub use receiving::{Complete, Receiving};
