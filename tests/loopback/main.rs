//! Tests the real `baton` binary with real servers on loopback, one scenario per test.
#![cfg(feature = "proxy")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests use the real network and clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod admin;
mod audit;
mod backend_commands;
mod bodies;
mod cancel;
mod clusters;
mod command_line;
mod config_file;
mod drain;
mod ejection;
mod errors;
mod failing;
mod goaway;
mod grpc;
mod hardening_backends;
mod hardening_floods;
mod hardening_honest;
mod hardening_number;
mod hardening_size;
mod hardening_smuggling;
mod hardening_time;
mod hardening_translation;
mod header_rules;
mod health;
mod http1_backend;
mod memory;
mod metrics;
mod multiplex;
mod parked;
mod reload;
mod reload_load;
mod reload_tls;
mod shutdown;
mod stalls;
mod streams;
mod transports;
mod upkeep;
mod upstream_tls;
