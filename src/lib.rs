//! atlasd runs Intune assignment operations for many Microsoft 365 tenants and keeps one canonical
//! ledger of them.
//!
//! ```text
//! daemon - Supervisor -+- RunRegistry          1   serial admission, group commit
//!                      +- WorkspaceReconcile   1   one pass at a time
//!                      +- TenantAssignments    n   one per tenant with work
//! ```
//!
//! Reading order: [`domain`] (the rules, pure), [`store`] (the one door to the database), [`graph`]
//! (the one door to Microsoft Graph), [`actors`] (who decides and executes), `admin` (HTTP),
//! `daemon` (builds the parts and stops them in order), `cli`. `ARCHITECTURE.md` draws the whole.

pub mod domain;

pub mod clock;
pub mod config;
pub mod ids;
pub mod metrics;

pub mod store;

pub mod graph;

pub mod actors;

pub mod sandbox;

pub mod cli;
