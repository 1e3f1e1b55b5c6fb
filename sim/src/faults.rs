//! The families of faults: what peers, networks, clients and the shell can do to a pool. F1 to F24
//! are the faults behind production bugs of HTTP/2 pools; the X families affect the whole process.

mod addresses;
mod aimed;
mod branch;
mod changes;
mod combined;
mod common;
mod doubts;
mod generate;
mod inject;
mod operation;
mod poison;
mod profile;
mod situations;
mod sizes;
mod wire;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

pub(crate) use branch::branch;
#[cfg(feature = "proxy")]
pub(crate) use common::narrow;
pub use generate::plan;
pub use profile::Profile;

/// The ids of requests that are added to those of a workload: the first of those with bodies larger
/// than all buffers of the proxy, the one whose response is larger than its windows, the one that
/// is sent for long after its response, and the one whose client leaves.
const HOARDER: u32 = 10_000;
const WIDE: u32 = 20_000;
const UPLOADER: u32 = 30_000;
const LEAVER: u32 = 40_000;

baton::words! {
    /// A family of faults; the name is its code and its title. Swarm selection turns each on or off
    /// as a whole.
    #[derive(Serialize, Deserialize, Arbitrary)]
    pub enum Family {
        /// Frames vanish one way or both: a NAT lost its entry, or a cable was pulled.
        SilentDrop = "F1 silent drop",
        /// A peer sends GOAWAY(ENHANCE_YOUR_CALM) after a few PINGs without data, as gRPC servers
        /// do.
        PingStrikes = "F2 ping strikes",
        /// SETTINGS_MAX_CONCURRENT_STREAMS changes at any step: to zero, below the load, or huge.
        SettingsChange = "F3 settings change",
        /// A client cancels at any step, even if its request caused a dial.
        Cancel = "F4 cancel",
        /// GOAWAY in any state: alone, as a graceful pair, or repeated with a lower or higher last
        /// id.
        GoAway = "F5 goaway",
        /// The connection breaks between our preface and the peer's SETTINGS.
        PrefaceBreak = "F6 preface break",
        /// GOAWAY crosses HEADERS on the wire.
        GoAwayCrossing = "F7 goaway crossing",
        /// The connection or stream breaks after part of the body.
        BodyBreak = "F8 break in the body",
        /// The peer accepts and closes.
        AcceptThenClose = "F9 accept then close",
        /// A dial stalls in TCP, TLS or before SETTINGS, for a while or forever.
        StalledDial = "F10 stalled dial",
        /// Some of several dials fail.
        PartialDialFailure = "F11 partial dial failure",
        /// RST_STREAM from the peer, with each code, at each moment of a stream.
        Reset = "F12 reset",
        /// The first SETTINGS arrives late.
        LateSettings = "F13 late settings",
        /// The peer stops reading.
        PeerStopsReading = "F14 peer stops reading",
        /// The client stops reading its response.
        ClientStopsReading = "F15 client stops reading",
        /// The peer grants almost no window: uploads crawl.
        StarvedUpload = "F16 starved upload",
        /// The peer never finishes and never closes.
        NeverCloses = "F17 never closes",
        /// Facts are repeated late and out of order; timers fire late or early.
        StaleFacts = "F18 stale facts",
        /// A backend restarts, or every connection breaks at once.
        Restart = "F19 restart",
        /// The configuration changes at runtime: backends are added, drained, undrained and
        /// removed; weights and values change.
        Reconfiguration = "F20 reconfiguration",
        /// The clock jumps, forward and back.
        ClockJump = "F22 clock jump",
        /// HTTP_1_1_REQUIRED, and ALPN that switches to HTTP/1.1 and back.
        ProtocolSwitch = "F23 protocol switch",
        /// A response before the end of its request, many 1xx heads, or trailers only.
        OddResponse = "F24 odd response",
        /// A backend is unreachable for a while.
        Unreachable = "X1 unreachable",
        /// A shutdown under load.
        Shutdown = "X2 shutdown",
        /// Health checks with a wrong result or none.
        WrongHealthChecks = "X3 wrong health checks",
        /// Backends that answer 502, 503 or 504.
        GatewayFailures = "X4 gateway failures",
        /// Bytes arrive in small pieces, cut within frames and heads. Only in the proxy's world.
        SplitFrames = "F21 split frames",
        /// Connections that are slow, full, half-closed, reset or silent. Only in the proxy's
        /// world.
        Wire = "X6 wire",
        /// An operator who opens, closes and moves listeners, renews certificates, makes mistakes
        /// and stops the process twice. Only in the proxy's world.
        Operation = "X7 operation",
        /// Names whose addresses change, and with them those that answer. Only in the proxy's
        /// world.
        Addresses = "X8 addresses",
        /// Bodies larger than all buffers, whose readers stop. Only in the proxy's world.
        Hoard = "X9 hoard",
        /// Requests that every backend fails. Only in the pool's world.
        Poison = "X10 poison",
    }

    /// Workloads for `--profile`.
    pub enum Workload {
        /// Requests spread over the run.
        Steady = "steady",
        /// Requests in a few bursts.
        Bursts = "bursts",
        /// All requests at once, beyond the capacity.
        Herd = "herd",
        /// Many requests, one after the other.
        Marathon = "marathon",
    }
}

impl Family {
    /// True if only the world of the proxy has these faults: they are about bytes or files.
    #[must_use]
    pub fn is_about_bytes(self) -> bool {
        matches!(
            self,
            Self::SplitFrames | Self::Wire | Self::Operation | Self::Addresses | Self::Hoard
        )
    }

    /// True if a plan has these faults by a draw of their own, apart from the swarm's.
    #[must_use]
    pub fn is_drawn_apart(self) -> bool {
        matches!(self, Self::Poison)
    }

    /// True if only the world of the pool has these faults: they are about the order of facts,
    /// which the real shell determines in the world of the proxy.
    #[must_use]
    pub fn is_about_facts(self) -> bool {
        matches!(self, Self::StaleFacts | Self::ClockJump)
    }

    /// The short code.
    #[must_use]
    pub fn code(self) -> &'static str {
        let (code, _) = self.name().split_once(' ').expect("a code and a title");
        code
    }
}
