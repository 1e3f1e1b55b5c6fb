//! Coverage: what the runs met. The catalogue lists the pool's tables of facts per state. Every
//! reachable cell must be met: legal facts, and those that must be answered `Stale` or `Refused`.
//! Each rare situation has a mark. The world of the proxy has a catalogue of its own, in `proxy`.

mod chances;
mod counts;
#[cfg(feature = "proxy")]
mod deed;
#[cfg(feature = "proxy")]
mod ends;
#[cfg(feature = "proxy")]
mod expected;
mod marks;
mod pairs;
#[cfg(feature = "proxy")]
mod phase;
#[cfg(feature = "proxy")]
mod proxy;
mod tables;

use std::fmt::Display;

use baton::pool::{Rejection, TimerReason, Transitions};

use crate::faults::Family;
use crate::plan::WorldName;
pub(crate) use chances::{Chance, Chances};
use counts::Counts;
pub use counts::Entry;
#[cfg(feature = "proxy")]
pub(crate) use deed::{Deed, ProcessDeed, Side};
#[cfg(feature = "proxy")]
pub(crate) use ends::{Backend, CodeUse, Ending, Outcome, code_name};
pub use marks::Mark;
pub(crate) use marks::sometimes;
use pairs::Pairs;
#[cfg(feature = "proxy")]
pub(crate) use phase::{Phase, Phases};
#[cfg(feature = "proxy")]
pub(crate) use proxy::ProxyCoverage;
pub use tables::{
    Answer, BackendAs, BackendFact, ConnectionAs, ConnectionFact, PhaseAs, RequestAs, RequestFact,
    StreamAs, StreamFact,
};
use tables::{Operation, backend_answers, request_answers};
pub(crate) use tables::{connection_answers, stream_answer};

/// The answers to a request that arrives.
const ARRIVALS: [Option<Rejection>; 4] = [
    None,
    Some(Rejection::QueueFull),
    Some(Rejection::RequestsFull),
    Some(Rejection::ShuttingDown),
];

/// Counts of everything in the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    connections: Counts,
    streams: Counts,
    backends: Counts,
    operator: Counts,
    requests: Counts,
    shutdowns: Counts,
    arrivals: Counts,
    timeouts: Counts,
    marks: Counts,
    /// Injected faults of each family.
    faults: Counts,
    transitions: Transitions,
    pairs: Pairs,
    chances: Chances,
    /// Counts of the catalogue of the proxy's world, if they are asked for.
    #[cfg(feature = "proxy")]
    proxy: Option<ProxyCoverage>,
}

/// A cell of the catalogue of the pool's world: the number of its table, and its place there.
pub(crate) type Cell = (usize, usize);

/// Returns the index of a cell in a table whose rows have `facts` facts.
fn cell(state: usize, facts: usize, fact: usize, answer: Answer) -> usize {
    (state * facts + fact) * Answer::ALL.len() + answer as usize
}

impl Coverage {
    /// Counts also what costs time in each run: what only the catalogue of the proxy's world needs.
    #[must_use]
    pub fn of_everything() -> Self {
        Self {
            #[cfg(feature = "proxy")]
            proxy: Some(ProxyCoverage::default()),
            ..Self::default()
        }
    }

    /// The counts of what only the world of the proxy has, if they were asked for.
    #[cfg(feature = "proxy")]
    pub(crate) fn proxy(&mut self) -> Option<&mut ProxyCoverage> {
        self.proxy.as_mut()
    }

    /// The tables of the catalogue of the pool's world that count.
    fn tables(&self) -> [&Counts; 12] {
        let [services, sequences] = self.pairs.tables();
        [
            &self.connections,
            &self.streams,
            &self.backends,
            &self.operator,
            &self.requests,
            &self.shutdowns,
            &self.arrivals,
            &self.timeouts,
            &self.marks,
            &self.faults,
            services,
            sequences,
        ]
    }

    /// The cells of the pool's world that were met.
    pub(crate) fn met(&self) -> impl Iterator<Item = Cell> {
        let tables = self.tables().into_iter().enumerate();
        tables.flat_map(|(table, counts)| counts.met().map(move |place| (table, place)))
    }

    /// True if a cell was met.
    pub(crate) fn has_met(&self, (table, place): Cell) -> bool {
        self.tables()[table].get(place) > 0
    }

