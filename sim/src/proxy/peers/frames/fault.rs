//! Violations of RFC 9113 by a peer.

/// The error codes that the codec itself needs (RFC 9113, 7); see also `plan::Code`.
pub(crate) mod error {
    pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub(crate) const STREAM_CLOSED: u32 = 0x5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
    pub(crate) const COMPRESSION_ERROR: u32 = 0x9;
}

/// A violation of RFC 9113.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The error code that RFC 9113 asks for.
    pub(crate) code: u32,
    /// The violation, for people.
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(code: u32, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }

    /// With PROTOCOL_ERROR.
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::new(error::PROTOCOL_ERROR, what)
    }
}
