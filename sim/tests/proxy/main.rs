//! Tests the whole proxy with scripted peers on the simulated network, one scenario per test. The
//! checker judges the proxy's pools in each of them.
//!
//! Time is simulated: a wait costs nothing. What only sockets, processes and files show is in
//! `tests/loopback`.
#![cfg(feature = "proxy")]

#[path = "../../../tests/support/mod.rs"]
mod support;
mod system;

mod access_log;
mod admin;
mod backend_commands;
mod bodies;
mod cancel;
mod clusters;
mod drain;
mod ejection;
mod errors;
mod failing;
mod goaway;
mod grpc;
mod hardening_backends;
mod hardening_floods;
mod hardening_framing;
mod hardening_honest;
mod hardening_number;
mod hardening_size;
mod hardening_smuggling;
mod hardening_time;
mod hardening_translation;
mod header_rules;
mod health;
mod http1_backend;
mod http1_messages;
mod http2_messages;
mod metrics;
mod multiplex;
mod parked;
mod reload;
mod shutdown;
mod stalls;
mod streams;
mod upkeep;
