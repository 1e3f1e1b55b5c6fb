//! Whole-pool scenarios, by theme. [`World`] drives a pool step by step and records its orders.

mod backends;
mod blame;
mod chaos;
mod dialling;
mod draining;
mod health;
mod operating;
mod queueing;
mod recount;
mod retries;
mod silence;
mod stale;
mod stalls;
mod views;

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Shutdown because the process is about to end.
const SHUTDOWN: Input = Input::ShutdownRequested { cause: ShutdownCause::ProcessEnds };
/// A stream failure that counts as a failure of the backend.
const FAULT: StreamFailure = StreamFailure::Reset { code: 2 };

/// Limits small enough to be hit.
fn config(backends: usize) -> Config {
    Config {
        backends: vec![BackendConfig::default(); backends],
        limits: Limits {
            backends: 4,
            connections_per_backend: 2,
            streams_per_connection: 4,
            requests: 40,
            waiting: 12,
        },
        ..Config::default()
    }
}

/// A pool, the time, the orders it gave, and the outcomes of its requests.
struct World {
    pool: Pool,
    now: Instant,
    orders: Vec<Output>,
    outcomes: BTreeMap<RequestId, (Outcome, u8, Option<Evidence>)>,
    /// The evidence of the last attempt of each request, if it has failed.
    failed: BTreeMap<RequestId, Evidence>,
    next_stream_id: u32,
    /// The host of every backend is dead, unless a test says otherwise.
    host: Host,
}

impl World {
    fn new(config: Config) -> Self {
        let pool = Pool::new(config, 42).expect("the configuration is valid");
        let now = Instant(1_000_000_000);
        Self {
            pool,
            now,
            orders: Vec::new(),
            outcomes: BTreeMap::new(),
            failed: BTreeMap::new(),
            next_stream_id: 1,
            host: Host::Leaves(Some(2)),
        }
    }

    fn tell(&mut self, input: Input) -> Handled {
        let handled = self.pool.handle(self.now, input);
        while let Some(order) = self.pool.poll_output() {
            self.note(order);
            self.orders.push(order);
        }
        handled
    }

    /// Records what became of attempts and requests.
    fn note(&mut self, order: Output) {
        match order {
            Output::OpenStream { request, .. } => {
                self.failed.remove(&request);
            }
            Output::AttemptFailed(FailedAttempt { request, evidence, .. }) => {
                let failed = self.failed.insert(request, evidence);
                assert_eq!(failed, None, "an attempt fails once");
            }
            Output::RequestEnded { request, outcome, attempts, .. } => {
                let evidence = self.failed.remove(&request);
                let ended = self.outcomes.insert(request, (outcome, attempts, evidence));
                assert_eq!(ended, None, "a request ends once");
            }
            _ => {}
        }
    }

    fn done(&mut self, input: Input) {
        assert_eq!(self.tell(input), Handled::Done, "{input:?}");
    }

