//! What clients may do, and what is counted when they do more. All of it is mechanical: no limit
//! here chooses a backend or decides about a retry.

use std::cell::Cell;
use std::time::Duration;

use super::frame_tap::FrameBudgets;
use crate::words;

/// The bounds on what one client, one connection of it, or all of them together may do.
///
/// Times are measured on the worker's clock; sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Time to finish the TLS handshake, from accept. At least 1 ms.
    pub tls_handshake_timeout: Duration,
    /// Time to finish a request head: over HTTP/1.1 from accept or, later, from its first byte;
    /// over HTTP/2 the preface with the first SETTINGS, and each header block. At least 1 ms.
    pub head_timeout: Duration,
    /// Time without a request after which an HTTP/1.1 connection is closed. At least 1 ms.
    pub http1_idle_timeout: Duration,
    /// Time without a stream after which an HTTP/2 connection gets GOAWAY. At least 1 ms.
    pub http2_idle_timeout: Duration,
    /// Silence of an HTTP/2 client after which it is asked by PING whether it is there. At least
    /// 1 ms.
    pub keepalive_interval: Duration,
    /// Time to answer that PING. At least 1 ms.
    pub keepalive_timeout: Duration,
    /// Time in which a client that lets its socket fill up must take at least something. A reader
    /// that is slow but moves is never ended by it. At least 1 ms.
    pub write_stall_timeout: Duration,
    /// Time that a connection gets to read its last bytes after it was told to go. At least 1 ms.
    pub farewell_timeout: Duration,
    /// Bytes of a request head: over HTTP/1.1 as sent, over HTTP/2 as RFC 9113, 6.5.2 counts them
    /// (each field line costs 32 more). 8 KiB to 1 MiB.
    pub head_bytes: u32,
    /// Field lines of a request head, and over HTTP/1.1 of trailers; each crumb of a cookie that
    /// HTTP/2 splits is one. 16 to 1024.
    pub head_fields: usize,
    /// Streams that a client may have open on one HTTP/2 connection. 1 to 1000.
    pub streams_per_connection: u32,
    /// Connections of all clients to all workers of the process. At least 1.
    pub connections: usize,
    /// Connections of one client address to all workers: an IPv4 address, or an IPv6 /64. At
    /// least 1.
    pub connections_per_address: usize,
    /// Frames by kind that an HTTP/2 connection may bring in a window of time.
    pub frames: FrameBudgets,
}

impl ClientLimits {
    /// What is in force unless the operator says otherwise.
    pub const DEFAULT: Self = Self {
        tls_handshake_timeout: Duration::from_secs(10),
        head_timeout: Duration::from_secs(30),
        http1_idle_timeout: Duration::from_secs(75),
        http2_idle_timeout: Duration::from_secs(300),
        keepalive_interval: Duration::from_secs(30),
        keepalive_timeout: Duration::from_secs(20),
        write_stall_timeout: Duration::from_secs(60),
        farewell_timeout: Duration::from_secs(2),
        head_bytes: 64 * 1024,
        head_fields: 128,
        streams_per_connection: 100,
        connections: 16_384,
        connections_per_address: 2_048,
        frames: FrameBudgets::CLIENT,
    };
}

impl ClientLimits {
    /// Whether each value is within its bounds.
    ///
    /// # Errors
    /// With the name of the first field that is not, and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let frames = &self.frames;
        let millisecond = Duration::from_millis(1);
        for (name, value) in [
            ("tls_handshake_timeout", self.tls_handshake_timeout),
            ("head_timeout", self.head_timeout),
            ("http1_idle_timeout", self.http1_idle_timeout),
            ("http2_idle_timeout", self.http2_idle_timeout),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
            ("write_stall_timeout", self.write_stall_timeout),
            ("farewell_timeout", self.farewell_timeout),
        ] {
            if value < millisecond {
                return Err((name, "expected at least 1 ms"));
            }
        }
        if frames.window < Duration::from_secs(1) {
            return Err(("frames.window", "expected at least 1 s"));
        }
        if !(8 * 1024..=1024 * 1024).contains(&self.head_bytes) {
            return Err(("head_bytes", "expected 8 KiB to 1 MiB"));
        }
        if !(16..=1024).contains(&self.head_fields) {
            return Err(("head_fields", "expected 16 to 1024"));
        }
        if !(1..=1000).contains(&self.streams_per_connection) {
            return Err(("streams_per_connection", "expected 1 to 1000"));
        }
        for (name, value) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("frames.resets", frames.resets as usize),
            ("frames.provoked_resets", frames.provoked_resets as usize),
            ("frames.pings", frames.pings as usize),
            ("frames.settings", frames.settings as usize),
            ("frames.empty_data", frames.empty_data as usize),
            ("frames.priorities", frames.priorities as usize),
            ("frames.window_updates", frames.window_updates as usize),
            ("frames.continuations", frames.continuations as usize),
            ("frames.refused_heads", frames.refused_heads as usize),
        ] {
            if value == 0 {
                return Err((name, "expected at least 1"));
            }
        }
        Ok(())
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self::DEFAULT
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

/// How often each limit was hit on one worker. Not shared between threads: an administrator's task
/// asks each worker for its own.
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

    /// How often this one was hit.
    #[must_use]
    pub fn hits(&self, limit: ClientLimit) -> u64 {
        self.hits[limit as usize].get()
    }

    /// Every limit with its hits, in the order of declaration.
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
            assert_eq!(limits.check().expect_err("out of bounds").0, name);
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
