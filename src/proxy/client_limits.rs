//! Limits on clients, and counters of the limits that were hit. No limit here chooses a backend or
//! decides about a retry.
//!
//! The types below with their defaults, [`ClientLimits::check`], the configuration file, the flags
//! of `baton run` and `baton config` follow from one table, as they do for the
//! [pool](crate::pool::settings). A new limit is one new entry.

use std::cell::Cell;
use std::time::Duration;

use crate::pool::ConfigError;
use crate::pool::setting::{Bounds, settings};
use crate::words;

const TIME: Bounds = Bounds::time(Duration::from_millis(1));
const MANY: Bounds = Bounds::count(1 << 30);

settings! {
    /// Limits on clients. Each applies to one connection unless its entry says otherwise. Times are
    /// measured on the worker's clock; sizes are in bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientLimits {}

    /// The number of frames of each kind that one HTTP/2 connection may receive in each
    /// [`window`](FrameBudgets::window). Each entry names the frames that raise its number. The
    /// defaults are the budgets of clients; see also [`FrameBudgets::BACKEND`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub frames: FrameBudgets {
        /// Time over which frames are counted, at least 1s.
        window: Duration = Duration::from_secs(10), Bounds::time(Duration::from_secs(1)),
            client_frames.window, "client-frames-window";

        /// RST_STREAM from a client (Rapid Reset).
        /// Every second HEADERS frame that Baton writes adds one.
        resets: u32 = 5_000, MANY,
            client_frames.resets, "client-frames-resets";

        /// RST_STREAM that a client provokes (MadeYouReset).
        /// Baton sends it with an error code, because of a stream error of the peer.
        provoked_resets: u32 = 500, MANY,
            client_frames.provoked_resets, "client-frames-provoked-resets";

        /// PING, acknowledgements included.
        /// Every DATA frame that Baton writes adds one: peers measure the path with PING.
        pings: u32 = 2_000, MANY,
            client_frames.pings, "client-frames-pings";

        /// SETTINGS and their acknowledgements.
        /// GOAWAY counts too.
        settings: u32 = 100, MANY,
            client_frames.settings, "client-frames-settings";

        /// DATA without payload that does not end its stream.
        /// Every HEADERS frame that is read adds one.
        empty_data: u32 = 100, MANY,
            client_frames.empty_data, "client-frames-empty-data";

        /// PRIORITY and frames of unknown type.
        /// PRIORITY_UPDATE counts too. Every HEADERS frame that is read adds ten.
        priorities: u32 = 1_000, MANY,
            client_frames.priorities, "client-frames-priorities";

        /// WINDOW_UPDATE.
        /// Every DATA frame that Baton writes adds ten, every HEADERS frame that is read adds two.
        window_updates: u32 = 2_000, MANY,
            client_frames.window_updates, "client-frames-window-updates";

        /// CONTINUATION of one header block.
        /// Their total size is bounded by four times the limit of the head in any case.
        continuations: u32 = 20, MANY,
            client_frames.continuations, "client-frames-continuations";

        /// Requests refused for their head.
        /// The head was malformed or too large, or the request was one stream too many.
        refused_heads: u32 = 1_000, MANY,
            client_frames.refused_heads, "client-frames-refused-heads";
    }

    own {
        /// Time from accept to the end of the TLS handshake.
        tls_handshake_timeout: Duration = Duration::from_secs(10), TIME,
            clients.tls_handshake_timeout, "client-tls-timeout";

        /// Time to finish a request head.
        /// Over HTTP/1.1 it runs from accept, and for later requests from the first byte of the
        /// head. Over HTTP/2 it applies to the preface with the first SETTINGS, and to each header
        /// block.
        head_timeout: Duration = Duration::from_secs(30), TIME,
            clients.head_timeout, "client-head-timeout";

        /// Time without a request after which an HTTP/1.1 connection is closed.
        http1_idle_timeout: Duration = Duration::from_secs(75), TIME,
            clients.http1_idle_timeout, "client-http1-idle-timeout";

        /// Time without a stream after which an HTTP/2 connection gets GOAWAY.
        http2_idle_timeout: Duration = Duration::from_secs(300), TIME,
            clients.http2_idle_timeout, "client-http2-idle-timeout";

        /// Silence of an HTTP/2 client after which it gets a PING.
        keepalive_interval: Duration = Duration::from_secs(30), TIME,
            clients.keepalive_interval, "client-keepalive-interval";

        /// Time for an HTTP/2 client to answer that PING.
        keepalive_timeout: Duration = Duration::from_secs(20), TIME,
            clients.keepalive_timeout, "client-keepalive-timeout";

        /// Time after which a client that reads nothing from a full socket is disconnected.
        /// A client that reads slowly is never disconnected for this.
        write_stall_timeout: Duration = Duration::from_secs(60), TIME,
            clients.write_stall_timeout, "client-write-stall-timeout";

        /// Time that a connection has to close once Baton is done with it.
        /// Unread bytes are read and discarded in the meantime.
        lingering_close_timeout: Duration = Duration::from_secs(2), TIME,
            clients.lingering_close_timeout, "client-lingering-close-timeout";

        /// Maximum size of a request head.
        /// Over HTTP/1.1 as sent; over HTTP/2 as RFC 9113, 6.5.2, counts (32 more for each field
        /// line).
        head_bytes: u32 = 64 * 1024, Bounds::bytes(8 * 1024, 1024 * 1024),
            clients.head_bytes, "client-head-bytes";

        /// Maximum number of field lines of a request head.
        /// Over HTTP/1.1 also of trailers. Each crumb of a cookie that HTTP/2 splits is a field
        /// line.
        head_fields: usize = 128, Bounds::count(1024).at_least(16),
            clients.head_fields, "client-head-fields";

        /// Maximum number of open streams on one connection of a client.
        streams_per_connection: u32 = 100, Bounds::count(1000),
            clients.streams_per_connection, "client-streams";

        /// Maximum number of connections of all clients to the process.
        connections: usize = 16_384, MANY,
            clients.connections, "client-connections";

        /// Maximum number of connections of one address (IPv4, or IPv6 /64) to the process.
        connections_per_address: usize = 2_048, MANY,
            clients.connections_per_address, "client-connections-per-address";
    }
}

