//! Entry points for fuzzers: bytes that become plans, and bytes that become raw facts. Both run the
//! same checkers as every other run and panic if an invariant does not hold.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use baton::pool::{
    BackendId, BackendToken, ConnectFailure, ConnectionToken, Handled, Input, Instant, Output,
    Pool, Protocol, RequestId, ShutdownCause, StreamFailure, StreamToken,
};

use crate::checker::Checker;
use crate::coverage::Coverage;
use crate::plan::{Act, FORMAT, Health, Plan, PoolPlan, Span, WirePlan, WorldName};
use crate::run::judge;

/// The plan that the bytes encode, made small enough to run; `None` if there are too few bytes.
#[must_use]
pub fn plan(bytes: &[u8]) -> Option<Plan> {
    let mut plan = Plan::arbitrary(&mut Unstructured::new(bytes)).ok()?;
    tame(&mut plan);
    plan.check().is_ok().then_some(plan)
}

/// Runs the plan that the bytes encode.
///
/// # Panics
/// If an invariant does not hold.
pub fn run_plan(bytes: &[u8]) {
    let Some(plan) = plan(bytes) else {
        return;
    };
    if let Some(violation) = judge(&plan).violation {
        panic!("{}: {}\n{}", violation.invariant, violation.what, crate::plan::write(&plan));
    }
}

/// Limits every value to what a run can handle.
fn tame(plan: &mut Plan) {
    plan.format = FORMAT;
    plan.origin = "fuzz".to_owned();
    // The fuzzer explores the pool; a run of the proxy takes a thousand times longer.
    plan.world = WorldName::Pool;
    plan.wire = WirePlan::default();
    for span in [
        &mut plan.network.wire,
        &mut plan.network.shell,
        &mut plan.network.timer,
        &mut plan.network.dial,
    ] {
        tame_span(span, 300_000);
    }
    plan.network.dead_path_us = plan.network.dead_path_us % 60_000_000 + 1_000_000;
    plan.backends.truncate(4);
    for backend in &mut plan.backends {
        tame_span(&mut backend.work, 2_000_000);
        tame_span(&mut backend.body, 1_000_000);
        backend.max_streams = backend.max_streams.map(|most| most.max(1));
        backend.settings_late_us = backend.settings_late_us.map(|late| late % 1_000_000);
        backend.ping_strikes = backend.ping_strikes.map(|strikes| strikes % 4 + 1);
    }
    plan.backends.sort_by_key(|backend| backend.spare);
    if let Some(first) = plan.backends.first_mut() {
        first.spare = false;
    }
    plan.requests.truncate(40);
    for (id, request) in plan.requests.iter_mut().enumerate() {
        request.id = id as u32;
        request.at_us %= 10_000_000;
        request.body_us = request.body_us.map(|time| time % 500_000);
        request.informational %= 4;
    }
    let backends = plan.backends.len().max(1) as u16;
    plan.directives.truncate(40);
    for directive in &mut plan.directives {
        directive.after_us %= 2_000_000;
        tame_act(&mut directive.act, backends);
    }
    plan.deviations.truncate(8);
    for deviation in &mut plan.deviations {
        deviation.delay %= 4_096;
        deviation.by_us %= 2_000_000;
    }
    plan.heal.at_us = 10_000_000 + plan.heal.at_us % 10_000_000;
    plan.heal.backends.resize(plan.backends.len(), Health::Well);
}

fn tame_span(span: &mut Span, most_us: u64) {
    span.most_us %= most_us;
    span.least_us %= span.most_us + 1;
}

fn tame_act(act: &mut Act, backends: u16) {
    act.visit(|backend| *backend %= backends, |time| *time %= 20_000_000);
    if let Act::Status { status } = act {
        *status = 200 + *status % 400;
    }
    if let Act::Replay { back, count } = act {
        *back %= 512;
        *count %= 64;
    }
}

/// One raw fact: its kind, the thing it concerns and its numbers.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Raw {
    kind: u8,
    which: u8,
    number: u8,
    yes: bool,
    /// Milliseconds before it.
    wait: u8,
}

/// Gives a pool the facts that the bytes encode, true or not, in any order.
///
/// # Panics
/// If an invariant does not hold.
pub fn run_inputs(bytes: &[u8]) {
    let mut tape = Unstructured::new(bytes);
    let Ok((backends, pool)) = <(u8, PoolPlan)>::arbitrary(&mut tape) else {
        return;
    };
    let mut session = Session::new(&pool, usize::from(backends % 3) + 1);
    for _ in 0..2_000 {
        if tape.is_empty() {
            break;
        }
        let Ok(raw) = Raw::arbitrary(&mut tape) else {
            break;
        };
        session.now = session.now.after(Duration::from_millis(u64::from(raw.wait)));
        let input = session.input(raw);
        session.tell(input);
    }
}

/// A pool with its checker and all tokens it gave out.
struct Session {
    pool: Pool,
    checker: Checker,
    coverage: Coverage,
    now: Instant,
    connections: Vec<ConnectionToken>,
    streams: Vec<StreamToken>,
    requests: Vec<RequestId>,
    /// Backends, each with the number of a health check.
    health_checks: Vec<(BackendToken, u32)>,
}

