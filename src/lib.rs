//! atlasd runs Intune assignment operations for many Microsoft 365 tenants and keeps one canonical
//! ledger of them.
//!
//! ```text
//! daemon - Supervisor -+- RunRegistry          1   serial admission, group commit
//!                      +- WorkspaceReconcile   1   one pass at a time
//!                      +- TenantAssignments    n   one per tenant with work
//! ```
//!
//! The modules stand in reading order. `ARCHITECTURE.md` draws the whole and says what must never import what.

// The rules: pure, no I/O.
pub mod domain;

// Time, chance, limits, numbers.
pub mod clock;
pub mod config;
pub mod ids;
pub mod metrics;
pub mod telemetry;

// The two doors: to the database, to Microsoft Graph.
pub mod graph;
pub mod store;

// Who decides, what executes, and who hears of it.
pub mod actors;
pub mod audit;
pub mod events;
pub mod execution;

// The ways in.
pub mod admin;
pub mod intake;

// All of it together.
pub mod cli;
pub mod daemon;

// The Graph double that everything can be tried against.
pub mod sandbox;
