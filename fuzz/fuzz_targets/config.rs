//! Bytes are read as a configuration file; what is good in them is printed and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| baton::config::round_trip(bytes));
