//! Coverage: what the runs met. The catalogue lists the pool's tables of facts per state. Every
//! reachable cell must be met: legal facts, and those that must be answered `Stale` or `Refused`.
//! Each rare situation has a mark.

mod marks;
mod tables;

use baton::pool::{Rejection, TimerReason, Transitions};

use crate::faults::Family;
pub use marks::Mark;
pub(crate) use marks::sometimes;
pub use tables::{
    Answer, BackendAs, BackendFact, ConnectionAs, ConnectionFact, PhaseAs, RequestAs, RequestFact,
    StreamAs, StreamFact,
};
use tables::{backend_answers, connection_answers, stream_answers};

const CONNECTION_CELLS: usize = 7 * 7 * 3;
const STREAM_CELLS: usize = 5 * 7 * 3;
const BACKEND_CELLS: usize = 4 * 5 * 3;
const REQUEST_CELLS: usize = 4 * 2 * 3;
const SHUTDOWN_CELLS: usize = 3 * 3;
const ARRIVAL_CELLS: usize = 3 * 4;
const TIMEOUT_CELLS: usize = 8;
/// Backends added to a free slot, added in place of a removed one, refused; settings changed,
/// refused; audits that found nothing, that found a miscount.
const OPERATOR_CELLS: [&str; 7] = [
    "BackendAdded: to a free slot",
    "BackendAdded: in place of a removed one",
    "BackendAdded: refused",
    "SettingChanged: done",
    "SettingChanged: refused",
    "AuditRequested: nothing found",
    "AuditRequested: rebuilt",
];
const TIMERS: [TimerReason; 7] = [
    TimerReason::ConnectionLife,
    TimerReason::ConnectionQuiet,
    TimerReason::RequestDeadline,
    TimerReason::Backoff,
    TimerReason::Ejection,
    TimerReason::Shutdown,
    TimerReason::Probe,
];

/// Counts of everything in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    connections: [u64; CONNECTION_CELLS],
    streams: [u64; STREAM_CELLS],
    backends: [u64; BACKEND_CELLS],
    operator: [u64; OPERATOR_CELLS.len()],
    requests: [u64; REQUEST_CELLS],
    shutdowns: [u64; SHUTDOWN_CELLS],
    arrivals: [u64; ARRIVAL_CELLS],
    timeouts: [u64; TIMEOUT_CELLS],
    marks: Vec<u64>,
    /// Injected faults of each family, by the state of the connection they hit.
    faults: Vec<u64>,
    transitions: Transitions,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            connections: [0; CONNECTION_CELLS],
            streams: [0; STREAM_CELLS],
            backends: [0; BACKEND_CELLS],
            operator: [0; OPERATOR_CELLS.len()],
            requests: [0; REQUEST_CELLS],
            shutdowns: [0; SHUTDOWN_CELLS],
            arrivals: [0; ARRIVAL_CELLS],
            timeouts: [0; TIMEOUT_CELLS],
            marks: vec![0; Mark::ALL.len()],
            faults: vec![0; Family::ALL.len() * ConnectionAs::ALL.len()],
            transitions: Transitions::default(),
        }
    }
}

/// One entry of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The table it belongs to.
    pub table: &'static str,
    /// The cell or the mark.
    pub name: String,
    /// Number of times it was met.
    pub count: u64,
    /// True if a long run must meet it.
    pub required: bool,
}

impl Coverage {
    pub(crate) fn connection(&mut self, state: ConnectionAs, fact: ConnectionFact, answer: Answer) {
        self.connections[(state as usize * 7 + fact as usize) * 3 + answer as usize] += 1;
    }

    pub(crate) fn stream(&mut self, state: StreamAs, fact: StreamFact, answer: Answer) {
        self.streams[(state as usize * 7 + fact as usize) * 3 + answer as usize] += 1;
    }

