//! Bytes become a plan, which is run as every other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::run_plan(bytes));
