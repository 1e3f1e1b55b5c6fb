//! Reads bytes as a configuration file; prints the valid part and reads it again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| baton::config::round_trip(bytes));
