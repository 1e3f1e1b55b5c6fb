//! The trace of a run: a hash of all facts and orders and, optionally, the whole story.

#[cfg(feature = "proxy")]
mod on_wire;

use std::collections::HashSet;
use std::hash::{Hash as _, Hasher as _};

use baton::pool::{
    BackendId, ConnectionToken, Handled, Input, Instant, Output, Pool, Setting, SlotView,
    StreamToken,
};

use crate::hash::{ByWord, Mix};
use crate::world::tables::{DownFrame, UpFrame};
#[cfg(feature = "proxy")]
pub(crate) use on_wire::{Flow, Glimpse, Kind, OnWire, WireName};

/// One event.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A request arrived from a client; the next event is the fact about it.
    Arrived(u32),
    /// The pool received a fact: its answer, its orders and its slots afterwards.
    TracedFact(Box<TracedFact>),
    /// The shell wrote a frame on a connection.
    Sent(u32, UpFrame),
    /// The backend read a frame.
    Read(u32, UpFrame),
    /// The backend wrote a frame.
    Answered(u32, DownFrame),
    /// The shell read a frame.
    Received(u32, DownFrame),
    /// The shell lost the connection.
    Lost(u32),
    /// A directive took effect.
    Injected(u32),
    /// Something was on the wire.
    #[cfg(feature = "proxy")]
    OnWire(Box<OnWire>),
    /// Faults stopped.
    Healed,
}

impl What {
    /// Moves the indices of connections and streams.
    fn shift(&mut self, links: u32, exchanges: u32) {
        match self {
            Self::Sent(link, frame) | Self::Read(link, frame) => {
                *link += links;
                frame.shift(exchanges);
            }
            Self::Answered(link, frame) | Self::Received(link, frame) => {
                *link += links;
                frame.shift(exchanges);
            }
            Self::Lost(link) => *link += links,
            Self::Arrived(_) | Self::TracedFact(_) | Self::Injected(_) | Self::Healed => {}
            #[cfg(feature = "proxy")]
            Self::OnWire(_) => {}
        }
    }
}

/// A fact and its consequences.
#[derive(Clone, Debug)]
pub(crate) struct TracedFact {
    pub(crate) step: u64,
    /// The index of the pool.
    pub(crate) pool: usize,
    pub(crate) input: Input,
    /// The settings, if several were changed at once; the last one is `input`.
    pub(crate) settings: Vec<Setting>,
    pub(crate) handled: Handled,
    pub(crate) orders: Vec<Output>,
    /// Every non-empty slot after the fact.
    pub(crate) slots: Vec<SlotView>,
    /// Waiting requests, and all live ones.
    pub(crate) waiting: u32,
    pub(crate) live: u32,
}

/// A connection, at its index in the world's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkName {
    /// The index of its pool.
    pub(crate) pool: usize,
    pub(crate) token: ConnectionToken,
    pub(crate) backend: u16,
    pub(crate) nth: u32,
}

/// A stream, at its index in the world's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeName {
    /// The index of its pool.
    pub(crate) pool: usize,
    pub(crate) token: StreamToken,
    pub(crate) request: u32,
}

/// An event and its time, in nanoseconds since the start.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) what: What,
}

/// The record of a run.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hasher: ByWord<Rotating>,
    facts: u64,
    keeps: bool,
    /// Of what is kept, what was on the wire is left out.
    #[cfg(feature = "proxy")]
    only_facts: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) links: Vec<LinkName>,
    pub(crate) exchanges: Vec<ExchangeName>,
    /// The workers of the pools, by the pool's index; empty if there is one pool without a worker.
    pub(crate) pools: Vec<usize>,
    /// The index of the pool that the next facts are given to.
    pool: usize,
}

impl Trace {
    /// Creates a record that keeps only the hash.
    #[must_use]
    pub fn hash_only() -> Self {
        Self::default()
    }

    /// Creates a record that keeps everything.
    #[must_use]
    pub fn whole() -> Self {
        Self { keeps: true, ..Self::default() }
    }

    /// Creates a record that keeps facts, not what was on the wire.
    #[cfg(feature = "proxy")]
    #[must_use]
    pub fn of_facts() -> Self {
        Self { keeps: true, only_facts: true, ..Self::default() }
    }

    /// A hash of all facts, answers and orders with their times; identical on every machine.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Number of facts given so far.
    #[must_use]
    pub fn fact_count(&self) -> u64 {
        self.facts
    }

    pub(crate) fn record(
        &mut self,
        now: u64,
        at: Instant,
        input: Input,
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) {
        (now, at, input, handled).hash(&mut self.hasher);
        self.keep(now, input, &[], handled, orders, pool);
    }

