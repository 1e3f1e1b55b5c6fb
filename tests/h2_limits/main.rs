//! Asserts today's behaviour of the crate `h2` where it breaks RFC 9113 or a need of a proxy. Each
//! test belongs to a section of `docs/h2.md`. A test that fails shows that a new `h2` behaves
//! differently: then the document, and perhaps a workaround in Baton, must change.
//!
//! `h2` runs alone: raw frames are on the other side, and each side is polled by hand.
#![cfg(feature = "proxy")]

mod budgets;
mod closed;
mod encoding;
mod frames;
mod goaway;
mod heads;
mod hidden;
mod setup;
