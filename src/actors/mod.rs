//! Who decides and who executes. One arbiter, all actors on it; nobody outside holds an actor's address but through
//! [`Handle`].
//!
//! ```text
//! Supervisor -+- RunRegistry          1   serial admission, group commit
//!             +- WorkspaceReconcile   1   one pass at a time
//!             +- TenantAssignments    n   one per tenant with work
//! ```
//!
//! Reading order: [`handle`] (what others may ask), [`gate`], [`registry`], [`supervisor`], [`restart`],
//! [`death_watch`], [`tenant`], [`reconcile`], [`board`] (what executes here),
//! [`fleet`] (the other instances).

pub mod handle;

pub mod gate;
pub mod registry;

pub mod death_watch;
pub mod restart;
pub mod supervisor;

pub mod board;
pub mod fleet;
pub mod reconcile;
pub mod tenant;

pub use handle::{ActorReport, AdmitError, Handle, Progress, Readiness, RestoreProgress, SystemReport};
