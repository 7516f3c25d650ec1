//! Races between processes, the same on both engines: who may run what, asked by many at once, and who runs it.
//!
//! The racers are processes (this very binary, started again) that are let off together. On either engine they go to
//! the ledger through a [`Store`](atlasd::store::Store) of their own; over HTTP they go to several daemons on one
//! PostgreSQL, or to the one that a SQLite file may have.
//!
//! Without more the forms are small. `ATLASD_TEST_FULL=1` makes them as large as `docs/RELIABILITY.md` says.

#[path = "../support/database.rs"]
mod support;

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/many.rs"]
mod many;
#[path = "../support/process.rs"]
mod process;

mod door;
mod field;
mod times;

mod executions;
mod identical;
mod identities;

/// The default lease in place of the harness's short one: dozens of processes on two cores keep a heartbeat waiting.
const PATIENT: &str = "[execution]\npoll = \"200ms\"\n[database]\nconnections_max = 4\n";
