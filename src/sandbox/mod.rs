//! The Graph double: a real HTTP server with seeded tenants, so that the whole product can be tried, tested and
//! rehearsed without a Microsoft tenant.
//!
//! It is stateful (a write changes what the next read gives), deterministic (one seed, the same policies byte for
//! byte; everything is derived from SHA-256), and it can misbehave on demand ([`faults`]). The sign-in endpoint and
//! Graph share one base URL: tokens at `/{tenant}/oauth2/v2.0/token`, Graph below `/beta`, the control API below
//! `/_sandbox` ([`control`]). The token says which tenant a Graph call is for.
//!
//! It is not an emulator of Intune: objects carry the properties that an assignments client can meet, no more, and
//! `$filter` and `$orderby` are accepted and ignored. It is meant for loopback addresses: the control API asks for
//! no token.
//!
//! Invariants: one lock guards the whole world, so every call sees a consistent state; a throttled or faulted call
//! changes no assignment, but for the faults whose name ends in `After` and those of the answer alone. Waiting (a gate,
//! a silence, a slow body) happens outside the lock.

pub mod config;
pub mod control;
pub mod edits;
pub mod faults;
pub mod gates;
pub mod log;
pub mod snapshot_file;
pub mod throttle;

mod answer;
mod assignments;
mod batch;
mod call;
mod collections;
mod control_http;
mod dispatch;
mod groups;
mod leaks;
mod paging;
mod percent;
mod policies;
mod route;
mod rules;
mod seed;
mod server;
mod shapes;
mod state;
mod steps;
mod token;
mod write;

pub use answer::CANARIES;
pub use config::{Policies, SandboxConfig, TenantSpec, demo_tenants};
pub use control::SandboxControl;
pub use edits::{Edit, ScheduledEdit, When};
pub use faults::{Fault, FaultKind, On};
pub use gates::{Gate, GateState, GateView, Step};
pub use log::{Stats, WriteRecord};
pub use server::{Sandbox, SandboxError};
pub use snapshot_file::{BadSnapshotFile, SnapshotFile};
pub use state::ReadDelay;
pub use throttle::{Limit, RetryAfterForm, ThrottleConfig};
