//! Whole daemons against the sandbox, on both engines: what a client, an operator and a crash see.
//!
//! PostgreSQL is that of `TEST_DATABASE_URL`; without it these tests fail and say so (`./scripts/test` provides it).

#[path = "../support/database.rs"]
mod support;

mod bed;
mod many;
mod process;
mod proxy;

mod actors;
mod canaries;
mod crash;
mod drain;
mod duplicates;
mod events;
mod fetch;
mod fleet;
mod instances;
mod outage;
mod reconcile;
mod restore;
mod restore_crash;
mod restore_proof;
mod retention;
