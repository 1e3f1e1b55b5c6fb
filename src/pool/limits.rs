//! Every capacity of the pool, in one place. Full means a rejection, never growth.

/// Most backends a pool can be built for.
pub const BACKENDS_MAX: usize = 4096;
/// Most connections per backend a pool can be built for. As many again may be draining, and both
/// kinds of slots of a backend share one 64-bit word.
pub const CONNECTIONS_PER_BACKEND_MAX: usize = 32;
/// Most streams per connection a pool can be built for.
pub const STREAMS_PER_CONNECTION_MAX: usize = 4096;
/// Most requests a pool can be built for.
pub const REQUESTS_MAX: usize = 1 << 20;

/// Streams a connection may carry before the peer's first SETTINGS (RFC 9113, 6.5.2: 100 is the
/// least that a peer is advised to allow).
pub const STREAMS_BEFORE_SETTINGS: u32 = 100;
/// Streams opened on one connection after which it drains: half of the 2^30 client identifiers of
/// RFC 9113, 5.1.1, so that it ends well before they run out.
pub const STREAM_ORDINAL_MAX: u32 = 1 << 29;

/// A draining connection whose responses go on is given its drain timeout again, but not longer than
/// this many times in all; a pool that is replaced has as long.
pub const DRAIN_EXTENSIONS_MAX: u32 = 20;

const _: () = assert!(DRAIN_EXTENSIONS_MAX >= 1);
const _: () = assert!(CONNECTIONS_PER_BACKEND_MAX * 2 <= u64::BITS as usize);
const _: () = assert!(STREAMS_PER_CONNECTION_MAX < u16::MAX as usize);
const _: () = assert!(BACKENDS_MAX < u16::MAX as usize);
const _: () = assert!(REQUESTS_MAX < u32::MAX as usize);
const _: () = assert!(STREAM_ORDINAL_MAX < (1 << 30));

/// The capacities of one pool. Tables are sized by them once, when the pool is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Backends, 1 to [`BACKENDS_MAX`].
    pub backends: usize,
    /// Connections per backend that are not draining, 1 to [`CONNECTIONS_PER_BACKEND_MAX`].
    /// Draining ones come on top, up to as many again, so that they never block their successors.
    pub connections_per_backend: usize,
    /// The operator's cap on streams per connection, whatever the peer allows; 1 to
    /// [`STREAMS_PER_CONNECTION_MAX`].
    pub streams_per_connection: usize,
    /// Requests waiting or in flight; 1 to [`REQUESTS_MAX`].
    pub requests: usize,
    /// New requests are refused while this many wait; 1 to `requests`. A request that waits for a
    /// retry was admitted before and is not refused again.
    pub waiting: usize,
}

impl Limits {
    /// The hard ceiling of [`Limits::streams_per_connection`] that the command line accepts.
    pub const STREAMS_PER_CONNECTION_CEILING: usize = 256;

    /// What applies unless configured otherwise.
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
