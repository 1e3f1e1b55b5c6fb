//! What clients may do. One connection is meant unless it says otherwise; frames are counted over a
//! window, and honest work earns more of them.

use crate::config::setting::{Setting, field};
use crate::config::value::Kind;
use crate::proxy::config::ProxyConfig;

const TIME: Kind = Kind::Duration { zero: false };
const MANY: Kind = Kind::count(1 << 30);

/// Limits on clients, and on the frames of one HTTP/2 connection of theirs.
pub static CLIENTS: &[Setting<ProxyConfig>] = &[
    Setting::new(
        "clients",
        "tls_handshake_timeout",
        TIME,
        field!(ProxyConfig: client_limits.tls_handshake_timeout),
        "Time to finish the TLS handshake",
    )
    .flag("client-tls-timeout"),
    Setting::new(
        "clients",
        "head_timeout",
        TIME,
        field!(ProxyConfig: client_limits.head_timeout),
        "Time to finish a request head",
    )
    .flag("client-head-timeout"),
    Setting::new(
        "clients",
        "http1_idle_timeout",
        TIME,
        field!(ProxyConfig: client_limits.http1_idle_timeout),
        "Time without a request after which an HTTP/1.1 connection is closed",
    )
    .flag("client-http1-idle-timeout"),
    Setting::new(
        "clients",
        "http2_idle_timeout",
        TIME,
        field!(ProxyConfig: client_limits.http2_idle_timeout),
        "Time without a stream after which an HTTP/2 connection gets GOAWAY",
    )
    .flag("client-http2-idle-timeout"),
    Setting::new(
        "clients",
        "keepalive_interval",
        TIME,
        field!(ProxyConfig: client_limits.keepalive_interval),
        "Silence of an HTTP/2 client after which it gets a PING",
    )
    .flag("client-keepalive-interval"),
    Setting::new(
        "clients",
        "keepalive_timeout",
        TIME,
        field!(ProxyConfig: client_limits.keepalive_timeout),
        "Time to answer that PING",
    )
    .flag("client-keepalive-timeout"),
    Setting::new(
        "clients",
        "write_stall_timeout",
        TIME,
        field!(ProxyConfig: client_limits.write_stall_timeout),
        "Time in which a client that lets its socket fill up must read something",
    )
    .flag("client-write-stall-timeout"),
    Setting::new(
        "clients",
        "farewell_timeout",
        TIME,
        field!(ProxyConfig: client_limits.farewell_timeout),
        "Time to read the last bytes of a connection that is to go",
    )
    .flag("client-farewell-timeout"),
    Setting::new(
        "clients",
        "head_bytes",
        Kind::Bytes { min: 8 * 1024, max: 1024 * 1024 },
        field!(ProxyConfig: client_limits.head_bytes),
        "Bytes of a request head",
    )
    .flag("client-head-bytes"),
    Setting::new(
        "clients",
        "head_fields",
        Kind::Integer { min: 16, max: 1024 },
        field!(ProxyConfig: client_limits.head_fields),
        "Field lines of a request head",
    )
    .flag("client-head-fields"),
    Setting::new(
        "clients",
        "streams_per_connection",
        Kind::count(1000),
        field!(ProxyConfig: client_limits.streams_per_connection),
        "Streams that a client may have open on one connection",
    )
    .flag("client-streams"),
    Setting::new(
        "clients",
        "connections",
        MANY,
        field!(ProxyConfig: client_limits.connections),
        "Connections of all clients to the process",
    )
    .flag("client-connections"),
    Setting::new(
        "clients",
        "connections_per_address",
        MANY,
        field!(ProxyConfig: client_limits.connections_per_address),
        "Connections of one client address (IPv4, or IPv6 /64) to the process",
    )
    .flag("client-connections-per-address"),
    Setting::new(
        "client_frames",
        "window",
        Kind::Duration { zero: false },
        field!(ProxyConfig: client_limits.frames.window),
        "Time over which frames are counted, at least 1s",
    )
    .flag("client-frames-window"),
    Setting::new(
        "client_frames",
        "resets",
        MANY,
        field!(ProxyConfig: client_limits.frames.resets),
        "RST_STREAM from a client (Rapid Reset)",
    )
    .flag("client-frames-resets"),
    Setting::new(
        "client_frames",
        "provoked_resets",
        MANY,
        field!(ProxyConfig: client_limits.frames.provoked_resets),
        "RST_STREAM that a client provokes (MadeYouReset)",
    )
    .flag("client-frames-provoked-resets"),
    Setting::new(
        "client_frames",
        "pings",
        MANY,
        field!(ProxyConfig: client_limits.frames.pings),
        "PING, acknowledgements included",
    )
    .flag("client-frames-pings"),
    Setting::new(
        "client_frames",
        "settings",
        MANY,
        field!(ProxyConfig: client_limits.frames.settings),
        "SETTINGS and their acknowledgements",
    )
    .flag("client-frames-settings"),
    Setting::new(
        "client_frames",
        "empty_data",
        MANY,
        field!(ProxyConfig: client_limits.frames.empty_data),
        "DATA without payload that does not end its stream",
    )
    .flag("client-frames-empty-data"),
    Setting::new(
        "client_frames",
        "priorities",
        MANY,
        field!(ProxyConfig: client_limits.frames.priorities),
        "PRIORITY and frames of unknown kind",
    )
    .flag("client-frames-priorities"),
    Setting::new(
        "client_frames",
        "window_updates",
        MANY,
        field!(ProxyConfig: client_limits.frames.window_updates),
        "WINDOW_UPDATE",
    )
    .flag("client-frames-window-updates"),
    Setting::new(
        "client_frames",
        "continuations",
        MANY,
        field!(ProxyConfig: client_limits.frames.continuations),
        "CONTINUATION of one header block",
    )
    .flag("client-frames-continuations"),
    Setting::new(
        "client_frames",
        "refused_heads",
        MANY,
        field!(ProxyConfig: client_limits.frames.refused_heads),
        "Requests that were refused at their heads",
    )
    .flag("client-frames-refused-heads"),
];