    /// Lets time pass and handles every timer that becomes due.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some((at, _)) = self.pool.poll_timeout() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.done(Input::Timeout);
            self.answer_delivery_checks();
        }
        self.now = end;
    }

    fn answer_delivery_checks(&mut self) {
        let Host::Leaves(unanswered) = self.host else { return };
        for connection in self.delivery_checks() {
            self.done(Input::DeliveryChecked { connection, unanswered });
        }
    }

    /// Returns the delivery checks ordered since the last call.
    fn delivery_checks(&mut self) -> Vec<ConnectionToken> {
        self.take(|order| match order {
            Output::CheckDelivery { connection } => Some(connection),
            _ => None,
        })
    }

    fn arrive(&mut self, idempotent: bool, has_body: bool) -> RequestId {
        match self.tell(Input::RequestArrived { idempotent, has_body }) {
            Handled::Accepted(request) => request,
            other => panic!("the request was not accepted: {other:?}"),
        }
    }

    /// Sends the first request, and starts its response.
    fn begin(&mut self) -> (RequestId, StreamToken) {
        let request = self.get();
        self.connect_one(4);
        let stream = self.open_one();
        self.done(Input::ResponseStarted { stream, status: 200 });
        (request, stream)
    }

    /// Reports enough failed health checks of a backend to take it down.
    fn take_down(&mut self, index: u16) {
        let backend = self.token(index);
        for _ in 0..3 {
            self.done(Input::HealthCheckFinished { backend, number: 0, passed: false });
        }
    }

    fn get(&mut self) -> RequestId {
        self.arrive(true, false)
    }

    fn post(&mut self) -> RequestId {
        self.arrive(false, true)
    }

    /// Returns the number of all dials ordered: each starts a generation of its slot.
    fn dialled(&self) -> u32 {
        let slots = self.pool.slots.dialled();
        slots.map(|slot| self.pool.slots.connection(slot).generation).sum()
    }

    /// Returns the dials ordered since the last call.
    fn dials(&mut self) -> Vec<ConnectionToken> {
        self.take(|order| match order {
            Output::Connect { connection } => Some(connection),
            _ => None,
        })
    }

    /// Returns the streams ordered since the last call.
    fn opens(&mut self) -> Vec<(StreamToken, RequestId)> {
        self.take(|order| match order {
            Output::OpenStream { stream, request, .. } => Some((stream, request)),
            _ => None,
        })
    }

    fn resets(&mut self) -> Vec<(StreamToken, u32)> {
        self.take(|order| match order {
            Output::ResetStream { stream, code } => Some((stream, code)),
            _ => None,
        })
    }

    fn closes(&mut self) -> Vec<(ConnectionToken, CloseReason)> {
        self.take(|order| match order {
            Output::Close { connection, reason } => Some((connection, reason)),
            _ => None,
        })
    }

    fn pings(&mut self) -> Vec<ConnectionToken> {
        self.take(|order| match order {
            Output::Ping { connection } => Some(connection),
            _ => None,
        })
    }

    fn take<T>(&mut self, select: impl Fn(Output) -> Option<T>) -> Vec<T> {
        let taken = self.orders.iter().filter_map(|order| select(*order)).collect();
        self.orders.retain(|order| select(*order).is_none());
        taken
    }

    fn connected(&mut self, connection: ConnectionToken, max_streams: u32) {
        let max_streams = Some(max_streams);
        self.done(Input::Connected { connection, protocol: Protocol::Http2, max_streams });
    }

    /// Takes the dials that were ordered and makes them succeed.
    fn connect_all(&mut self) {
        for connection in self.dials() {
            self.connected(connection, 4);
        }
    }

    /// Takes the one dial that was ordered and makes it succeed.
    fn connect_one(&mut self, max_streams: u32) -> ConnectionToken {
        let dials = self.dials();
        assert_eq!(dials.len(), 1, "one dial was ordered");
        self.connected(dials[0], max_streams);
        dials[0]
    }

    /// Takes the one stream that was ordered and opens it.
    fn open_one(&mut self) -> StreamToken {
        let opens = self.opens();
        assert_eq!(opens.len(), 1, "one stream was ordered");
        self.opened(opens[0].0);
        opens[0].0
    }

    fn opened(&mut self, stream: StreamToken) -> u32 {
        let stream_id = self.next_stream_id;
        self.next_stream_id += 2;
        self.done(Input::StreamOpened { stream, stream_id });
        stream_id
    }

    /// Starts and ends the response of a stream.
    fn answer(&mut self, stream: StreamToken) {
        self.done(Input::RequestSent { stream });
        self.done(Input::ResponseStarted { stream, status: 200 });
        self.done(Input::ResponseEnded { stream });
    }

    fn fail(&mut self, stream: StreamToken, failure: StreamFailure) {
        self.done(Input::StreamFailed { stream, failure });
    }

    fn outcome(&self, request: RequestId) -> Option<Outcome> {
        self.outcomes.get(&request).map(|(outcome, _, _)| *outcome)
    }

    /// Sends one more request. Makes the dials it causes succeed, opens the streams it causes, and
    /// applies `fate` to each stream. Returns the streams that are held.
    fn round(
        &mut self,
        request: impl FnOnce(&mut Self) -> RequestId,
        mut fate: impl FnMut(StreamToken) -> Fate,
    ) -> Vec<StreamToken> {
        request(self);
        self.connect_all();
        let mut held = Vec::new();
        for (stream, _) in self.opens() {
            self.opened(stream);
            match fate(stream) {
                Fate::Answered => self.answer(stream),
                Fate::Failed => self.fail(stream, FAULT),
                Fate::Held => held.push(stream),
            }
        }
        held
    }

    /// Answers this many requests; returns the number that each of four backends got.
    fn shares(&mut self, requests: usize) -> [usize; 4] {
        let mut shares = [0; 4];
        for _ in 0..requests {
            self.round(Self::get, |stream| {
                shares[usize::from(stream.connection.backend.0)] += 1;
                Fate::Answered
            });
        }
        shares
    }

    /// Returns the token of the backend at an index.
    fn token(&self, index: u16) -> BackendToken {
        self.pool.backend(BackendId(index)).expect("the backend exists").token
    }
}

/// The driver's answer to delivery checks.
#[derive(Clone, Copy)]
enum Host {
    /// So many segments are unanswered.
    Leaves(Option<u32>),
    /// None so far.
    Unanswered,
}

/// Fate of a stream after it is opened.
#[derive(Clone, Copy)]
enum Fate {
    Answered,
    Failed,
    Held,
}

/// Applies this fate to streams on one backend, and answers those on all others.
fn only_on(index: u16, fate: Fate) -> impl Fn(StreamToken) -> Fate {
    move |stream| if stream.connection.backend.0 == index { fate } else { Fate::Answered }
}

#[test]
fn inputs_and_outputs_stay_small() {
    assert!(size_of::<Input>() <= 32, "{}", size_of::<Input>());
    assert!(size_of::<Output>() <= 48, "{}", size_of::<Output>());
}