impl Session {
    fn new(plan: &PoolPlan, backends: usize) -> Self {
        let (pool, checker) = plan.build(backends, 0, false);
        let connection =
            ConnectionToken { backend: BackendId(u16::MAX), slot: u16::MAX, generation: 0 };
        Self {
            pool,
            checker,
            coverage: Coverage::default(),
            now: Instant::ZERO,
            connections: vec![connection],
            streams: vec![StreamToken { connection, stream: u16::MAX, ordinal: 0 }],
            requests: vec![RequestId { index: u32::MAX, generation: 0 }],
            health_checks: (0..backends as u16)
                .map(|index| (BackendToken { backend: BackendId(index), generation: 1 }, 0))
                .collect(),
        }
    }

    fn input(&self, raw: Raw) -> Input {
        // Counted from the end: the newest thing is the most likely to still exist.
        let pick = |length: usize| length - 1 - usize::from(raw.which) % length;
        let connection = self.connections[pick(self.connections.len())];
        let stream = self.streams[pick(self.streams.len())];
        let request = self.requests[pick(self.requests.len())];
        let number = u32::from(raw.number);
        let last = if raw.yes { u32::MAX >> 1 } else { number };
        let (backend, health_check) = self.health_checks[pick(self.health_checks.len())];
        match raw.kind % 31 {
            0..=2 => {
                Input::RequestArrived { idempotent: raw.yes, has_body: number.is_multiple_of(2) }
            }
            3 => Input::ReplayBufferExceeded { request, stream },
            4 => Input::RequestCancelled { request },
            5 | 6 => Input::Connected {
                connection,
                protocol: if number % 8 == 7 { Protocol::Http1 } else { Protocol::Http2 },
                max_streams: raw.yes.then_some(number % 5),
            },
            7 => Input::ConnectFailed { connection, reason: ConnectFailure::Tls },
            8 => Input::MaxStreamsChanged { connection, max_streams: number % 5 },
            9 => Input::GoAwayReceived {
                connection,
                last_stream_id: last,
                code: u32::from(raw.which) % 14,
            },
            10 => Input::FrameReceived { connection, carries_message: raw.which.is_multiple_of(2) },
            11 => Input::Pong { connection },
            12 => Input::ConnectionClosed { connection, sent_through: last },
            13 => Input::StreamOpened { stream, stream_id: 2 * stream.ordinal.min(1 << 20) + 1 },
            14 => Input::RequestSent { stream },
            15 => Input::ResponseStarted { stream, status: 200 + (raw.which % 4) as u16 * 101 },
            16 => Input::ResponseEnded { stream },
            17 => Input::StreamFailed { stream, failure: failure(number) },
            18 => Input::ResetSent { stream },
            20 => Input::BodyProgressed { stream, bytes: number << 8 },
            21 => Input::BackendAdded { weight: u16::from(raw.which), exclusive: raw.yes },
            22 => Input::BackendRemoved { backend },
            23 => {
                let within = (number > 0).then(|| Duration::from_millis(u64::from(number)));
                Input::DrainRequested { backend, within }
            }
            24 => Input::DrainCancelled { backend },
            25 => Input::WeightChanged { backend, weight: u16::from(raw.which) * 4 },
            26 => Input::HealthCheckFinished { backend, number: health_check, passed: raw.yes },
            28 => Input::UploadBlocked { stream },
            27 => Input::KeepAliveAnnounced {
                connection,
                timeout: Duration::from_millis(u64::from(number) * 20),
            },
            29 => {
                let unanswered = raw.yes.then_some(number % 4);
                Input::DeliveryChecked { connection, unanswered }
            }
            _ if number == 255 => Input::ShutdownRequested { cause: ShutdownCause::ProcessEnds },
            _ if number == 254 => Input::ShutdownRequested { cause: ShutdownCause::PoolReplaced },
            _ => Input::Timeout,
        }
    }

    fn tell(&mut self, input: Input) {
        let (pool, coverage, mut orders) = (&mut self.pool, &mut self.coverage, Vec::new());
        let ignore = |_, _: &[Output], _: &Pool| {};
        match self.checker.step(pool, self.now, input, coverage, &mut orders, ignore) {
            Ok(Handled::Accepted(request)) => self.requests.push(request),
            Ok(Handled::Added(backend)) => self.health_checks.push((backend, 0)),
            Ok(_) => {}
            Err(violation) => {
                panic!("{}: {} (after {input:?})", violation.invariant, violation.what);
            }
        }
        for order in orders {
            match order {
                Output::Connect { connection } => self.connections.push(connection),
                Output::OpenStream { stream, .. } => self.streams.push(stream),
                Output::CheckHealth { backend, number } => {
                    self.health_checks.push((backend, number));
                }
                _ => {}
            }
        }
    }
}

fn failure(number: u32) -> StreamFailure {
    match number % 7 {
        0 => StreamFailure::NotSent,
        1 => StreamFailure::Unprocessed,
        2 => StreamFailure::ConnectionLost,
        3 => StreamFailure::Malformed,
        4 => StreamFailure::HeadTooLarge,
        _ => StreamFailure::Reset { code: number / 7 % 14 },
    }
}
