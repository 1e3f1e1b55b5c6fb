//! Reads bytes as raw facts, true or not, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::run_inputs(bytes));
