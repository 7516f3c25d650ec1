//! Whole daemons against the sandbox, on both engines: what a client, an operator and a crash see.
//!
//! PostgreSQL is that of `TEST_DATABASE_URL`; without it these tests fail and say so (`./scripts/test` provides it).

#[path = "../support/database.rs"]
mod support;

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/many.rs"]
mod many;
#[path = "../support/moments.rs"]
mod moments;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/proxy.rs"]
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
mod neighbours;
mod outage;
mod reconcile;
mod restore;
mod restore_crash;
mod restore_proof;
mod retention;
mod schedules;
mod upgrade;
