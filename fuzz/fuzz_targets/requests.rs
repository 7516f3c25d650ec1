//! The target `requests`: see `bodies.rs`.
#![no_main]

#[expect(dead_code, reason = "each target uses one body")]
#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::requests(data));
