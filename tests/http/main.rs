//! The HTTP endpoint against a real daemon (SPEC section 10): one file per topic.

#[path = "../support/http.rs"]
mod support;

/// Each fact on each engine.
macro_rules! on_both_engines {
    ($($fact:ident,)*) => {
        mod sqlite { $(#[test] fn $fact() { super::$fact(super::Engine::Sqlite); })* }
        mod postgres { $(#[test] fn $fact() { super::$fact(super::Engine::Postgres); })* }
    };
}

mod access;
mod attacks;
mod attacks_slow;
mod audit;
mod conformance;
mod events;
mod examples;
mod failures;
mod guard;
mod pages;
mod raw;
mod requests;
mod restore;
mod restore_checks;
mod runs;
mod schedules;
mod sessions;
mod snapshot_files;
mod snapshots;
mod system;
mod tenant_pages;
mod tenants;
mod tls;
