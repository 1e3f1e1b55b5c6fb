//! Refusals to clients: the limits that errors stand for, and a response.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::proxy::client_limits::ClientLimit;
use crate::proxy::error_response;
use crate::proxy::http2_wire::Flood;
use crate::wire::http1::Violation;

/// Logs connections that were refused before a byte was read. `client` is the last of `count`.
pub(super) fn connections(limit: ClientLimit, client: SocketAddr, count: u64) {
    let reason = limit.name();
    tracing::info!(target: "baton", client = %client, reason, count, "connections refused");
}

/// Returns a 431 for a head with too many fields (RFC 6585, 5).
pub(super) fn too_many_fields() -> Response<Full<Bytes>> {
    error_response::refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many fields")
}

/// Returns the response to an HTTP/1.1 head that cannot be read.
///
/// # Panics
/// If it is no status.
pub(super) fn of_head(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    error_response::note_error(&mut response);
    response
}

/// Maps a malformed HTTP/1.1 message to its limit and the status of the response.
pub(super) fn of_violation(violation: Violation) -> (ClientLimit, u16) {
    match violation {
        Violation::StartLine | Violation::Field | Violation::Unsolicited => {
            (ClientLimit::MalformedHead, 400)
        }
        Violation::Framing => (ClientLimit::MalformedFraming, 400),
        Violation::Chunk | Violation::Trailer => (ClientLimit::MalformedBody, 400),
        Violation::HeadBytes => (ClientLimit::HeadBytes, 431),
        Violation::HeadFields => (ClientLimit::HeadFields, 431),
    }
}

/// Maps a flood to its limit.
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

/// Maps the debug data of a GOAWAY from `h2` to the limit that `h2` found exceeded.
pub(super) fn of_h2_goaway(debug: &[u8]) -> ClientLimit {
    match debug {
        b"too_many_resets" => ClientLimit::ResetFlood,
        b"too_many_internal_resets" => ClientLimit::ProvokedResetFlood,
        b"too_many_continuations" => ClientLimit::ContinuationFlood,
        b"too_many_data_frames" => ClientLimit::DataFlood,
        b"header_list_way_too_large" => ClientLimit::HeaderExpansion,
        _ => ClientLimit::MalformedFrames,
    }
}
