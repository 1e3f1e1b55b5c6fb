//! Events on the wire in a run of the proxy's world, for the story.

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WireName {
    /// Of a client, with its number there.
    Client(u8, u32),
    /// To a backend, with its number there.
    Backend(u16, u32),
}

/// One thing on the wire: as the proxy writes it, or as it arrives there.
#[derive(Clone, Debug)]
pub(crate) struct OnWire {
    pub(crate) connection: WireName,
    /// True if the proxy has sent it.
    pub(crate) from_proxy: bool,
    pub(crate) glimpse: Glimpse,
    /// The request that it is of, if that is known.
    pub(crate) request: Option<u32>,
    /// True if it was read at the peer, because the bytes are encrypted.
    pub(crate) at_peer: bool,
    /// Bytes of its direction up to its end.
    pub(crate) end: u64,
    /// True if it never arrives.
    pub(crate) is_lost: bool,
}

/// The event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Glimpse {
    /// A frame, a head, or an event of TCP, in words.
    Said(String),
    /// Several of these in a row are one line.
    Flow(Flow),
}

/// The kind of the parts of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// DATA frames of a stream.
    Data(u32),
    /// WINDOW_UPDATE of a stream, or of the connection.
    Window(u32),
    /// Content over HTTP/1.1.
    Content,
    /// Content over HTTP/1.1 in chunks.
    Chunks,
    /// Bytes of TLS.
    Encrypted,
}

/// A part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) kind: Kind,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// True if the message ends with it.
    pub(crate) ends: bool,
}