    pub(crate) fn connection(&mut self, state: ConnectionAs, fact: ConnectionFact, answer: Answer) {
        let facts = ConnectionFact::ALL.len();
        self.connections.add(cell(state as usize, facts, fact as usize, answer), 1);
    }

    pub(crate) fn stream(&mut self, state: StreamAs, fact: StreamFact, answer: Answer) {
        let facts = StreamFact::ALL.len();
        self.streams.add(cell(state as usize, facts, fact as usize, answer), 1);
    }

    pub(crate) fn backend(&mut self, state: BackendAs, fact: BackendFact, answer: Answer) {
        let facts = BackendFact::ALL.len();
        self.backends.add(cell(state as usize, facts, fact as usize, answer), 1);
    }

    pub(crate) fn added(&mut self, makes_room: bool, fits: bool) {
        let operation = match (fits, makes_room) {
            (true, false) => Operation::Added,
            (true, true) => Operation::AddedForAnother,
            (false, _) => Operation::NotAdded,
        };
        self.operator.add(operation as usize, 1);
    }

    pub(crate) fn setting(&mut self, fits: bool) {
        let operation = if fits { Operation::Changed } else { Operation::NotChanged };
        self.operator.add(operation as usize, 1);
    }

    pub(crate) fn request(&mut self, state: RequestAs, fact: RequestFact, answer: Answer) {
        let facts = RequestFact::ALL.len();
        self.requests.add(cell(state as usize, facts, fact as usize, answer), 1);
    }

    pub(crate) fn shutdown(&mut self, phase: PhaseAs, answer: Answer) {
        self.shutdowns.add(cell(phase as usize, 1, 0, answer), 1);
    }

    pub(crate) fn arrival(&mut self, phase: PhaseAs, rejection: Option<Rejection>) {
        let column = ARRIVALS.iter().position(|known| *known == rejection);
        let column = column.expect("a request that arrives is rejected for one of these");
        self.arrivals.add(phase as usize * ARRIVALS.len() + column, 1);
    }

    pub(crate) fn timeout(&mut self, due: Option<TimerReason>) {
        self.timeouts.add(due.map_or(0, |due| due as usize + 1), 1);
    }

    /// Counts a fault that hit no connection.
    pub(crate) fn fault(&mut self, family: Family) {
        self.faults.add(family as usize, 1);
    }

    /// Counts a fault on a connection, after another one on the same connection.
    pub(crate) fn fault_on(
        &mut self,
        family: Family,
        met: ConnectionAs,
        service: BackendAs,
        before: Option<Family>,
    ) {
        self.fault(family);
        self.pairs.add(family, met, service, before);
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks.add(mark as usize, 1);
    }

    pub(crate) fn transitions(&mut self, transitions: Transitions) {
        self.transitions.merge(transitions);
    }

    /// Adds what another run met.
    pub fn merge(&mut self, other: &Self) {
        self.connections.merge(&other.connections);
        self.streams.merge(&other.streams);
        self.backends.merge(&other.backends);
        self.operator.merge(&other.operator);
        self.requests.merge(&other.requests);
        self.shutdowns.merge(&other.shutdowns);
        self.arrivals.merge(&other.arrivals);
        self.timeouts.merge(&other.timeouts);
        self.marks.merge(&other.marks);
        self.faults.merge(&other.faults);
        self.transitions.merge(other.transitions);
        self.pairs.merge(&other.pairs);
        self.chances.merge(&other.chances);
        #[cfg(feature = "proxy")]
        if let Some(other) = &other.proxy {
            self.proxy.get_or_insert_default().merge(other);
        }
    }

    /// Forgets the random choices of these runs: they are not independent of those of others.
    pub(crate) fn forget_choices(&mut self) {
        self.chances = Chances::default();
    }

    pub(crate) fn chances(&mut self, chances: &Chances) {
        self.chances.merge(chances);
    }

    /// Returns what is wrong with the random choices of all runs together, if anything is.
    #[must_use]
    pub fn wrong_choices(&self) -> Option<String> {
        self.chances.judge()
    }

