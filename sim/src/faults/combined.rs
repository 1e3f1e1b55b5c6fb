//! Pairs of faults and orders of the operator that hardly ever meet when each is drawn alone, and
//! malformed responses, in the world of the pool.

use std::time::Duration;

use baton::pool::Strategy;

use super::situations::{Addition, add_drawn, add_requests, next_id};
use super::{Family, Profile};
use crate::draw::{Domain, RandomStream};
use crate::plan::{Act, Code, Directive, LastId, Moment, Plan, Poison, RequestPlan, Span, When};

/// The share of plans in percent, and the maker. Never reorder them: their places are keys of
/// draws.
const SITUATIONS: [(u64, Addition); 9] = [
    (4, drain_meets_a_fault),
    (4, goaway_rises),
    (3, malformed_responses),
    (1, connection_of_malformed_responses),
    (6, impatient_clients),
    (4, silent_responses),
    (1, backend_returns_slowly),
    (6, backend_is_busy),
    (5, delivery_is_hidden),
];

/// Adds the situations of a plan.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    add_drawn(plan, profile, Domain::Combined, "combined", &SITUATIONS);
}

/// All backends speak HTTP/2.
fn speak_http2(plan: &mut Plan) {
    for backend in &mut plan.backends {
        backend.http1 = false;
    }
}

/// Adds a fault at a moment of a request.
fn inject(plan: &mut Plan, family: Family, request: u32, moment: Moment, after_us: u64, act: Act) {
    let when = When::Request { request, moment };
    plan.directives.push(Directive { family, when, after_us, act });
}

/// An HTTP/2 connection drains with its backend and gets a fault that ends its use, in either
/// order. Then the drain is cancelled, while a response is still on it.
fn drain_meets_a_fault(plan: &mut Plan, stream: &mut RandomStream) {
    let streams = &mut plan.pool.config.limits.streams_per_connection;
    *streams = (*streams).max(4);
    speak_http2(plan);
    let at_us = stream.wide(1, plan.heal.at_us.max(1));
    let first = add_requests(plan, at_us, stream.between(3, 5) as u32);
    inject(plan, Family::NeverCloses, first, Moment::Answered, 0, Act::NeverFinish);
    let (family, act) = stream.pick(&[
        (Family::Reset, Act::Reset { code: Code::Http11Required }),
        (Family::GoAway, Act::GoAway { last: LastId::Greatest, code: Code::NoError }),
        (Family::GoAway, Act::GoAway { last: LastId::Read, code: Code::NoError }),
    ]);
    let (drains_us, fails_us) = (stream.wide(0, 20_000), stream.wide(0, 20_000));
    let resumes_us = drains_us.max(fails_us) + stream.wide(1, 2_000_000);
    inject(plan, family, first + 1, Moment::Read, fails_us, act);
    for backend in 0..plan.backends.len() as u16 {
        let within_us = stream.wide(20_000, 60_000_000);
        let drain = Act::Drain { backend, within_us };
        let moment = Moment::Read;
        inject(plan, Family::Reconfiguration, first + 1, moment, drains_us, drain);
        let undrain = Act::Undrain { backend };
        inject(plan, Family::Reconfiguration, first + 1, moment, resumes_us, undrain);
    }
}

/// A second GOAWAY names more streams than the first one, while streams are being opened.
fn goaway_rises(plan: &mut Plan, stream: &mut RandomStream) {
    plan.network.shell = Span { least_us: 0, most_us: stream.wide(100, 50_000) };
    speak_http2(plan);
    let at_us = stream.wide(1, plan.heal.at_us.max(1));
    add_requests(plan, at_us, stream.between(3, 6) as u32);
    let backend = stream.below(plan.backends.len() as u64) as u16;
    let connection = 1 + stream.wide(0, 3) as u32;
    let when = When::Stream {
        backend,
        connection,
        stream: stream.between(1, 3) as u32,
        moment: stream.pick(&[Moment::Ordered, Moment::Written, Moment::Read]),
    };
    let low = stream.pick(&[LastId::Read, LastId::Read, LastId::BelowRead, LastId::Zero]);
    let later = stream.wide(1, 20_000);
    for (last, after_us) in [(low, 0), (LastId::Greatest, later)] {
        let act = Act::GoAway { last, code: Code::NoError };
        plan.directives.push(Directive { family: Family::GoAway, when, after_us, act });
    }
}

