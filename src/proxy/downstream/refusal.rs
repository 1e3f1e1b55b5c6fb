//! The one place where it is told that a client was refused something: counted, and logged.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::proxy::client_limits::{ClientLimit, ClientStats};
use crate::proxy::error_response;
use crate::proxy::frame_tap::Flood;
use crate::proxy::message_guard::machine::Violation;

/// A request was refused that no backend and no request log has seen.
pub(super) fn request(
    stats: &ClientStats,
    client: SocketAddr,
    limit: ClientLimit,
    status: u16,
    details: &str,
) {
    stats.count(limit);
    let reason = limit.name();
    tracing::info!(target: "baton", client = %client, reason, status, details, "request refused");
}

/// A connection was closed for what the client did or did not do. Once per connection.
pub(super) fn connection(
    stats: &ClientStats,
    client: SocketAddr,
    limit: ClientLimit,
    details: &str,
) {
    stats.count(limit);
    let reason = limit.name();
    tracing::info!(target: "baton", client = %client, reason, details, "client connection closed");
}

/// Connections were refused before anything was read: the last of `count`.
pub(super) fn connections(limit: ClientLimit, client: SocketAddr, count: u64) {
    let reason = limit.name();
    tracing::info!(target: "baton", client = %client, reason, count, "connections refused");
}

/// 431, for a head over the limits (RFC 6585, 5).
pub(super) fn too_many_fields() -> Response<Full<Bytes>> {
    error_response::refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many fields")
}

/// The limit that a malformed HTTP/1.1 message ran into, and the status that it is answered with.
pub(super) fn of_violation(violation: Violation) -> (ClientLimit, u16) {
    match violation {
        Violation::StartLine | Violation::Field | Violation::Unasked => {
            (ClientLimit::MalformedHead, 400)
        }
        Violation::Framing => (ClientLimit::MalformedFraming, 400),
        Violation::Chunk | Violation::Trailer => (ClientLimit::MalformedBody, 400),
        Violation::HeadBytes => (ClientLimit::HeadBytes, 431),
        Violation::HeadFields => (ClientLimit::HeadFields, 431),
    }
}

/// The limit behind a flood.
pub(super) fn of_flood(flood: Flood) -> ClientLimit {
    match flood {
        Flood::Resets => ClientLimit::ResetFlood,
        Flood::ProvokedResets => ClientLimit::ProvokedResetFlood,
        Flood::Pings => ClientLimit::PingFlood,
        Flood::Settings => ClientLimit::SettingsFlood,
        Flood::EmptyData => ClientLimit::DataFlood,
        Flood::Priorities => ClientLimit::PriorityFlood,
        Flood::WindowUpdates => ClientLimit::WindowUpdateFlood,
        Flood::Continuations => ClientLimit::ContinuationFlood,
        Flood::RefusedHeads => ClientLimit::RefusedHeadFlood,
    }
}

/// The limit of its own that `h2` found exceeded, by the debug data of its GOAWAY.
pub(super) fn of_complaint(debug: &[u8]) -> ClientLimit {
    match debug {
        b"too_many_resets" => ClientLimit::ResetFlood,
        b"too_many_internal_resets" => ClientLimit::ProvokedResetFlood,
        b"too_many_continuations" => ClientLimit::ContinuationFlood,
        b"too_many_data_frames" => ClientLimit::DataFlood,
        b"header_list_way_too_large" => ClientLimit::HeaderExpansion,
        _ => ClientLimit::MalformedFrames,
    }
}
