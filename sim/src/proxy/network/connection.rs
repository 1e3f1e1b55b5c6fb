//! A connection: two directions, two ends, and how it comes to be.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;

use super::key::{Host, Key, Side};
use super::lane::{Lane, NEVER};
use crate::proxy::agenda::Place;

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The dialler waits for an answer.
    Dialling,
    /// The dialler knows that it is connected.
    Established,
    /// The acceptor knows, too.
    Up,
}

/// The dial of a connection.
#[derive(Debug, Default)]
pub(crate) struct Dial {
    pub(crate) started: u64,
    /// SYNs that were sent.
    pub(crate) tries: u32,
    /// It is not answered before this.
    pub(crate) stalled_until: u64,
    /// A directive refuses it.
    pub(crate) fails: bool,
    /// The listener in whose queue it has a place.
    pub(crate) listener: Option<usize>,
    pub(crate) result: Option<Result<(), ErrorKind>>,
    pub(crate) waker: Option<Waker>,
    /// The next step.
    pub(crate) step: Option<Place>,
}

/// A connection as one system knows it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: Host,
    pub(crate) address: SocketAddr,
    /// A process has it, or can still accept it.
    pub(crate) attached: bool,
    /// The system has forgotten the connection: it was reset or given up.
    pub(crate) gone: bool,
    /// The error that the process has not seen yet.
    pub(crate) error: Option<ErrorKind>,
    /// When something last arrived.
    pub(crate) last_arrival: u64,
    /// Unanswered TCP keepalive segments.
    pub(crate) keepalives: u32,
    /// The next look at the silence of the other end.
    pub(crate) watch: Option<Place>,
}

impl End {
    fn new(host: Host, address: SocketAddr) -> Self {
        Self {
            host,
            address,
            attached: true,
            gone: false,
            error: None,
            last_arrival: 0,
            keepalives: 0,
            watch: None,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: Key,
    pub(crate) phase: Phase,
    pub(crate) dial: Dial,
    /// Each by the end that writes.
    pub(crate) lanes: [Lane; 2],
    pub(crate) ends: [End; 2],
}

impl Connection {
    pub(crate) fn new(key: Key, hosts: [Host; 2], addresses: [SocketAddr; 2], tls: bool) -> Self {
        let end = |side: usize| End::new(hosts[side], addresses[side]);
        Self {
            key,
            phase: Phase::Dialling,
            dial: Dial::default(),
            lanes: [Lane::new(tls), Lane::new(tls)],
            ends: [end(0), end(1)],
        }
    }

    /// The direction that an end writes.
    pub(crate) fn lane(&mut self, writer: Side) -> &mut Lane {
        &mut self.lanes[writer as usize]
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The draws of a direction.
    pub(crate) fn entity(&self, writer: Side) -> u64 {
        self.key.entity() << 1 | writer as u64
    }

    /// True if the network may keep acknowledgements from arriving, so that an end must watch the
    /// time.
    pub(crate) fn is_impaired(&self, now: u64) -> bool {
        self.lanes.iter().any(|lane| {
            let effects = &lane.effects;
            effects.vanishes || effects.delay > 0 || effects.stalled_until > now
        })
    }

    /// True if a segment gets through, and an answer to it as well.
    pub(crate) fn is_passable(&self, now: u64) -> bool {
        let passes = |lane: &Lane| !lane.effects.vanishes && lane.effects.stalled_until <= now;
        self.lanes.iter().all(passes)
    }

    /// True if no process has it any more and nothing of it can arrive.
    pub(crate) fn is_over(&self) -> bool {
        let is_silent = |lane: &Lane, writer: &End| {
            let effects = &lane.effects;
            let stopped = writer.gone || effects.vanishes || effects.severed;
            let arrives = !lane.flying.is_empty() && effects.stalled_until != NEVER;
            !arrives && (stopped || lane.end_sent || effects.stalled_until == NEVER)
        };
        let silent = self.lanes.iter().zip(&self.ends).all(|(lane, end)| is_silent(lane, end));
        silent && self.ends.iter().all(|end| !end.attached)
    }
}
