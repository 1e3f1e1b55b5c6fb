//! Maximum capacities of a pool. A full table rejects new entries and never grows.

use core::ops::RangeInclusive;
use core::time::Duration;

/// Maximum number of backends of a pool.
pub const BACKENDS_MAX: usize = 4096;
/// Maximum number of connections per backend. The same number again may be draining.
pub const CONNECTIONS_PER_BACKEND_MAX: usize = 4096;
/// Maximum number of connections to as many backends as a pool may have.
pub const CONNECTIONS_MAX: usize = 1 << 22;
/// Maximum number of streams per connection.
pub const STREAMS_PER_CONNECTION_MAX: usize = 256;
/// Maximum number of live requests.
pub const REQUESTS_MAX: usize = 1 << 20;
/// [`WEIGHT_MAX`] as a literal, for `concat!`.
macro_rules! weight_max {
    () => {
        1000
    };
}

#[cfg(feature = "proxy")]
pub(crate) use weight_max;

/// Maximum weight of a backend.
pub const WEIGHT_MAX: u16 = weight_max!();
/// Weights that a backend may have.
pub const WEIGHTS: RangeInclusive<u16> = 1..=WEIGHT_MAX;

/// Streams a connection may carry before the peer's first SETTINGS. RFC 9113, 6.5.2, advises peers
/// to allow at least 100.
pub const STREAMS_BEFORE_SETTINGS: u32 = 100;
/// A connection drains after this many streams: half of the 2^30 client identifiers of RFC 9113,
/// 5.1.1, so that it ends well before they run out.
pub const STREAM_ORDINAL_MAX: u32 = 1 << 29;

/// A connection on which this many malformed responses have come takes no further streams.
pub const MALFORMED_PER_CONNECTION_MAX: u32 = 100;

/// A backend's `Keep-Alive: timeout` is shortened by this much, but at most by half, so that a
/// request does not cross the backend's close on the wire.
pub const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
/// A connection that has been idle for less than this is taken for one that is alive, after another
/// one of its backend turned out to be dead.
pub const SURELY_ALIVE: Duration = Duration::from_secs(1);

/// A draining connection with ongoing responses may last this many times the drain timeout. So may
/// a pool that is replaced.
pub const DRAIN_EXTENSIONS_MAX: u32 = 20;

const _: () = assert!(DRAIN_EXTENSIONS_MAX >= 1);
const _: () = assert!(CONNECTIONS_PER_BACKEND_MAX * 2 < u16::MAX as usize);
const _: () = assert!(STREAMS_PER_CONNECTION_MAX < u16::MAX as usize);
const _: () = assert!(BACKENDS_MAX < u16::MAX as usize);
const _: () = assert!(REQUESTS_MAX < u32::MAX as usize);
const _: () = assert!(STREAM_ORDINAL_MAX < (1 << 30));
