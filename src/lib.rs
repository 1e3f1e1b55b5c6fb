//! Baton: an HTTP load balancer whose connection pool is a state machine without I/O.
//!
//! | module | what it is |
//! |---|---|
//! | [`pool`] | every decision about backends, connections and requests; no I/O |
//! | `proxy` | the I/O around the pool: tokio, rustls, h2, hyper |
//! | `wire` | bytes to events and back: HTTP/1.1 messages |
//! | `admin` | the admin interface: metrics, state, health and an operator's orders |
//! | `cli` | the command line |
//! | `config` | the configuration file |
//! | `demo` | the proxy with two embedded backends |
//!
//! Without the feature `proxy` (on by default) only [`pool`] is built, `no_std`, with `alloc` for
//! construction.

#![cfg_attr(not(feature = "proxy"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod pool;

#[cfg(feature = "proxy")]
pub mod admin;
#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(feature = "proxy")]
pub mod config;
#[cfg(all(feature = "proxy", not(feature = "simulation")))]
pub mod demo;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "proxy")]
pub mod wire;
