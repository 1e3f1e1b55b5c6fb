//! How requests, streams and connections end, as the catalogue of the proxy's world lists it, and
//! which of it cannot be.

use std::fmt;

use super::deed::Side;
use super::expected::Expected::{self, Always};

baton::words! {
    /// The outcome in a line of the access log.
    pub(crate) enum Outcome {
        /// The response was complete.
        Completed = "completed",
        /// The client cancelled.
        Cancelled = "cancelled",
        /// The proxy answered.
        Rejected = "rejected",
        /// The response broke off.
        CutShort = "cut_short",
    }

    /// The protocol of a backend that a request was given to.
    pub(crate) enum Backend {
        /// It was given to none.
        None = "no backend",
        /// HTTP/1.1.
        Http1 = "HTTP/1.1",
        /// HTTP/2.
        Http2 = "HTTP/2",
    }
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    /// True if the client speaks HTTP/2.
    pub(crate) client_http2: bool,
    /// The last backend.
    pub(crate) backend: Backend,
}

impl Ending {
    pub(super) fn place(self) -> usize {
        let protocol = usize::from(self.client_http2);
        (self.outcome as usize * 2 + protocol) * Backend::ALL.len() + self.backend as usize
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Outcome::ALL.iter().flat_map(|outcome| {
            [false, true].into_iter().flat_map(move |client_http2| {
                Backend::ALL.iter().map(move |backend| Self {
                    outcome: *outcome,
                    client_http2,
                    backend: *backend,
                })
            })
        })
    }

    pub(super) fn expected(self) -> Expected {
        match (self.outcome, self.backend) {
            (Outcome::Completed | Outcome::CutShort, Backend::None) => {
                Expected::Never("only a backend's response is complete or cut short")
            }
            _ => Always,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = if self.client_http2 { "HTTP/2" } else { "HTTP/1.1" };
        write!(formatter, "{} × {client} × {}", self.outcome, self.backend)
    }
}

/// A reason, and if it is met.
type Reason = (&'static str, Expected);

const OBEDIENT: Expected = Expected::Never("the clients of plans keep to the protocol and limits");

/// The reasons of answers that the proxy makes itself, and of client connections that it closes.
pub(super) const REASONS: [Reason; 39] = [
    ("requests_full", Always),
    ("queue_full", Always),
    ("queue_deadline", Always),
    ("shutting_down", Always),
    ("response_deadline", Always),
    ("attempt_failed", Always),
    ("body_stalled", Always),
    ("upload_blocked", Always),
    ("head_too_large", Expected::Never("no backend of the models announces a limit of heads")),
    ("refused", OBEDIENT),
    ("no_route", Expected::Never("there is one route, and it is for everything")),
    ("incomplete_head", Always),
    ("left_unserved", Always),
    ("tls_handshake", Always),
    ("tls_handshake_timeout", Always),
    ("head_timeout", Always),
    ("idle_timeout", Always),
    ("keepalive_timeout", Always),
    ("write_stall", Always),
    ("buffered_bytes", Expected::Never("no plan bounds what waits for clients")),
    ("streams_per_connection", OBEDIENT),
    ("head_bytes", OBEDIENT),
    ("head_fields", OBEDIENT),
    ("connections", OBEDIENT),
    ("connections_per_address", OBEDIENT),
    ("malformed_head", OBEDIENT),
    ("malformed_framing", OBEDIENT),
    ("malformed_body", Always),
    ("malformed_frames", OBEDIENT),
    ("reset_flood", OBEDIENT),
    ("provoked_reset_flood", OBEDIENT),
    ("refused_head_flood", OBEDIENT),
    ("continuation_flood", OBEDIENT),
    ("ping_flood", OBEDIENT),
    ("settings_flood", OBEDIENT),
    ("data_flood", OBEDIENT),
    ("priority_flood", OBEDIENT),
    ("window_update_flood", OBEDIENT),
    ("header_expansion", OBEDIENT),
];

/// The place of a reason.
pub(super) fn reason_place(name: &str) -> Option<usize> {
    REASONS.iter().position(|(reason, _)| *reason == name)
}

/// The names of error codes (RFC 9113, 7).
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error code.
pub(crate) fn code_name(code: u32) -> String {
    let known = CODES.get(code as usize);
    known.map_or_else(|| format!("{code:#x}"), |name| (*name).to_owned())
}

/// A frame with an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeUse {
    pub(crate) side: Side,
    /// True if the proxy wrote the frame.
    pub(crate) written: bool,
    /// True for GOAWAY, false for RST_STREAM.
    pub(crate) go_away: bool,
    pub(crate) code: u32,
}

/// Every frame with an error code of RFC 9113.
pub(super) fn codes() -> impl Iterator<Item = CodeUse> {
    Side::ALL.iter().flat_map(|side| {
        [true, false].into_iter().flat_map(move |written| {
            [false, true].into_iter().flat_map(move |go_away| {
                (0..CODES.len() as u32).map(move |code| CodeUse {
                    side: *side,
                    written,
                    go_away,
                    code,
                })
            })
        })
    })
}

impl CodeUse {
    pub(super) fn place(self) -> usize {
        let kind = usize::from(self.written) * 2 + usize::from(self.go_away);
        let code = (self.code as usize).min(CODES.len());
        (self.side as usize * 4 + kind) * (CODES.len() + 1) + code
    }

    /// The codes that such frames can have in runs.
    fn possible(self) -> &'static [&'static str] {
        match (self.side, self.written, self.go_away) {
            // What `plan::Code` has.
            (Side::Backend, false, false) => &[
                "NO_ERROR",
                "PROTOCOL_ERROR",
                "INTERNAL_ERROR",
                "REFUSED_STREAM",
                "CANCEL",
                "ENHANCE_YOUR_CALM",
                "HTTP_1_1_REQUIRED",
            ],
            (Side::Backend, false, true) => &["NO_ERROR", "INTERNAL_ERROR", "ENHANCE_YOUR_CALM"],
            (Side::Backend, true, false) => &["NO_ERROR", "CANCEL"],
            (Side::Client, false, false) => &["NO_ERROR", "INTERNAL_ERROR", "CANCEL"],
            (Side::Client, true, false) => &["NO_ERROR", "INTERNAL_ERROR"],
            (Side::Client, true, true) => &["NO_ERROR", "SETTINGS_TIMEOUT", "ENHANCE_YOUR_CALM"],
            // `h2` answers so a GOAWAY that names a later stream than the one before it.
            (Side::Backend, true, true) => &["NO_ERROR", "PROTOCOL_ERROR"],
            (_, _, true) => &["NO_ERROR"],
        }
    }

    pub(super) fn expected(self) -> Expected {
        let name = CODES[self.code as usize];
        if self.possible().contains(&name) {
            return Always;
        }
        if self.written {
            Expected::Never("no peer of a plan breaks a rule that is answered so")
        } else {
            Expected::Never("no peer of a plan sends it")
        }
    }
}

impl fmt::Display for CodeUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame = if self.go_away { "GOAWAY" } else { "RST_STREAM" };
        let way = if self.written { "to" } else { "from" };
        write!(formatter, "{frame} {way} a {}: {}", self.side, CODES[self.code as usize])
    }
}
