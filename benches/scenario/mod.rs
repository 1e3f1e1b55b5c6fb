//! What is measured of the pool, for every bench that measures it: a pool with so many requests in
//! flight, and what happens to it over and over.

use std::collections::VecDeque;
use std::time::Duration;

use baton::pool::{
    BackendConfig, Config, Handled, Input, Instant, Limits, Output, Pool, Protocol, RequestId,
    StreamToken,
};

/// Backends that the requests go to.
const BACKENDS: usize = 8;
/// Streams that each connection takes.
const STREAMS: usize = 100;
/// Between two facts, nanoseconds.
const STEP: u64 = 1_000;
/// Longer than any measurement is for the pool.
const YEAR: Duration = Duration::from_hours(24 * 365);

/// What happens in one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A request arrives, has a stream, and its client goes away: the shortest way to take a stream
    /// and give it back.
    AcquireRelease,
    /// A request from its arrival to its outcome, while as many as there are stay in flight: a new
    /// one is sent, the oldest is answered.
    Request,
    /// GOAWAY with every request in flight on one connection and none of them processed: all are sent
    /// again on the next connection and answered there, and as many new ones follow them.
    GoAway,
    /// The response deadline of the oldest request passes, and a new one takes its place.
    Deadline,
}

/// How large the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What the requests need, and no more.
    Small,
    /// 64 backends with 32 connections of 100 streams, 20 000 requests.
    Full,
}

/// What is measured under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) size: Size,
    /// Requests in flight meanwhile.
    pub(crate) live: usize,
}

/// Every case, in the order in which they are reported.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in [Scenario::AcquireRelease, Scenario::Request, Scenario::Deadline] {
        for live in [1, 64, 1_024, 16_384] {
            cases.extend([Size::Small, Size::Full].map(|size| Case { scenario, size, live }));
        }
    }
    let sizes = [Size::Small, Size::Full];
    cases.extend(sizes.map(|size| Case { scenario: Scenario::GoAway, size, live: STREAMS }));
    cases
}

impl Case {
    /// Its name in reports: scenario, size of the tables, requests in flight.
    pub(crate) fn name(&self) -> String {
        let scenario = match self.scenario {
            Scenario::AcquireRelease => "acquire_release",
            Scenario::Request => "request",
            Scenario::GoAway => "go_away",
            Scenario::Deadline => "deadline",
        };
        let size = match self.size {
            Size::Small => "small",
            Size::Full => "full",
        };
        format!("{scenario}/{size}/{}", self.live)
    }

    fn limits(&self) -> Limits {
        match self.size {
            Size::Small => Limits {
                backends: self.backends(),
                connections_per_backend: (self.live + 1).div_ceil(BACKENDS * STREAMS),
                streams_per_connection: STREAMS,
                requests: self.live + 1,
                waiting: self.live + 1,
            },
            Size::Full => Limits {
                backends: 64,
                connections_per_backend: 32,
                streams_per_connection: STREAMS,
                requests: 20_000,
                waiting: 20_000,
            },
        }
    }

    fn backends(&self) -> usize {
        if self.scenario == Scenario::GoAway { 1 } else { BACKENDS }
    }
}

/// A pool, and what its shell has to remember.
pub(crate) struct World {
    scenario: Scenario,
    pool: Pool,
    now: u64,
    /// What is in flight, oldest first.
    live: VecDeque<(RequestId, StreamToken)>,
    /// What the shell has done and not yet told.
    done: VecDeque<Input>,
}

impl World {
    /// The pool of a case, with its requests in flight.
    ///
    /// # Panics
    /// If they do not fit.
    pub(crate) fn new(case: Case) -> Self {
        let mut config = Config {
            backends: vec![BackendConfig::default(); case.backends()],
            limits: case.limits(),
            ..Config::default()
        };
        // Nothing happens but what is measured.
        config.timeouts.response_head = Duration::from_millis(100);
        config.timeouts.silence = YEAR;
        config.timeouts.idle = YEAR;
        config.timeouts.max_age = YEAR;
        config.health.failures = u32::MAX;
        let mut world = Self {
            scenario: case.scenario,
            pool: Pool::new(config, 1).expect("within bounds"),
            now: STEP,
            live: VecDeque::with_capacity(case.live + 1),
            done: VecDeque::with_capacity(STREAMS + 1),
        };
        for _ in 0..case.live {
            world.arrive();
        }
        assert_eq!(world.live.len(), case.live, "each has a stream");
        // A connection that ends without a single response counts as a failed dial.
        world.answer();
        world.arrive();
        world
    }

    /// One iteration.
    pub(crate) fn step(&mut self) {
        match self.scenario {
            Scenario::AcquireRelease => self.acquire_and_release(),
            Scenario::Request => self.request(),
            Scenario::GoAway => self.go_away(),
            Scenario::Deadline => self.deadline(),
        }
    }

    fn acquire_and_release(&mut self) {
        self.arrive();
        let (request, _) = self.live.pop_back().expect("it has a stream");
        self.tell(Input::RequestCancelled { request });
    }

    fn request(&mut self) {
        self.arrive();
        self.answer();
    }

    fn go_away(&mut self) {
        let connection = self.live.front().expect("requests are in flight").1.connection;
        let count = self.live.len();
        self.live.clear();
        self.tell(Input::GoAwayReceived { connection, last_stream_id: 0, code: 0 });
        assert_eq!(self.live.len(), count, "all were sent again");
        for _ in 0..count {
            self.answer();
        }
        for _ in 0..count {
            self.arrive();
        }
    }

    fn deadline(&mut self) {
        self.live.pop_front();
        let (at, _) = self.pool.poll_timeout().expect("responses have deadlines");
        self.now = at.0;
        self.tell(Input::Timeout);
        self.arrive();
    }

    fn arrive(&mut self) {
        self.tell(Input::RequestArrived { idempotent: true, has_body: false });
    }

    /// The oldest request is answered.
    fn answer(&mut self) {
        let (_, stream) = self.live.pop_front().expect("a request is in flight");
        self.tell(Input::FrameReceived { connection: stream.connection });
        self.tell(Input::ResponseStarted { stream, status: 200 });
        self.tell(Input::ResponseEnded { stream });
    }

    /// Tells the pool a fact, and then what a shell does whose backends take everything.
    fn tell(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next {
            self.now += STEP;
            let handled = self.pool.handle(Instant(self.now), input);
            assert!(matches!(handled, Handled::Accepted(_) | Handled::Done), "{handled:?}");
            while let Some(output) = self.pool.poll_output() {
                self.carry_out(output);
            }
            next = self.done.pop_front();
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { connection } => self.done.push_back(Input::Connected {
                connection,
                protocol: Protocol::Http2,
                max_streams: Some(u32::MAX),
            }),
            Output::OpenStream { stream, request, .. } => {
                self.live.push_back((request, stream));
                let stream_id = 2 * stream.ordinal + 1;
                self.done.push_back(Input::StreamOpened { stream, stream_id });
            }
            Output::ResetStream { stream, .. } => self.done.push_back(Input::ResetSent { stream }),
            _ => {}
        }
    }
}
