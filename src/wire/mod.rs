//! Bytes to events, and events to bytes, without I/O.
//!
//! | module | contents |
//! |---|---|
//! | [`http1`] | HTTP/1.1 messages, of clients and of servers |

pub mod http1;
