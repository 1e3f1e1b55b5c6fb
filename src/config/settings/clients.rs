//! Limits on clients, from their [table](crate::proxy::client_limits), and the one whose default
//! depends on the machine.

use std::sync::LazyLock;

use super::in_order;
use crate::config::setting::{Setting, field};
use crate::config::value::Kind;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::ProxyConfig;
use crate::proxy::limits::BUFFERED_BYTES_MIN;

/// Limits on clients, and on the frames of each of their HTTP/2 connections.
pub static CLIENTS: LazyLock<Vec<Setting<ProxyConfig>>> = LazyLock::new(|| {
    let buffered_bytes = Setting::new(
        "clients",
        "buffered_bytes",
        Kind::Bytes { min: BUFFERED_BYTES_MIN, max: i64::MAX as u64 },
        field!(ProxyConfig: buffered_bytes),
        "Bytes of responses that may wait for all clients of the process",
    )
    .flag("client-buffered-bytes")
    .unset("a quarter of the memory");
    let table = ClientLimits::SETTINGS.iter().map(Setting::of_table);
    let settings = table.chain([buffered_bytes]).collect();
    in_order(settings, &["clients", "client_frames"])
});