/// Every backend answers some requests with a malformed response.
fn malformed_responses(plan: &mut Plan, stream: &mut RandomStream) {
    for request in &mut plan.requests {
        if request.poison.is_none() && stream.chance(30) {
            request.poison = Some(Poison::Malformed);
        }
    }
}

/// A connection dies after a response. Its next clients wait only for a moment each, seconds apart;
/// the first of them may come before the connection has been idle for long.
fn impatient_clients(plan: &mut Plan, stream: &mut RandomStream) {
    speak_http2(plan);
    let first_us = stream.below(plan.heal.at_us.max(1));
    let apart_us = stream.wide(900_000, 4_000_000);
    let count = stream.between(2, 6);
    let first = add_requests(plan, first_us, 1);
    let dies = Act::BlackHole { to_backend: true, from_backend: true };
    inject(plan, Family::SilentDrop, first, Moment::Ended, 0, dies);
    let soon_us = if stream.chance(30) { apart_us } else { stream.wide(2_000, 300_000) };
    for number in 1..=count {
        let after_us = soon_us + (number - 1) * apart_us;
        let request = add_requests(plan, first_us + after_us, 1);
        if number < count {
            let patience_us = stream.wide(10_000, 900_000);
            inject(plan, Family::Cancel, request, Moment::Written, patience_us, Act::Cancel);
        }
    }
    plan.heal.at_us = plan.heal.at_us.max(first_us + (count + 2) * apart_us);
}

/// Responses begin, and then nothing of them comes for up to half an hour, as of a subscription.
/// Some slow requests come meanwhile.
fn silent_responses(plan: &mut Plan, stream: &mut RandomStream) {
    const LONGEST_US: u64 = 1_800_000_000;
    let config = &mut plan.pool.config;
    config.limits.streams_per_connection = config.limits.streams_per_connection.max(4);
    config.max_requests_per_connection = None;
    let timeouts = &mut config.timeouts;
    for time in [&mut timeouts.response_stall, &mut timeouts.max_age] {
        *time = Duration::from_micros(2 * LONGEST_US);
    }
    timeouts.response_head = timeouts.response_head.max(Duration::from_secs(20));
    // A check is a fact: there would be thousands of them.
    let interval = &mut timeouts.health_check_interval;
    *interval = (*interval).max(Duration::from_secs(60));
    let strict = stream.chance(50);
    for backend in &mut plan.backends {
        backend.http1 = false;
        backend.ping_strikes = backend.ping_strikes.or(strict.then_some(1));
    }
    let start_us = stream.below(plan.heal.at_us.max(1));
    // PINGs are spaced by five minutes.
    let least_us = stream.pick(&[1_000_000, 400_000_000]);
    let lasts_us = stream.wide(least_us, LONGEST_US);
    for _ in 0..stream.between(1, 3) {
        let silent = add_requests(plan, start_us + stream.wide(0, lasts_us / 4), 1);
        inject(plan, Family::NeverCloses, silent, Moment::Answered, 0, Act::NeverFinish);
    }
    for _ in 0..stream.between(1, 4) {
        let slow = add_requests(plan, start_us + stream.wide(0, lasts_us), 1);
        inject(plan, Family::NeverCloses, slow, Moment::Read, 0, Act::NeverFinish);
        let patience_us = stream.wide(100_000, 20_000_000);
        inject(plan, Family::Cancel, slow, Moment::Written, patience_us, Act::Cancel);
    }
    plan.heal.at_us = plan.heal.at_us.max(start_us + lasts_us);
}

/// A backend comes back while requests are chosen for by chance: it gets more of them as time
/// passes.
fn backend_returns_slowly(plan: &mut Plan, stream: &mut RandomStream) {
    let config = &mut plan.pool.config;
    config.strategy =
        stream.pick(&[Strategy::LeastLoaded, Strategy::LeastLoaded, Strategy::Random]);
    config.timeouts.slow_start = Duration::from_millis(stream.between(5_000, 20_000));
    config.limits.streams_per_connection = config.limits.streams_per_connection.max(20);
    for backend in &mut plan.backends {
        (backend.http1, backend.streams_per_connection) = (false, None);
    }
    let start_us = stream.below(plan.heal.at_us.max(1));
    for (after_us, act) in [
        (start_us, Act::Drain { backend: 0, within_us: 1_000_000 }),
        (start_us + 1_000_000, Act::Undrain { backend: 0 }),
    ] {
        let (family, when) = (Family::Reconfiguration, When::Start);
        plan.directives.push(Directive { family, when, after_us, act });
    }
    for number in 0..60 {
        add_requests(plan, start_us + 1_000_000 + number * 80_000, 1);
    }
    plan.heal.at_us = plan.heal.at_us.max(start_us + 6_000_000);
}

