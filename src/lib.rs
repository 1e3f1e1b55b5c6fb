//! Baton: an HTTP load balancer whose connection pool is a state machine without I/O.
//!
//! | module | what it is |
//! |---|---|
//! | [`pool`] | the heart: every decision about backends, connections and requests; no I/O |
//! | `proxy` | the shell around it: tokio, rustls, h2, hyper |
//! | `admin` | what the proxy tells of itself: metrics, pools, whether it is well |
//! | `cli` | the command line |
//! | `config` | the configuration file |
//! | `demo` | two embedded backends behind the proxy |
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
#[cfg(feature = "proxy")]
pub mod demo;
#[cfg(feature = "proxy")]
pub mod proxy;
