//! The built program as people and scripts use it: arguments in, output and exit code out.

#[path = "../support/database.rs"]
mod support;

mod program;

mod usage;

mod ledger;

mod check;
mod client;
mod daemon;
mod demo;
mod files;
mod log;
mod plans;
mod restore;
mod sandbox;
mod schedules;
mod service;
mod shell;
mod traces;