    pub(crate) fn backend(&mut self, state: BackendAs, fact: BackendFact, answer: Answer) {
        self.backends[(state as usize * 5 + fact as usize) * 3 + answer as usize] += 1;
    }

    pub(crate) fn added(&mut self, makes_room: bool, fits: bool) {
        let column = match (fits, makes_room) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        };
        self.operator[column] += 1;
    }

    pub(crate) fn setting(&mut self, fits: bool) {
        self.operator[if fits { 3 } else { 4 }] += 1;
    }

    pub(crate) fn audit(&mut self, planted: bool) {
        self.operator[if planted { 6 } else { 5 }] += 1;
    }

    pub(crate) fn request(&mut self, state: RequestAs, fact: RequestFact, answer: Answer) {
        self.requests[(state as usize * 2 + fact as usize) * 3 + answer as usize] += 1;
    }

    pub(crate) fn shutdown(&mut self, phase: PhaseAs, answer: Answer) {
        self.shutdowns[phase as usize * 3 + answer as usize] += 1;
    }

    pub(crate) fn arrival(&mut self, phase: PhaseAs, rejection: Option<Rejection>) {
        let column = match rejection {
            None => 0,
            Some(Rejection::QueueFull) => 1,
            Some(Rejection::RequestsFull) => 2,
            Some(_) => 3,
        };
        self.arrivals[phase as usize * 4 + column] += 1;
    }

    pub(crate) fn timeout(&mut self, due: Option<TimerReason>) {
        let row = due.and_then(|due| TIMERS.iter().position(|reason| *reason == due));
        self.timeouts[row.map_or(0, |row| row + 1)] += 1;
    }

    pub(crate) fn fault(&mut self, family: Family, met: ConnectionAs) {
        self.faults[family as usize * ConnectionAs::ALL.len() + met as usize] += 1;
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    pub(crate) fn transitions(&mut self, transitions: Transitions) {
        self.transitions.merge(transitions);
    }

    /// Adds what another run met.
    pub fn merge(&mut self, other: &Self) {
        let add = |into: &mut [u64], from: &[u64]| {
            for (into, from) in into.iter_mut().zip(from) {
                *into += from;
            }
        };
        add(&mut self.connections, &other.connections);
        add(&mut self.streams, &other.streams);
        add(&mut self.backends, &other.backends);
        add(&mut self.operator, &other.operator);
        add(&mut self.requests, &other.requests);
        add(&mut self.shutdowns, &other.shutdowns);
        add(&mut self.arrivals, &other.arrivals);
        add(&mut self.timeouts, &other.timeouts);
        add(&mut self.marks, &other.marks);
        add(&mut self.faults, &other.faults);
        self.transitions.merge(other.transitions);
    }

    /// Number of times a rare situation was met.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// The whole catalogue.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.list_connections(&mut entries);
        self.list_streams(&mut entries);
        self.list_backends(&mut entries);
        self.list_rest(&mut entries);
        for (state, event, seen) in self.transitions.legal() {
            entries.push(Entry {
                table: "transition",
                name: format!("{state} × {event}"),
                count: u64::from(seen),
                required: true,
            });
        }
        for (mark, count) in Mark::ALL.iter().zip(&self.marks) {
            let name = mark.name().to_owned();
            entries.push(Entry { table: "sometimes", name, count: *count, required: true });
        }
        for (row, family) in Family::ALL.iter().enumerate() {
            let cells = &self.faults[row * 7..(row + 1) * 7];
            let total: u64 = cells.iter().sum();
            let name = format!("{} {}", family.code(), family.title());
            entries.push(Entry { table: "fault", name, count: total, required: true });
            for (state, count) in ConnectionAs::ALL.iter().zip(cells) {
                let name = format!("{} on a connection in state {}", family.code(), state.name());
                entries.push(Entry {
                    table: "fault × state",
                    name,
                    count: *count,
                    required: false,
                });
            }
        }
        entries
    }

    fn list_connections(&self, entries: &mut Vec<Entry>) {
        for state in ConnectionAs::ALL {
            for fact in ConnectionFact::ALL {
                for answer in Answer::ALL {
                    let place = (*state as usize * 7 + *fact as usize) * 3 + *answer as usize;
                    let required = connection_answers(*state, *fact).contains(answer);
                    let count = self.connections[place];
                    push(
                        entries,
                        "connection",
                        (state.name(), fact.name()),
                        *answer,
                        count,
                        required,
                    );
                }
            }
        }
    }

    fn list_streams(&self, entries: &mut Vec<Entry>) {
        for state in StreamAs::ALL {
            for fact in StreamFact::ALL {
                for answer in Answer::ALL {
                    let place = (*state as usize * 7 + *fact as usize) * 3 + *answer as usize;
                    let required = stream_answers(*state, *fact).contains(answer);
                    let count = self.streams[place];
                    push(entries, "stream", (state.name(), fact.name()), *answer, count, required);
                }
            }
        }
    }

    fn list_backends(&self, entries: &mut Vec<Entry>) {
        for state in BackendAs::ALL {
            for fact in BackendFact::ALL {
                for answer in Answer::ALL {
                    let place = (*state as usize * 5 + *fact as usize) * 3 + *answer as usize;
                    let required = backend_answers(*state, *fact).contains(answer);
                    let (cell, count) = ((state.name(), fact.name()), self.backends[place]);
                    push(entries, "backend", cell, *answer, count, required);
                }
            }
        }
        for (name, count) in OPERATOR_CELLS.iter().zip(self.operator) {
            let name = (*name).to_owned();
            entries.push(Entry { table: "operator", name, count, required: true });
        }
    }

    fn list_rest(&self, entries: &mut Vec<Entry>) {
        for state in RequestAs::ALL {
            for fact in RequestFact::ALL {
                for answer in Answer::ALL {
                    let place = (*state as usize * 2 + *fact as usize) * 3 + *answer as usize;
                    let gone = *state == RequestAs::Gone;
                    let required = *answer == if gone { Answer::Stale } else { Answer::Done };
                    let count = self.requests[place];
                    push(entries, "request", (state.name(), fact.name()), *answer, count, required);
                }
            }
        }
        for phase in PhaseAs::ALL {
            for answer in Answer::ALL {
                let required = match phase {
                    PhaseAs::Running => *answer == Answer::Done,
                    // A repeated shutdown request may bring the deadline forward or be refused.
                    PhaseAs::Draining => *answer != Answer::Stale,
                    PhaseAs::Over => *answer == Answer::Refused,
                };
                let count = self.shutdowns[*phase as usize * 3 + *answer as usize];
                push(
                    entries,
                    "pool",
                    (phase.name(), "ShutdownRequested"),
                    *answer,
                    count,
                    required,
                );
            }
            let over = *phase == PhaseAs::Over;
            let columns = ["accepted", "queue full", "requests full", "shutting down"];
            for (column, answer) in columns.iter().enumerate() {
                entries.push(Entry {
                    table: "pool",
                    name: format!("{} × RequestArrived: {answer}", phase.name()),
                    count: self.arrivals[*phase as usize * 4 + column],
                    required: (column == 3) == over,
                });
            }
        }
        let reasons = [
            "nothing is due",
            "connection life",
            "connection quiet",
            "request deadline",
            "backoff",
            "ejection",
            "shutdown",
            "health check",
        ];
        for (reason, count) in reasons.iter().zip(self.timeouts) {
            let name = format!("Timeout: {reason}");
            entries.push(Entry { table: "pool", name, count, required: true });
        }
    }
}

fn push(
    entries: &mut Vec<Entry>,
    table: &'static str,
    cell: (&str, &str),
    answer: Answer,
    count: u64,
    required: bool,
) {
    if required || count > 0 {
        let name = format!("{} × {}: {}", cell.0, cell.1, answer.name());
        entries.push(Entry { table, name, count, required });
    }
}
