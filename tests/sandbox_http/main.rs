//! The Graph double, over real HTTP.

mod batches;
mod client;
mod control;
mod faults;
mod gates;
mod reads;
mod records;
mod refusals;
mod sign_in;
mod snapshot_file;
mod throttling;
mod writes;
