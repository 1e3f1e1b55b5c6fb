//! Faults aimed at phases of requests, in the proxy's world: each act of the network and of peers
//! while a head, a body or trailers are on their way, while a backend works, and while nothing
//! happens. Their draws are apart from all others.

use std::time::Duration;

use baton::pool::limits::WEIGHT_MAX;

use super::wire::{any_effect, split};
use super::{Family, Profile};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    Act, Change, Code, Direction, Directive, LastId, Moment, Plan, RequestPlan, StrategyPlan, When,
    WireEffect,
};

/// The share of plans with such faults, in percent.
const SHARE: u64 = 40;
/// The most faults in one plan.
const FAULTS_MAX: u64 = 6;
/// The longest time for which bytes are held back.
const HOLD_MAX_US: u64 = 2_000_000;

/// The phase that a fault is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    BodyUp,
    Waiting,
    BodyDown,
    TrailersUp,
    TrailersDown,
    Idle,
}

const PHASES: [Phase; 7] = [
    Phase::Head,
    Phase::BodyUp,
    Phase::Waiting,
    Phase::BodyDown,
    Phase::TrailersUp,
    Phase::TrailersDown,
    Phase::Idle,
];

impl Phase {
    /// The last moment before it, as it is seen at the client or at the backend.
    fn moment(self, at_client: bool, stream: &mut RandomStream) -> Moment {
        match self {
            Self::Head if at_client => Moment::Arrived,
            Self::Head if !at_client => stream.pick(&[Moment::Ordered, Moment::Written]),
            Self::BodyUp if !at_client => Moment::Read,
            Self::Head | Self::BodyUp => stream.pick(&[Moment::Arrived, Moment::HalfSent]),
            Self::Waiting => stream.pick(&[Moment::Read, Moment::Sent]),
            Self::BodyDown => Moment::Answered,
            Self::TrailersUp if at_client => Moment::Sent,
            Self::TrailersUp => Moment::HalfSent,
            Self::TrailersDown | Self::Idle => Moment::Ended,
        }
    }

    /// True if a request can be in it.
    fn is_of(self, request: &RequestPlan) -> bool {
        match self {
            Self::Head | Self::Waiting | Self::Idle => true,
            Self::BodyUp => request.body_us.is_some(),
            Self::BodyDown => request.wire.answer_bytes > 0,
            Self::TrailersUp => request.body_us.is_some() && request.wire.trailers,
            Self::TrailersDown => request.wire.answer_trailers,
        }
    }

    /// The direction of its bytes.
    fn is_upwards(self) -> bool {
        matches!(self, Self::Head | Self::BodyUp | Self::TrailersUp)
    }
}

/// Adds the faults of a plan.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    let draws = Draws::new(plan.seed);
    let mut stream = draws.stream(Domain::Aimed, 0);
    let on = match profile {
        Profile::Swarm => stream.chance(SHARE),
        Profile::Storm | Profile::Dark => true,
        Profile::Calm | Profile::Herd | Profile::Drain | Profile::Operate => false,
    };
    if !on || plan.requests.is_empty() {
        return;
    }
    plan.origin.push_str(" aimed");
    for number in 0..stream.between(1, FAULTS_MAX) {
        let mut stream = draws.stream(Domain::Aimed, 1 + number);
        let directives = match stream.below(100) {
            0..15 => operate(plan, &mut stream),
            15..17 => cut_off_within_the_preface(plan, &mut stream),
            _ => aim(plan, &mut stream),
        };
        plan.directives.extend(directives);
    }
}

/// A client whose preface arrives as far as its SETTINGS, and nothing behind that.
fn cut_off_within_the_preface(plan: &Plan, stream: &mut RandomStream) -> Vec<Directive> {
    const MAGIC_BYTES: u32 = 24;
    let client = stream.below(plan.wire.clients.len() as u64) as u8;
    let latency = plan.network.wire.most_us;
    let at = |after_us, effect| Directive {
        family: Family::Wire,
        when: When::Client { client, connection: 1 },
        after_us,
        act: Act::Wire { direction: Direction::In, effect },
    };
    // What follows waits until these bytes are acknowledged.
    vec![at(0, WireEffect::Room(MAGIC_BYTES)), at(latency + latency / 2, WireEffect::Vanish)]
}

