//! Tests the real `baton` binary with real servers on loopback, one scenario per test.
#![cfg(feature = "proxy")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests use the real network and clock"
)]

#[path = "../support/mod.rs"]
mod support;
mod system;

mod access_log;
mod audit;
mod backend_commands;
mod blame;
mod cancel;
mod clusters;
mod command_line;
mod config_file;
mod drain;
mod ejection;
mod failing;
mod goaway;
mod hardening_floods;
mod hardening_honest;
mod hardening_number;
mod malformed_heads;
mod memory;
mod metrics;
mod multiplex;
mod parked;
mod reload;
mod reload_load;
mod reload_tls;
mod shutdown;
mod slow_readers;
mod transports;
mod upstream_tls;
