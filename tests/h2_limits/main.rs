//! Asserts how the copy of the crate `h2` in `third_party/h2` behaves where the published one
//! breaks RFC 9113 or a need of a proxy. Each test belongs to a section of `docs/h2.md`. Faults
//! that a patch has mended are asserted as the RFC wants it, the others as they are. A test that
//! fails shows that a new `h2` behaves differently: then the document, and perhaps a workaround in
//! Baton, must change.
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