    /// Number of times a rare situation was met.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> u64 {
        self.marks.get(mark as usize)
    }

    /// The whole catalogue of a world.
    #[must_use]
    pub fn entries(&self, world: WorldName) -> Vec<Entry> {
        match world {
            WorldName::Pool => self.entries_of_pool(),
            #[cfg(feature = "proxy")]
            WorldName::Proxy => self.proxy.clone().unwrap_or_default().entries(),
            #[cfg(not(feature = "proxy"))]
            WorldName::Proxy => Vec::new(),
            WorldName::Both => {
                let mut entries = self.entries(WorldName::Pool);
                entries.extend(self.entries(WorldName::Proxy));
                entries
            }
        }
    }

    fn entries_of_pool(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.list_facts(&mut entries);
        self.list_rest(&mut entries);
        for (state, event, seen) in self.transitions.legal() {
            entries.push(Entry {
                table: "transition",
                name: format!("{state} × {event}"),
                count: u64::from(seen),
                required: true,
                never: None,
            });
        }
        for mark in Mark::ALL {
            let (name, count) = (mark.to_string(), self.marked(*mark));
            entries.push(Entry { table: "sometimes", name, count, required: true, never: None });
        }
        for family in Family::ALL.iter().filter(|family| !family.is_about_bytes()) {
            let (name, count) = (family.to_string(), self.faults.get(*family as usize));
            entries.push(Entry { table: "fault", name, count, required: true, never: None });
        }
        self.pairs.list(&mut entries);
        entries
    }

    /// Lists the tables of the answers to each fact in each state.
    fn list_facts(&self, entries: &mut Vec<Entry>) {
        let (states, facts) = (ConnectionAs::ALL, ConnectionFact::ALL);
        list(entries, "connection", &self.connections, states, facts, connection_answers);
        let (states, facts) = (StreamAs::ALL, StreamFact::ALL);
        list(entries, "stream", &self.streams, states, facts, |state, fact| {
            [stream_answer(state, fact)]
        });
        let (states, facts) = (BackendAs::ALL, BackendFact::ALL);
        list(entries, "backend", &self.backends, states, facts, backend_answers);
        let (states, facts) = (RequestAs::ALL, RequestFact::ALL);
        list(entries, "request", &self.requests, states, facts, request_answers);
        let shutdown = |phase, _| match phase {
            PhaseAs::Running => &[Answer::Done][..],
            // A repeated shutdown request may bring the deadline forward or be refused.
            PhaseAs::Draining => &[Answer::Done, Answer::Refused],
            PhaseAs::Over => &[Answer::Refused],
        };
        list(entries, "pool", &self.shutdowns, PhaseAs::ALL, &["ShutdownRequested"], shutdown);
    }

    fn list_rest(&self, entries: &mut Vec<Entry>) {
        for operation in Operation::ALL {
            let (name, count) = (operation.to_string(), self.operator.get(*operation as usize));
            entries.push(Entry { table: "operator", name, count, required: true, never: None });
        }
        for phase in PhaseAs::ALL {
            for (column, rejection) in ARRIVALS.iter().enumerate() {
                let answer = rejection.map_or("accepted", Rejection::name);
                let over = *rejection == Some(Rejection::ShuttingDown);
                entries.push(Entry {
                    table: "pool",
                    name: format!("{phase} × RequestArrived: {answer}"),
                    count: self.arrivals.get(*phase as usize * ARRIVALS.len() + column),
                    required: over == (*phase == PhaseAs::Over),
                    never: None,
                });
            }
        }
        let nothing = ["nothing is due"];
        for (place, reason) in nothing.iter().chain(TimerReason::NAMES).enumerate() {
            let (name, count) = (format!("Timeout: {reason}"), self.timeouts.get(place));
            entries.push(Entry { table: "pool", name, count, required: true, never: None });
        }
    }
}

/// Lists the cells of a table that were met or must be met. `answers` returns the answers that a
/// cell must meet.
fn list<S: Copy + Display, F: Copy + Display, A: AsRef<[Answer]>>(
    entries: &mut Vec<Entry>,
    table: &'static str,
    counts: &Counts,
    states: &[S],
    facts: &[F],
    answers: impl Fn(S, F) -> A,
) {
    for (row, state) in states.iter().enumerate() {
        for (column, fact) in facts.iter().enumerate() {
            for answer in Answer::ALL {
                let required = answers(*state, *fact).as_ref().contains(answer);
                let count = counts.get(cell(row, facts.len(), column, *answer));
                if required || count > 0 {
                    let name = format!("{state} × {fact}: {answer}");
                    entries.push(Entry { table, name, count, required, never: None });
                }
            }
        }
    }
}
