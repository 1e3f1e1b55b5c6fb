//! Reads bytes as a plan and runs it like any other plan.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::fuzz::run_plan(bytes));
