//! Situations in which the pool must tell who is to blame, in its own world: connections that are
//! dead after being idle, and a failed request whose backend is gone before another one answers it,
//! or that another one answers with an error. Faults that are drawn one by one hardly ever make
//! them. Their draws are apart from all others.

use super::situations::{Addition, add_drawn, add_requests, next_id};
use super::{Family, Profile};
use crate::draw::{Domain, RandomStream};
use crate::plan::{
    Act, Change, Code, Directive, LastId, Moment, Plan, RequestPlan, StaleInput, When,
};

/// The share of plans in percent, and the maker. Never reorder them: their places are keys of
/// draws.
const SITUATIONS: [(u64, Addition); 4] = [
    (20, idle_connections_are_dead),
    (10, doubted_backend_is_replaced),
    (15, keep_alive),
    (5, doubt_meets_an_error),
];

/// Adds the situations of a plan.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    add_drawn(plan, profile, Domain::Doubts, "doubts", &SITUATIONS);
}

/// Adds a few requests that arrive at the same time.
fn add_requests_at_once(plan: &mut Plan, stream: &mut RandomStream) {
    let at_us = stream.wide(1, plan.heal.at_us.max(1));
    add_requests(plan, at_us, stream.between(2, 6) as u32);
}

/// Requests make connections, which are idle for a while. Some of those that are used next die
/// under their first request, with or without a sign of life before that.
fn idle_connections_are_dead(plan: &mut Plan, stream: &mut RandomStream) {
    let first_us = stream.below(plan.heal.at_us.max(1));
    let idle_us = stream.wide(100_000, 8_000_000);
    let (before, after) = (stream.between(1, 12), stream.between(1, 4));
    let from = next_id(plan);
    for number in 0..before + after {
        let at_us = if number < before { first_us } else { first_us + idle_us + stream.below(3) };
        let idempotent = stream.chance(75);
        let id = from + number as u32;
        plan.requests.push(RequestPlan { at_us, idempotent, ..RequestPlan::plain(id) });
    }
    for number in before..before + after {
        if stream.chance(30) {
            continue;
        }
        let request = from + number as u32;
        let moment = stream.pick(&[Moment::Ordered, Moment::Written, Moment::Read]);
        let when = When::Request { request, moment };
        let later = stream.wide(1, 5_000);
        let sign = match stream.below(6) {
            0 => Some(Act::StaleInput { fact: StaleInput::Frame }),
            1 => Some(Act::StaleInput { fact: StaleInput::GoAway }),
            2 => Some(Act::GoAway { last: LastId::Greatest, code: Code::NoError }),
            _ => None,
        };
        let end = match stream.below(8) {
            0 => Act::BlackHole { to_backend: true, from_backend: true },
            1 => Act::Reset { code: Code::Internal },
            _ => Act::Break,
        };
        let mut inject = |family, after_us, act| {
            plan.directives.push(Directive { family, when, after_us, act });
        };
        let after_us = if sign.is_some() { later } else { 0 };
        if let Some(act) = sign {
            inject(Family::GoAway, 0, act);
        }
        inject(Family::BodyBreak, after_us, end);
    }
    plan.heal.at_us = plan.heal.at_us.max(first_us + idle_us + 1_000_000);
}

/// A backend fails its first requests and is removed. Another one gets its place in the table
/// before a third one answers them.
fn doubted_backend_is_replaced(plan: &mut Plan, stream: &mut RandomStream) {
    let present = plan.backends_at_start() as u16;
    if present < 2 {
        return;
    }
    let backend = stream.below(present.into()) as u16;
    add_requests_at_once(plan, stream);
    let (number, removed_after_us) = (stream.between(1, 2) as u32, stream.wide(1, 5_000));
    let added_after_us = removed_after_us + stream.wide(1, 5_000);
    let mut inject = |family, when, after_us, act| {
        plan.directives.push(Directive { family, when, after_us, act });
    };
    inject(Family::Reconfiguration, When::Start, 0, Act::Change { change: Change::Failures(1) });
    for stream in 1..=3 {
        let when = When::Stream { backend, connection: 1, stream, moment: Moment::Read };
        inject(Family::Reset, when, 0, Act::Reset { code: Code::Internal });
        if stream == number {
            inject(Family::Reconfiguration, when, removed_after_us, Act::Remove { backend });
            let add = Act::Add { backend, weight: 1 };
            inject(Family::Reconfiguration, when, added_after_us, add);
        }
    }
}

/// A backend fails its first requests. The others answer theirs, and its, with an error, which says
/// nothing about the one that failed.
fn doubt_meets_an_error(plan: &mut Plan, stream: &mut RandomStream) {
    let present = plan.backends_at_start() as u16;
    if present < 2 {
        return;
    }
    let failing = stream.below(present.into()) as u16;
    let status = stream.pick(&[400, 413, 414, 431, 500, 501]);
    add_requests_at_once(plan, stream);
    let mut inject = |family, when, act| {
        plan.directives.push(Directive { family, when, after_us: 0, act });
    };
    inject(Family::Reconfiguration, When::Start, Act::Change { change: Change::Failures(1) });
    for backend in 0..present {
        for stream in 1..=3 {
            let when = When::Stream { backend, connection: 1, stream, moment: Moment::Read };
            let (family, act) = if backend == failing {
                (Family::Reset, Act::Reset { code: Code::Internal })
            } else {
                (Family::GatewayFailures, Act::Status { status })
            };
            inject(family, when, act);
        }
    }
}

/// Backends announce how long they keep connections open.
fn keep_alive(plan: &mut Plan, stream: &mut RandomStream) {
    for _ in 0..stream.between(1, 4) {
        let when = When::Stream {
            backend: stream.below(plan.backends.len() as u64) as u16,
            connection: stream.between(1, 2) as u32,
            stream: stream.wide(1, 8) as u32,
            moment: Moment::Answered,
        };
        let act = Act::StaleInput { fact: StaleInput::KeepAlive };
        let family = Family::StaleFacts;
        plan.directives.push(Directive { family, when, after_us: 0, act });
    }
}