/// So many malformed responses come on one connection that it takes no more requests.
fn connection_of_malformed_responses(plan: &mut Plan, stream: &mut RandomStream) {
    let config = &mut plan.pool.config;
    config.max_requests_per_connection = None;
    config.limits.connections_per_backend = 1;
    config.limits.streams_per_connection = config.limits.streams_per_connection.max(2);
    for backend in &mut plan.backends {
        (backend.http1, backend.streams_per_connection) = (false, None);
    }
    let between_us = stream.wide(1_000, 20_000);
    let count = stream.between(120, 250) * plan.backends_at_start() as u64;
    let start_us = stream.below(1_000_000);
    for place in 0..count {
        let poison = (!stream.chance(10)).then_some(Poison::Malformed);
        let at_us = start_us + place * between_us;
        let id = next_id(plan);
        plan.requests.push(RequestPlan { at_us, poison, ..RequestPlan::plain(id) });
    }
    plan.heal.at_us = plan.heal.at_us.max(start_us + count * between_us);
}

/// A backend reads nothing for a while, as one with a single thread that computes, or that is
/// paused. Its host may die meanwhile.
fn backend_is_busy(plan: &mut Plan, stream: &mut RandomStream) {
    speak_http2(plan);
    let timeouts = &mut plan.pool.config.timeouts;
    timeouts.response_head = timeouts.response_head.max(Duration::from_secs(20));
    let start_us = stream.below(plan.heal.at_us.max(1));
    let busy_us = stream.wide(1_000_000, 30_000_000);
    let first = add_requests(plan, start_us, stream.between(1, 3) as u32);
    inject(plan, Family::NeverCloses, first, Moment::Read, 0, Act::NeverFinish);
    let stops = Act::StopReading { for_us: Some(busy_us) };
    inject(plan, Family::PeerStopsReading, first, Moment::Read, 0, stops);
    if stream.chance(30) {
        let dies = Act::BlackHole { to_backend: true, from_backend: stream.chance(50) };
        let after_us = stream.below(busy_us);
        inject(plan, Family::SilentDrop, first, Moment::Read, after_us, dies);
    }
    if stream.chance(30) {
        let gone_us = stream.below(busy_us);
        inject(plan, Family::Cancel, first, Moment::Read, gone_us, Act::Cancel);
    }
    for _ in 0..stream.between(0, 3) {
        add_requests(plan, start_us + stream.below(busy_us), 1);
    }
    if stream.chance(30) {
        drain_with_a_successor(plan, stream, start_us, busy_us);
    }
    plan.heal.at_us = plan.heal.at_us.max(start_us + busy_us);
}

/// The place of a busy connection is another one's when its backend drains, and when the drain is
/// cancelled.
fn drain_with_a_successor(plan: &mut Plan, stream: &mut RandomStream, start_us: u64, busy_us: u64) {
    let config = &mut plan.pool.config;
    config.limits.connections_per_backend = 1;
    config.timeouts.silence = config.timeouts.silence.min(Duration::from_millis(300));
    config.timeouts.suspect = config.timeouts.suspect.min(Duration::from_millis(300));
    let next = add_requests(plan, start_us + busy_us / 4, plan.backends.len() as u32);
    for request in next..next + plan.backends.len() as u32 {
        inject(plan, Family::NeverCloses, request, Moment::Answered, 0, Act::NeverFinish);
    }
    let drains_us = busy_us / 2 + stream.below(busy_us / 4);
    for backend in 0..plan.backends.len() as u16 {
        for (after_us, act) in [
            (drains_us, Act::Drain { backend, within_us: 60_000_000 }),
            (drains_us + stream.wide(1, 100_000), Act::Undrain { backend }),
        ] {
            let (family, when) = (Family::Reconfiguration, When::Start);
            let after_us = start_us + after_us;
            plan.directives.push(Directive { family, when, after_us, act });
        }
    }
}

/// The system cannot tell if a host acknowledges.
fn delivery_is_hidden(plan: &mut Plan, _stream: &mut RandomStream) {
    plan.network.hides_delivery = true;
}
