//! All capacities of the pool. A full table rejects new entries and never grows.

/// Maximum number of backends of a pool.
pub const BACKENDS_MAX: usize = 4096;
/// Maximum number of connections per backend. As many more may be draining; the slots for both must
/// fit in one 64-bit word.
pub const CONNECTIONS_PER_BACKEND_MAX: usize = 32;
/// Maximum number of streams per connection.
pub const STREAMS_PER_CONNECTION_MAX: usize = 4096;
/// Maximum number of live requests.
pub const REQUESTS_MAX: usize = 1 << 20;

/// Streams a connection may carry before the peer's first SETTINGS. RFC 9113, 6.5.2, advises peers
/// to allow at least 100.
pub const STREAMS_BEFORE_SETTINGS: u32 = 100;
/// A connection drains after this many streams: half of the 2^30 client identifiers of RFC 9113,
/// 5.1.1, so that it ends well before they run out.
pub const STREAM_ORDINAL_MAX: u32 = 1 << 29;

/// A draining connection with ongoing responses may last this many times the drain timeout. So may
/// a pool that is replaced.
pub const DRAIN_EXTENSIONS_MAX: u32 = 20;

const _: () = assert!(DRAIN_EXTENSIONS_MAX >= 1);
const _: () = assert!(CONNECTIONS_PER_BACKEND_MAX * 2 <= u64::BITS as usize);
const _: () = assert!(STREAMS_PER_CONNECTION_MAX < u16::MAX as usize);
const _: () = assert!(BACKENDS_MAX < u16::MAX as usize);
const _: () = assert!(REQUESTS_MAX < u32::MAX as usize);
const _: () = assert!(STREAM_ORDINAL_MAX < (1 << 30));

/// The capacities of one pool. They size its tables when it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of backends, 1 to [`BACKENDS_MAX`].
    pub backends: usize,
    /// Connections per backend that are not draining, 1 to [`CONNECTIONS_PER_BACKEND_MAX`]. As many
    /// draining ones may exist besides, so that they never block their successors.
    pub connections_per_backend: usize,
    /// The operator's cap on streams per connection, for any limit of the peer; 1 to
    /// [`STREAMS_PER_CONNECTION_MAX`].
    pub streams_per_connection: usize,
    /// Requests waiting or in flight, 1 to [`REQUESTS_MAX`].
    pub requests: usize,
    /// New requests are rejected while this many wait; 1 to `requests`. A request that waits for a
    /// retry is never rejected for this.
    pub waiting: usize,
}

impl Limits {
    /// Maximum of [`Limits::streams_per_connection`] that the command line accepts.
    pub const STREAMS_PER_CONNECTION_CEILING: usize = 256;

    /// Default limits.
    pub const DEFAULT: Self = Self {
        backends: 64,
        connections_per_backend: 16,
        streams_per_connection: 100,
        requests: 16_384,
        waiting: 1_024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
