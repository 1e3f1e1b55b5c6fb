//! The cases for every bench of the pool: a pool with requests in flight, and an operation that is
//! repeated.

use std::collections::VecDeque;
use std::time::Duration;

use baton::pool::{
    BackendConfig, Config, Handled, Input, Instant, Limits, Output, Pool, Protocol, RequestId,
    StreamToken,
};

/// Backends that receive the requests.
const BACKENDS: usize = 8;
/// Streams per connection.
const STREAMS: usize = 100;
/// Nanoseconds between two facts.
const STEP: u64 = 1_000;
/// Longer than any measurement, in the pool's time.
const YEAR: Duration = Duration::from_hours(24 * 365);

baton::words! {
    /// The operation of one iteration.
    pub(crate) enum Scenario {
        /// A request arrives, gets a stream and is cancelled: the shortest way to acquire and
        /// release a stream.
        AcquireRelease = "acquire_release",
        /// A request from arrival to outcome with a constant number in flight: a new one is sent,
        /// the oldest one is answered.
        Request = "request",
        /// GOAWAY with every request in flight on one connection and none processed: all are
        /// retried and answered on the next connection, and as many new ones follow.
        GoAway = "go_away",
        /// The response deadline of the oldest request passes, and a new request replaces it.
        Deadline = "deadline",
    }
}

baton::words! {
    /// The size of the tables.
    pub(crate) enum Size {
        /// As large as the requests need.
        Small = "small",
        /// 64 backends with 32 connections of 100 streams, 20 000 requests.
        Full = "full",
        /// One backend with as many connections of one stream as requests, like HTTP/1.1.
        OneStream = "one_stream",
    }
}

/// A named measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) size: Size,
    /// Requests in flight during the measurement.
    pub(crate) live: usize,
}

/// All cases, in the order of the report.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for scenario in [Scenario::AcquireRelease, Scenario::Request, Scenario::Deadline] {
        for live in [1, 64, 1_024, 16_384] {
            cases.extend([Size::Small, Size::Full].map(|size| Case { scenario, size, live }));
        }
    }
    for live in [1, 64, 1_024, 4_095] {
        cases.push(Case { scenario: Scenario::Request, size: Size::OneStream, live });
    }
    let sizes = [Size::Small, Size::Full];
    cases.extend(sizes.map(|size| Case { scenario: Scenario::GoAway, size, live: STREAMS }));
    cases
}

impl Case {
    /// The name in reports: scenario, table size, requests in flight.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.scenario, self.size, self.live)
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
            Size::OneStream => Limits {
                backends: 1,
                connections_per_backend: self.live + 1,
                streams_per_connection: 1,
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
        let one = self.scenario == Scenario::GoAway || self.size == Size::OneStream;
        if one { 1 } else { BACKENDS }
    }
}

/// A pool and the state of its shell.
pub(crate) struct World {
    scenario: Scenario,
    pool: Pool,
    now: u64,
    /// Requests in flight, oldest first.
    live: VecDeque<(RequestId, StreamToken)>,
    /// Facts that the shell has not yet reported.
    done: VecDeque<Input>,
}

impl World {
    /// Creates the pool of a case, with its requests in flight.
    ///
    /// # Panics
    /// If the requests do not fit.
    pub(crate) fn new(case: Case) -> Self {
        let mut config = Config {
            backends: vec![BackendConfig::default(); case.backends()],
            limits: case.limits(),
            ..Config::default()
        };
        // No other timer may fire during the measurement.
        config.timeouts.response_head = Duration::from_millis(100);
        config.timeouts.silence = YEAR;
        config.timeouts.idle = YEAR;
        config.timeouts.max_age = YEAR;
        config.health.failures = 1_000_000;
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
        assert_eq!(world.live.len(), case.live, "each request has a stream");
        // A connection that ends without a response would count as a failed dial.
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
        assert_eq!(self.live.len(), count, "all requests were retried");
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

    /// Answers the oldest request.
    fn answer(&mut self) {
        let (_, stream) = self.live.pop_front().expect("a request is in flight");
        self.tell(Input::FrameReceived { connection: stream.connection, carries_message: true });
        self.tell(Input::ResponseStarted { stream, status: 200 });
        self.tell(Input::ResponseEnded { stream });
    }

    /// Gives the pool a fact, then carries out its orders like a shell whose backends accept
    /// everything.
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