/// A fault in a phase, often while the bytes of the phase are held back.
fn aim(plan: &Plan, stream: &mut RandomStream) -> Vec<Directive> {
    let is_possible = |phase: &Phase| plan.requests.iter().any(|request| phase.is_of(request));
    let possible: Vec<_> = PHASES.into_iter().filter(is_possible).collect();
    let phase = stream.pick(&possible);
    let fitting: Vec<u32> =
        plan.requests.iter().filter(|it| phase.is_of(it)).map(|it| it.id).collect();
    let request = stream.pick(&fitting);
    let at_client = stream.chance(50);
    let moment = phase.moment(at_client, stream);
    let latency = plan.network.wire.most_us;
    let mut after_us = match phase {
        Phase::Idle => latency + stream.wide(0, 1_000_000),
        _ if stream.chance(50) => stream.wide(0, latency),
        _ => stream.wide(0, 300_000),
    };
    let mut directives = Vec::new();
    let mut at = |after_us, act: Act| {
        // The peer that has the request acts; the network acts on one of its connections.
        let when = match act {
            Act::Wire { .. } if at_client => When::AtClient { request, moment },
            _ => When::Request { request, moment },
        };
        directives.push(Directive { family: Family::Wire, when, after_us, act });
    };
    if phase != Phase::Idle && stream.chance(60) {
        let direction =
            if phase.is_upwards() == at_client { Direction::In } else { Direction::Out };
        let for_us = stream.between(10_000, HOLD_MAX_US);
        let effect = WireEffect::Stall { for_us: Some(for_us) };
        at(0, Act::Wire { direction, effect });
        after_us = after_us.min(for_us);
    }
    at(after_us, act(plan, phase, at_client, stream));
    directives
}

fn act(plan: &Plan, phase: Phase, at_client: bool, stream: &mut RandomStream) -> Act {
    let direction = stream.pick(&[Direction::In, Direction::Out]);
    if plan.wire.tls && stream.chance(40) {
        return Act::Wire { direction, effect: WireEffect::NoCloseNotify };
    }
    if stream.chance(65) {
        let effect = if stream.chance(30) { split(stream) } else { any_effect(plan, stream) };
        return Act::Wire { direction, effect };
    }
    let for_us = Some(stream.between(1_000, HOLD_MAX_US));
    if at_client && phase != Phase::Idle {
        return stream.pick(&[Act::Cancel, Act::ClientStopsReading { for_us }]);
    }
    let backend = stream.below(plan.backends.len() as u64) as u16;
    let down_us = stream.wide(1_000, HOLD_MAX_US);
    stream.pick(&[
        Act::BlackHole { to_backend: true, from_backend: true },
        Act::Settings { max_streams: 1 },
        Act::GoAway { last: LastId::Read, code: Code::NoError },
        Act::Break,
        Act::Reset { code: Code::Refused },
        Act::Reset { code: Code::Cancel },
        Act::StopReading { for_us },
        Act::StarveUpload { for_us },
        Act::NeverFinish,
        Act::Status { status: 503 },
        Act::Restart { backend, graceful: false, down_us },
        Act::Restart { backend, graceful: true, down_us },
        Act::DisconnectAll,
        Act::Unreachable { backend, hangs: true, for_us: down_us },
    ])
}

/// An act of the operator while a request is in flight, or at any time.
fn operate(plan: &Plan, stream: &mut RandomStream) -> Vec<Directive> {
    let backend = stream.below(plan.backends.len() as u64) as u16;
    let number = stream.between(1, 3) as u32;
    let weight = stream.between(1, u64::from(WEIGHT_MAX)) as u16;
    let within_us = stream.wide(1, 10_000_000);
    let for_us = stream.wide(10_000, 10_000_000);
    let change = stream.pick(&[
        Change::Failures(number),
        Change::Strategy(StrategyPlan::RoundRobin),
        Change::HealthChecking(number > 1),
    ]);
    let checking = Change::HealthChecking(number > 1);
    let act = stream.pick(&[
        Act::Add { backend, weight },
        Act::Remove { backend },
        Act::Weight { backend, weight },
        Act::Change { change },
        Act::ChangeAll {
            changes: [Change::Fall(number), Change::FailOpenPercent(33 * number), checking],
        },
        Act::Drain { backend, within_us },
        Act::Undrain { backend },
        Act::HealthChecks { backend, passed: Some(number > 1), for_us },
        Act::SwitchProtocol { backend, http1: number > 1 },
        Act::Replace,
    ]);
    let (when, after_us) = if stream.chance(50) {
        let request = stream.below(plan.requests.len() as u64) as usize;
        let moment = stream.pick(&[Moment::Arrived, Moment::Read, Moment::Answered]);
        (When::Request { request: plan.requests[request].id, moment }, stream.wide(0, 100_000))
    } else {
        (When::Start, stream.below(plan.heal.at_us))
    };
    let directive =
        |after_us, act| Directive { family: Family::Reconfiguration, when, after_us, act };
    let mut directives = vec![directive(after_us, act)];
    if stream.chance(10) {
        // The first order to stop is in the middle of the drain when the second one comes.
        let drain = plan.pool.config.timeouts.drain.min(Duration::from_secs(2));
        let later = after_us + stream.wide(1, drain.as_micros() as u64);
        directives = vec![directive(after_us, Act::Shutdown), directive(later, Act::Shutdown)];
    }
    directives
}
