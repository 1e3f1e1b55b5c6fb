//! The bounds of the proxy's memory, which hold at each step of a run.
//!
//! Memory is bounded if it follows from what is open, and not from the length of bodies or from the
//! past. So each thing that the proxy has open is granted the sum of the buffers that its limits
//! allow for it, and all memory together must fit into the sum:
//!
//! | thing | KiB | what it is for |
//! |---|--:|---|
//! | the process | 256 | configuration, certificates, the text of an answer to the operator |
//! | a pool | 192 | its tables; see `pool::limits` |
//! | a connection | 128 | the tables and buffers that it keeps between requests: over HTTP/2 two frames of a backend |
//! | a request, for its client | 256 | over HTTP/2 the window for its body and the send buffer for its answer, over HTTP/1.1 two buffers |
//! | a request, for its pool | 256 | over HTTP/2 the window for its answer and the send buffer for its body, over HTTP/1.1 two buffers |
//! | a request that only its pool has ended | 128 | its answer is a part of the buffers of a connection, and they live on when that has closed |
//! | a request whose client has left, while there is any client | 384 | what is for its client, and what is left once only its pool has ended it |
//!
//! A request counts for its client until the client has its end, and for its pool until the pool
//! has ended it: between the two, the proxy does not know what its client knows. Nor does it know
//! of clients that left until it has read that: their requests count as long as it has any client.
//!
//! Once the proxy has ended, nothing may be left.

use std::cell::Cell;
use std::rc::Rc;

use super::hub::Hub;
use super::network::{Held, Network};
use super::pools::Pools;
use crate::checker::{Invariant, Violation};
use crate::memory;

const KIB: u64 = 1024;
const PROCESS: u64 = 256 * KIB;
const POOL: u64 = 192 * KIB;
const CONNECTION: u64 = 128 * KIB;
const FOR_CLIENT: u64 = 256 * KIB;
const FOR_POOL: u64 = 256 * KIB;

/// Bytes that may be left of a run: a block or two that a library keeps for its thread.
const LEFT_MAX: u64 = 64;

/// The things that the proxy has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Open {
    pools: u64,
    held: Held,
    /// Requests that have not ended for their clients.
    requests: u64,
    /// Requests that have not ended for their pools.
    live: u64,
    /// Requests whose clients left before they had a complete answer.
    left: u64,
}

impl Open {
    fn max(self, other: Self) -> Self {
        Self {
            pools: self.pools.max(other.pools),
            held: self.held.max(other.held),
            requests: self.requests.max(other.requests),
            live: self.live.max(other.live),
            left: self.left.max(other.left),
        }
    }

    /// Requests whose clients left, while the proxy may not know that.
    fn left_unnoticed(self) -> u64 {
        if self.held.clients > 0 { self.left } else { 0 }
    }

    /// Bytes that the proxy may have allocated.
    fn bound(self) -> u64 {
        let Held { clients, backends, others } = self.held;
        PROCESS
            + POOL * self.pools
            + CONNECTION * (clients + backends + others)
            + FOR_CLIENT * self.requests
            + FOR_POOL * self.live
            + CONNECTION * self.requests.saturating_sub(self.live)
            + (FOR_CLIENT + CONNECTION) * self.left_unnoticed()
    }
}

/// Compares the memory of a run's proxy with its bound.
pub(crate) struct Bounds {
    hub: Rc<Hub>,
    network: Rc<Network>,
    pools: Rc<Pools>,
    /// The things that were open at the last look.
    before: Cell<Open>,
}

impl Bounds {
    pub(crate) fn new(hub: &Rc<Hub>, network: &Rc<Network>, pools: &Rc<Pools>) -> Rc<Self> {
        Rc::new(Self {
            hub: Rc::clone(hub),
            network: Rc::clone(network),
            pools: Rc::clone(pools),
            before: Cell::default(),
        })
    }

    /// Looks at the memory since the last look. Called whenever the proxy has worked.
    pub(crate) fn look(&self) {
        let now = Open {
            pools: self.pools.alive(),
            held: self.network.held(),
            requests: self.hub.ledger.open(),
            live: self.pools.live(),
            left: self.hub.ledger.left(),
        };
        // What was closed meanwhile may have been there at the peak.
        let open = now.max(self.before.replace(now));
        let peak = memory::take_peak();
        if peak > open.bound() {
            let what = format!(
                "the proxy has {} KiB of memory, at most {} KiB are allowed for {} pools, {} \
                 connections with clients, {} with backends, {} others, {} requests of clients, \
                 {} of pools, {} of clients that left",
                peak / KIB,
                open.bound() / KIB,
                open.pools,
                open.held.clients,
                open.held.backends,
                open.held.others,
                open.requests,
                open.live,
                open.left_unnoticed()
            );
            self.pools.violate(Violation { invariant: Invariant::Memory, what });
        }
    }
}

/// The memory that is left of a run whose parts are all gone, if it is too much.
pub(crate) fn left() -> Option<Violation> {
    let left = memory::live();
    let what = || format!("{left} bytes of the proxy's memory are left after its end");
    (left > LEFT_MAX).then(|| Violation { invariant: Invariant::Memory, what: what() })
}

#[cfg(test)]
mod tests {
    use baton::proxy::limits::{
        BACKEND_FRAME_BYTES_MAX, BACKEND_SEND_BUFFER_BYTES, CLIENT_SEND_BUFFER_BYTES,
        HTTP1_READ_BYTES_MAX, HTTP1_UNREAD_BYTES, HTTP1_UNSENT_BYTES, STREAM_WINDOW_BYTES,
    };

    use super::*;

    /// If this fails, a limit of the shell has changed: look at the table at the top.
    #[test]
    fn the_table_is_that_of_the_limits() {
        let [frame, window] = [BACKEND_FRAME_BYTES_MAX, STREAM_WINDOW_BYTES].map(u64::from);
        // Over HTTP/1.1 one read is added to what is there, and to what is not yet written.
        assert_eq!(HTTP1_UNREAD_BYTES, HTTP1_UNSENT_BYTES);
        let buffer = HTTP1_UNREAD_BYTES + HTTP1_READ_BYTES_MAX;
        let sizes = [buffer, CLIENT_SEND_BUFFER_BYTES, BACKEND_SEND_BUFFER_BYTES];
        let [buffer, answer, body] = sizes.map(|size| size as u64);
        assert_eq!(2 * frame, CONNECTION);
        assert_eq!((window + answer, 2 * buffer), (FOR_CLIENT, FOR_CLIENT));
        assert_eq!((window + body, 2 * buffer), (FOR_POOL, FOR_POOL));
    }

    #[test]
    fn the_bound_follows_from_what_is_open() {
        let mut open = Open { pools: 2, ..Open::default() };
        assert_eq!(open.bound(), (256 + 2 * 192) * KIB);
        open.held = Held { clients: 1, backends: 2, others: 1 };
        (open.requests, open.live) = (3, 4);
        assert_eq!(open.bound(), (640 + 4 * 128 + 7 * 256) * KIB);
        (open.requests, open.live) = (4, 3);
        assert_eq!(open.bound(), (640 + 5 * 128 + 7 * 256) * KIB);
        open.left = 2;
        assert_eq!(open.bound(), (640 + 5 * 128 + 7 * 256 + 2 * 384) * KIB);
        open.held.clients = 0;
        assert_eq!(open.bound(), (640 + 4 * 128 + 7 * 256) * KIB);
        assert_eq!(open.max(Open::default()), open);
        assert_eq!(Open::default().max(open), open);
    }
}
