//! The rules of atlasd: pure, no I/O, no async, no diesel, no actix; `now`, ids and randomness are arguments.

pub mod names;
pub mod operation;
pub mod permissions;
pub mod policy_types;

pub mod identity;

pub mod run;
pub mod transition;

pub mod admission;
pub mod identities;

pub mod counts;
pub mod failure;

pub mod assignment;
pub mod restore;

pub mod audit;
pub mod health;
pub mod reconcile;
pub mod retention;
pub mod retry;
pub mod share;

pub mod schedule;