#[test]
fn a_request_is_dialled_sent_answered_and_ends_once() {
    let mut world = World::new(config(1));
    let request = world.post();
    let connection = world.connect_one(100);
    let stream = world.open_one();
    assert_eq!(stream.connection, connection);
    world.answer(stream);
    assert_eq!(world.outcomes[&request], (Outcome::Completed, 1, None));
    assert_eq!(world.tell(Input::ResponseEnded { stream }), Handled::Stale);
    assert_eq!(world.tell(Input::RequestCancelled { request }), Handled::Stale);
    assert_eq!(world.pool.stats().counters.stale, 2);
    assert_eq!(world.pool.stats().requests, 0);
}

#[test]
fn tokens_that_were_never_given_out_are_stale_and_do_not_panic() {
    let mut world = World::new(config(1));
    let connection =
        ConnectionToken { backend: BackendId(u16::MAX), slot: u16::MAX, generation: u32::MAX };
    let stream = StreamToken { connection, stream: u16::MAX, ordinal: u32::MAX };
    let request = RequestId { index: u32::MAX, generation: u32::MAX };
    for input in [
        Input::ReplayBufferExceeded { request, stream },
        Input::RequestCancelled { request },
        Input::Connected { connection, protocol: Protocol::Http2, max_streams: None },
        Input::ConnectFailed { connection, reason: ConnectFailure::Tcp },
        Input::MaxStreamsChanged { connection, max_streams: 0 },
        Input::GoAwayReceived { connection, last_stream_id: 0, code: 0 },
        Input::KeepAliveAnnounced { connection, timeout: SECOND },
        Input::FrameReceived { connection, carries_message: false },
        Input::Pong { connection },
        Input::ConnectionClosed { connection, sent_through: 0 },
        Input::StreamOpened { stream, stream_id: 1 },
        Input::RequestSent { stream },
        Input::ResponseStarted { stream, status: 200 },
        Input::ResponseEnded { stream },
        Input::StreamFailed { stream, failure: StreamFailure::NotSent },
        Input::ResetSent { stream },
    ] {
        assert_eq!(world.tell(input), Handled::Stale, "{input:?}");
    }
    assert_eq!(world.pool.stats().counters.stale, 16);
    assert!(world.orders.is_empty());
}

#[test]
fn facts_that_are_impossible_are_refused_and_change_nothing() {
    let mut world = World::new(config(1));
    world.post();
    let connection = world.dials()[0];
    assert_eq!(
        world.tell(Input::MaxStreamsChanged { connection, max_streams: 9 }),
        Handled::Refused
    );
    world.connected(connection, 4);
    let stream = world.opens()[0].0;
    let before = world.pool.stats().slots;
    for input in [
        Input::Connected { connection, protocol: Protocol::Http2, max_streams: None },
        Input::ConnectFailed { connection, reason: ConnectFailure::Tls },
        Input::Pong { connection },
        Input::ResponseEnded { stream },
        Input::ResetSent { stream },
        Input::StreamOpened { stream, stream_id: 0 },
    ] {
        assert_eq!(world.tell(input), Handled::Refused, "{input:?}");
    }
    assert_eq!(world.pool.stats().slots, before);
    world.opened(stream);
    assert_eq!(world.tell(Input::StreamOpened { stream, stream_id: 7 }), Handled::Refused);
    world.done(Input::ResponseStarted { stream, status: 200 });
    assert_eq!(world.tell(Input::ResponseStarted { stream, status: 200 }), Handled::Refused);
}

#[test]
#[should_panic(expected = "fetch all outputs")]
fn outputs_must_be_fetched_before_the_next_input() {
    let mut pool = Pool::new(config(1), 1).expect("valid");
    let arrival = Input::RequestArrived { idempotent: true, has_body: false };
    let _ = pool.handle(Instant::ZERO, arrival);
    let _ = pool.handle(Instant::ZERO, arrival);
}

#[test]
fn a_configuration_out_of_bounds_is_an_error_that_names_the_value() {
    let error = |change: &dyn Fn(&mut Config)| {
        let mut config = config(1);
        change(&mut config);
        Pool::new(config, 0).expect_err("out of bounds").value
    };
    assert_eq!(error(&|config| config.backends.clear()), "backends");
    assert_eq!(error(&|config| config.backends[0].weight = 0), "backends.weight");
    assert_eq!(error(&|config| config.limits.requests = 0), "limits.requests");
    assert_eq!(error(&|config| config.limits.waiting = 41), "limits.waiting");
    let many = |config: &mut Config| {
        (config.limits.backends, config.limits.connections_per_backend) = (1025, 4096);
    };
    assert_eq!(error(&many), "limits.connections_per_backend");
    assert_eq!(error(&|config| config.retry.attempts = 0), "retry.attempts");
    assert_eq!(error(&|config| config.timeouts.queue = Duration::ZERO), "timeouts.queue");
    let backoff = error(&|config| config.timeouts.backoff_max = Duration::from_nanos(1));
    assert_eq!(backoff, "timeouts.backoff_max");
}