impl FrameBudgets {
    /// The budgets of backends. They are larger than those of clients: the requests of all clients
    /// share a backend's connections.
    pub const BACKEND: Self = Self {
        provoked_resets: 1_000,
        settings: 200,
        empty_data: 500,
        window_updates: 10_000,
        ..Self::DEFAULT
    };
}

impl ClientLimits {
    /// Checks that each value is within its bounds.
    ///
    /// # Errors
    /// The first value that is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        Self::SETTINGS.iter().try_for_each(|entry| entry.check(self))
    }
}

words! {
    /// A limit that a client ran into, or a rule that it broke.
    pub enum ClientLimit {
        /// The TLS handshake failed.
        TlsHandshake = "tls_handshake",
        /// The TLS handshake took too long.
        TlsHandshakeTimeout = "tls_handshake_timeout",
        /// A request head, the preface or a header block was not finished in time.
        HeadTimeout = "head_timeout",
        /// A connection without a request was closed.
        IdleTimeout = "idle_timeout",
        /// An HTTP/2 client did not answer PING.
        KeepaliveTimeout = "keepalive_timeout",
        /// A client did not read.
        WriteStall = "write_stall",
        /// Too many bytes waited for clients, and this one was the most stalled.
        BufferedBytes = "buffered_bytes",
        /// More streams than a connection may have.
        StreamsPerConnection = "streams_per_connection",
        /// A head with too many bytes.
        HeadBytes = "head_bytes",
        /// A head with too many field lines.
        HeadFields = "head_fields",
        /// Too many connections to the process.
        Connections = "connections",
        /// Too many connections from one address.
        ConnectionsPerAddress = "connections_per_address",
        /// A start line, field line or pseudo-header that is no HTTP.
        MalformedHead = "malformed_head",
        /// Contradicting or unknown lengths: Content-Length with Transfer-Encoding and the like.
        MalformedFraming = "malformed_framing",
        /// A body whose chunks or trailers are malformed.
        MalformedBody = "malformed_body",
        /// HTTP/2 frames that break RFC 9113.
        MalformedFrames = "malformed_frames",
        /// Too many RST_STREAM (Rapid Reset).
        ResetFlood = "reset_flood",
        /// Too many resets that Baton was provoked to send (MadeYouReset).
        ProvokedResetFlood = "provoked_reset_flood",
        /// Too many requests that had to be refused at their heads.
        RefusedHeadFlood = "refused_head_flood",
        /// A header block in too many CONTINUATION frames.
        ContinuationFlood = "continuation_flood",
        /// Too many PING.
        PingFlood = "ping_flood",
        /// Too many SETTINGS.
        SettingsFlood = "settings_flood",
        /// Too many DATA frames with nothing, or next to nothing, in them.
        DataFlood = "data_flood",
        /// Too many PRIORITY, PRIORITY_UPDATE or unknown frames.
        PriorityFlood = "priority_flood",
        /// Too many WINDOW_UPDATE.
        WindowUpdateFlood = "window_update_flood",
        /// A small header block that expands to a huge one (HPACK bomb).
        HeaderExpansion = "header_expansion",
    }
}

