//! Who decides and who executes. One arbiter, all actors on it; nobody outside holds an actor's address but through
//! [`Handle`].

pub mod handle;

pub use handle::{AdmitError, Handle, Progress, Readiness, SystemReport};
