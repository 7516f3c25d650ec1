//! The Graph double, over real HTTP.

mod batches;
mod client;
mod control;
mod faults;
mod reads;
mod sign_in;
mod throttling;
mod writes;
