//! The one door to Microsoft Graph: sign-in, the wire protocol (paging, batch, throttling), the fetch, and what a
//! restore reads and writes.
//!
//! What it is not: it decides nothing about runs and touches no database. No other module may use `reqwest`.
//!
//! Invariants:
//! - A token goes to the login and Graph hosts of its own cloud only: no redirect is followed, a nextLink to another
//!   host is refused.
//! - A read that failed or was malformed is an error, never an empty list.
//! - Of a foreign answer only status, error code and request id leave this module, never a message.
//! - Every wait ends early when its [`tokio_util::sync::CancellationToken`] is cancelled.

pub mod cloud;
pub mod credential;

mod error;
mod retry_after;

mod window;

mod budget;
mod token;

mod service;

mod batch;
mod client;
mod paging;

mod kind;

pub mod fetch;

mod directory;
mod live;
mod roles;
mod write;

pub use budget::forecast;
pub use client::GraphClient;
pub use error::GraphError;
pub use live::LiveAssignments;
pub use service::{GraphService, GraphSetupError};
pub use write::{WriteFate, WritePlace};
