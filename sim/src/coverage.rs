//! What was reached. The tables of what may happen in which state are the catalogue: every cell that
//! a fact can meet must have been met, the legal ones and those that must be answered `Stale` or
//! `Refused`. Rare situations have a mark each.

mod marks;

use baton::pool::{Rejection, TimerReason, Transitions};

use crate::faults::Family;
pub use marks::Mark;
pub(crate) use marks::sometimes;

/// An enum with a list of all its variants and a name for each.
macro_rules! catalogue {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
pub(crate) use catalogue;

catalogue! {
    /// The state of a connection that a fact meets.
    ConnectionAs {
        /// Never was, or is over.
        Gone = "gone",
        /// Dialled.
        Connecting = "connecting",
        /// Ready, below its limit.
        Available = "available",
        /// Ready, at its limit.
        InUse = "in use",
        /// Silent.
        Suspect = "suspect",
        /// Takes no new streams.
        Draining = "draining",
        /// Closed by the peer, streams not yet reported.
        Lost = "lost",
    }
}

catalogue! {
    /// Facts about a connection.
    ConnectionFact {
        /// `Connected`
        Connected = "Connected",
        /// `ConnectFailed`
        ConnectFailed = "ConnectFailed",
        /// `MaxStreamsChanged`
        MaxStreamsChanged = "MaxStreamsChanged",
        /// `GoAwayReceived`
        GoAwayReceived = "GoAwayReceived",
        /// `FrameReceived`
        FrameReceived = "FrameReceived",
        /// `Pong`
        Pong = "Pong",
        /// `ConnectionClosed`
        ConnectionClosed = "ConnectionClosed",
    }
}

catalogue! {
    /// The state of a stream that a fact meets.
    StreamAs {
        /// Never was, or is over.
        Gone = "gone",
        /// Ordered, its identifier not yet reported.
        Ordered = "ordered",
        /// Opened, no response.
        Opened = "opened",
        /// Response begun.
        Responding = "responding",
        /// Reset by order, not yet on the wire.
        Resetting = "resetting",
    }
}

catalogue! {
    /// Facts about a stream.
    StreamFact {
        /// `StreamOpened`
        StreamOpened = "StreamOpened",
        /// `RequestSent`
        RequestSent = "RequestSent",
        /// `ResponseStarted`
        ResponseStarted = "ResponseStarted",
        /// `ResponseEnded`
        ResponseEnded = "ResponseEnded",
        /// `StreamFailed`
        StreamFailed = "StreamFailed",
        /// `ResetSent`
        ResetSent = "ResetSent",
    }
}

catalogue! {
    /// The state of a request that a fact meets.
    RequestAs {
        /// Never was, or is over.
        Gone = "gone",
        /// For any connection.
        Waiting = "waiting",
        /// Given to a connection.
        Sent = "sent",
        /// Response begun.
        Responding = "responding",
    }
}

catalogue! {
    /// Facts about a request.
    RequestFact {
        /// `ReplayBufferExceeded`
        ReplayBufferExceeded = "ReplayBufferExceeded",
        /// `RequestCancelled`
        RequestCancelled = "RequestCancelled",
    }
}

catalogue! {
    /// The phase of a pool that a fact meets.
    PhaseAs {
        /// In service.
        Running = "running",
        /// Shutdown was asked for.
        Draining = "draining",
        /// The shutdown's deadline passed.
        Over = "over",
    }
}

catalogue! {
    /// What the pool answers.
    Answer {
        /// The fact was current.
        Done = "done",
        /// It cannot be true.
        Refused = "refused",
        /// It is about something that is over.
        Stale = "stale",
    }
}

const CONNECTION_CELLS: usize = 7 * 7 * 3;
const STREAM_CELLS: usize = 5 * 6 * 3;
const REQUEST_CELLS: usize = 4 * 2 * 3;
const SHUTDOWN_CELLS: usize = 3 * 3;
const ARRIVAL_CELLS: usize = 3 * 4;
const TIMEOUT_CELLS: usize = 7;
const TIMERS: [TimerReason; 6] = [
    TimerReason::ConnectionLife,
    TimerReason::ConnectionQuiet,
    TimerReason::RequestDeadline,
    TimerReason::Backoff,
    TimerReason::Ejection,
    TimerReason::Shutdown,
];

/// Counts of everything in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    connections: [u64; CONNECTION_CELLS],
    streams: [u64; STREAM_CELLS],
    requests: [u64; REQUEST_CELLS],
    shutdowns: [u64; SHUTDOWN_CELLS],
    arrivals: [u64; ARRIVAL_CELLS],
    timeouts: [u64; TIMEOUT_CELLS],
    marks: Vec<u64>,
    /// Strikes of each fault family, by the state of the connection they met.
    faults: Vec<u64>,
    transitions: Transitions,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            connections: [0; CONNECTION_CELLS],
            streams: [0; STREAM_CELLS],
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
    /// The table it is from.
    pub table: &'static str,
    /// The cell, or the mark.
    pub name: String,
    /// How often it was met.
    pub count: u64,
    /// Whether it must have been met in a long run.
    pub required: bool,
}