/// Number of hits of each limit on one worker. Not shared between threads: the admin interface asks
/// each worker for its numbers.
#[derive(Debug, Default)]
pub struct ClientStats {
    hits: [Cell<u64>; ClientLimit::ALL.len()],
}

impl ClientStats {
    /// Counts one hit.
    pub fn count(&self, limit: ClientLimit) {
        let hits = &self.hits[limit as usize];
        hits.set(hits.get() + 1);
    }

    /// Returns the number of hits of one limit.
    #[must_use]
    pub fn hits(&self, limit: ClientLimit) -> u64 {
        self.hits[limit as usize].get()
    }

    /// Returns all limits with their hits, in the order of declaration.
    pub fn all(&self) -> impl Iterator<Item = (ClientLimit, u64)> + '_ {
        ClientLimit::ALL.iter().map(|limit| (*limit, self.hits(*limit)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_out_of_bounds_are_named() {
        let default = ClientLimits::DEFAULT;
        assert_eq!(default.check(), Ok(()));
        for (limits, name) in [
            (ClientLimits { head_timeout: Duration::ZERO, ..default }, "head_timeout"),
            (ClientLimits { head_bytes: 8191, ..default }, "head_bytes"),
            (ClientLimits { head_bytes: u32::MAX, ..default }, "head_bytes"),
            (ClientLimits { head_fields: 2000, ..default }, "head_fields"),
            (ClientLimits { streams_per_connection: 0, ..default }, "streams_per_connection"),
            (ClientLimits { connections: 0, ..default }, "connections"),
            (
                ClientLimits { frames: FrameBudgets { pings: 0, ..default.frames }, ..default },
                "frames.pings",
            ),
        ] {
            assert_eq!(limits.check().expect_err("out of bounds").value, name);
        }
    }

    #[test]
    fn each_limit_has_a_name_and_a_counter_of_its_own() {
        let names: BTreeSet<_> = ClientLimit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), ClientLimit::ALL.len());
        let stats = ClientStats::default();
        for (times, limit) in ClientLimit::ALL.iter().enumerate() {
            for _ in 0..times {
                stats.count(*limit);
            }
        }
        let hits: Vec<_> = stats.all().map(|(_, hits)| hits).collect();
        let expected: Vec<_> = (0..ClientLimit::ALL.len() as u64).collect();
        assert_eq!(hits, expected);
    }
}
