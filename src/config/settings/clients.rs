//! Limits on clients, from their [table](crate::proxy::client_limits).

use std::sync::LazyLock;

use super::in_order;
use crate::config::setting::Setting;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::ProxyConfig;

/// Limits on clients, and on the frames of each of their HTTP/2 connections.
pub static CLIENTS: LazyLock<Vec<Setting<ProxyConfig>>> = LazyLock::new(|| {
    let settings = ClientLimits::SETTINGS.iter().map(Setting::of_table).collect();
    in_order(settings, &["clients", "client_frames"])
});