impl Coverage {
    pub(crate) fn connection(&mut self, state: ConnectionAs, fact: ConnectionFact, answer: Answer) {
        self.connections[(state as usize * 7 + fact as usize) * 3 + answer as usize] += 1;
    }

    pub(crate) fn stream(&mut self, state: StreamAs, fact: StreamFact, answer: Answer) {
        self.streams[(state as usize * 6 + fact as usize) * 3 + answer as usize] += 1;
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
        add(&mut self.requests, &other.requests);
        add(&mut self.shutdowns, &other.shutdowns);
        add(&mut self.arrivals, &other.arrivals);
        add(&mut self.timeouts, &other.timeouts);
        add(&mut self.marks, &other.marks);
        add(&mut self.faults, &other.faults);
        self.transitions.merge(other.transitions);
    }

    /// How often a rare situation was met.
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
                let name = format!("{} on a connection that is {}", family.code(), state.name());
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
                    let place = (*state as usize * 6 + *fact as usize) * 3 + *answer as usize;
                    let required = stream_answer(*state, *fact) == *answer;
                    let count = self.streams[place];
                    push(entries, "stream", (state.name(), fact.name()), *answer, count, required);
                }
            }
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
            let running = *phase == PhaseAs::Running;
            for answer in Answer::ALL {
                let required = *answer == if running { Answer::Done } else { Answer::Refused };
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

/// What a connection in a state may answer to a fact.
fn connection_answers(state: ConnectionAs, fact: ConnectionFact) -> &'static [Answer] {
    use ConnectionAs as As;
    use ConnectionFact as Fact;
    match (state, fact) {
        (As::Gone, _) => &[Answer::Stale],
        (As::Connecting, Fact::MaxStreamsChanged | Fact::Pong)
        | (As::Lost, Fact::ConnectionClosed) => &[Answer::Refused],
        (As::Connecting, _) => &[Answer::Done],
        (_, Fact::Connected | Fact::ConnectFailed) => &[Answer::Refused],
        // A suspect connection always has a PING out.
        (As::Suspect, Fact::Pong) => &[Answer::Done],
        (_, Fact::Pong) => &[Answer::Done, Answer::Refused],
        (
            As::Available | As::InUse | As::Suspect | As::Draining | As::Lost,
            Fact::MaxStreamsChanged
            | Fact::GoAwayReceived
            | Fact::FrameReceived
            | Fact::ConnectionClosed,
        ) => &[Answer::Done],
    }
}

/// What a stream in a state answers to a fact.
fn stream_answer(state: StreamAs, fact: StreamFact) -> Answer {
    use StreamAs as As;
    use StreamFact as Fact;
    match (state, fact) {
        (As::Gone, _) => Answer::Stale,
        (As::Resetting, Fact::ResetSent) => Answer::Done,
        (As::Resetting, _) => Answer::Stale,
        (_, Fact::ResetSent) => Answer::Refused,
        (As::Ordered, Fact::StreamOpened) => Answer::Done,
        (As::Opened | As::Responding, Fact::StreamOpened) => Answer::Refused,
        (_, Fact::RequestSent | Fact::StreamFailed) => Answer::Done,
        (As::Ordered | As::Opened, Fact::ResponseStarted) => Answer::Done,
        (As::Responding, Fact::ResponseStarted) => Answer::Refused,
        (As::Ordered | As::Opened, Fact::ResponseEnded) => Answer::Refused,
        (As::Responding, Fact::ResponseEnded) => Answer::Done,
    }
}