    /// Records that several settings were changed at once.
    pub(crate) fn record_settings(
        &mut self,
        now: u64,
        at: Instant,
        settings: &[Setting],
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) {
        (now, at, settings, handled).hash(&mut self.hasher);
        let setting = *settings.last().expect("a reload changes a setting");
        self.keep(now, Input::SettingChanged { setting }, settings, handled, orders, pool);
    }

    fn keep(
        &mut self,
        now: u64,
        input: Input,
        settings: &[Setting],
        handled: Handled,
        orders: &[Output],
        pool: &Pool,
    ) {
        self.facts += 1;
        for order in orders {
            order.hash(&mut self.hasher);
        }
        if !self.keeps {
            return;
        }
        let stats = pool.stats();
        let backends = (0..pool.config().backends.len() as u16).map(BackendId);
        let connections = backends.flat_map(|backend| pool.connections(backend));
        let fact = TracedFact {
            step: self.facts,
            pool: self.pool,
            input,
            settings: settings.to_vec(),
            handled,
            orders: orders.to_vec(),
            slots: connections.filter_map(|it| pool.slot(it.backend, it.slot)).collect(),
            waiting: stats.waiting,
            live: stats.requests,
        };
        self.entries.push(Entry { at: now, what: What::TracedFact(Box::new(fact)) });
    }

    /// True if everything is kept.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_whole(&self) -> bool {
        self.keeps && !self.only_facts
    }

    /// A further pool, of a worker.
    #[cfg(feature = "proxy")]
    pub(crate) fn add_pool(&mut self, worker: usize) {
        self.pools.push(worker);
    }

    /// Marks the part that ends at this byte, of those that the proxy has sent on a connection, as
    /// one that never arrives.
    #[cfg(feature = "proxy")]
    pub(crate) fn lose(&mut self, connection: WireName, end: u64) {
        for entry in self.entries.iter_mut().rev() {
            if let What::OnWire(on_wire) = &mut entry.what {
                let same = on_wire.connection == connection && on_wire.from_proxy;
                on_wire.is_lost |= same && on_wire.end == end;
            }
        }
    }

    /// Brings the entries into the order of time.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_by_key(|entry| entry.at);
    }

    /// A record of another pool of the same run, which keeps as much.
    pub(crate) fn of_pool(&self, pool: usize) -> Self {
        Self { keeps: self.keeps, pool, ..Self::default() }
    }

    /// Adds the record of a pool, of a worker. The order of the entries is not that of time until
    /// [`Self::order`] is called.
    pub(crate) fn absorb(&mut self, other: Self, worker: usize) {
        let (links, exchanges) = (self.links.len() as u32, self.exchanges.len() as u32);
        other.hash().hash(&mut self.hasher);
        self.facts += other.facts;
        self.links.extend(other.links);
        self.exchanges.extend(other.exchanges);
        let mut entries = other.entries;
        entries.iter_mut().for_each(|entry| entry.what.shift(links, exchanges));
        self.entries.append(&mut entries);
        if self.keeps {
            self.pools.push(worker);
        }
    }

    /// Brings the entries of several pools into the order of time, and counts their steps.
    pub(crate) fn order(&mut self) {
        self.sort();
        // The same fault of several pools at one time is one entry.
        let mut seen = HashSet::new();
        self.entries.retain(|entry| match entry.what {
            What::Injected(directive) => seen.insert((entry.at, Some(directive))),
            What::Healed => seen.insert((entry.at, None)),
            _ => true,
        });
        let facts = self.entries.iter_mut().filter_map(|entry| match &mut entry.what {
            What::TracedFact(fact) => Some(fact),
            _ => None,
        });
        for (place, fact) in facts.enumerate() {
            fact.step = place as u64 + 1;
        }
    }

    /// The number of the last fact of a pool, if facts are kept.
    pub(crate) fn last_step(&self, pool: usize) -> u64 {
        let last = self.entries.iter().rev().find_map(|entry| match &entry.what {
            What::TracedFact(fact) if fact.pool == pool => Some(fact.step),
            _ => None,
        });
        last.unwrap_or(self.facts)
    }

    /// The next facts are given to this pool.
    #[cfg(feature = "proxy")]
    pub(crate) fn enter_pool(&mut self, pool: usize) {
        self.pool = pool;
    }

    pub(crate) fn dialled(&mut self, token: ConnectionToken, backend: u16, nth: u32) {
        if self.keeps {
            self.links.push(LinkName { pool: self.pool, token, backend, nth });
        }
    }

    pub(crate) fn ordered(&mut self, token: StreamToken, request: u32) {
        if self.keeps {
            self.exchanges.push(ExchangeName { pool: self.pool, token, request });
        }
    }

    pub(crate) fn note(&mut self, at: u64, what: What) {
        if self.keeps {
            self.entries.push(Entry { at, what });
        }
    }
}

/// A multiply-and-rotate hash.
#[derive(Clone, Debug, Default)]
struct Rotating(u64);

impl Mix for Rotating {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn hash(&self) -> u64 {
        self.0
    }
}
