//! The HTTP endpoint against a real daemon (SPEC section 10): one file per topic.

#[path = "../support/http.rs"]
mod support;

mod access;
mod events;
mod failures;
mod requests;
mod runs;
mod snapshots;
mod system;
mod tenants;
