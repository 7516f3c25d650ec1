//! The built program as people and scripts use it: arguments in, output and exit code out.

mod program;

mod usage;

mod database;
mod ledger;

mod client;
mod daemon;
