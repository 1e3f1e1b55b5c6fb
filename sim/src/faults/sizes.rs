//! Rare plans of the pool's world that differ in kind, not in faults: tables that are larger than a
//! narrow mask, index or counter could hold, health checks of another worker, and several pools.

use baton::pool::HealthChecking;

use super::{Profile, situations};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::Plan;

/// Percentage of plans in which another worker reports health.
const REPORTED: u64 = 8;
/// Percentage of plans with several pools.
const SEVERAL: u64 = 6;

/// Changes some plans.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    let stream = &mut Draws::new(plan.seed).stream(Domain::Sizes, 0);
    if profile != Profile::Calm && stream.chance(REPORTED) {
        plan.pool.config.health_checking = HealthChecking::Reported;
    }
    workers(plan, profile);
    // Checks recount every table after each fact, so these take long.
    let make = match stream.below(2_000) {
        0..3 => many_connections,
        3..6 => many_streams,
        6 => many_requests,
        _ => return,
    };
    plan.origin.push_str(" sizes");
    make(plan, stream);
}

/// Several workers, each with a pool, or a pool that replaces another one.
fn workers(plan: &mut Plan, profile: Profile) {
    let stream = &mut Draws::new(plan.seed).stream(Domain::Workers, 0);
    if profile == Profile::Calm || !stream.chance(SEVERAL) {
        return;
    }
    plan.pool.workers = stream.pick(&[1, 2, 2, 3]);
    let replaced = plan.pool.workers == 1 || stream.chance(30);
    if replaced && plan.heal.at_us > 1 {
        plan.pool.replaced_at_us = Some(stream.between(1, plan.heal.at_us - 1));
    }
    if plan.pool.workers > 1 && stream.chance(60) {
        plan.pool.config.health_checking = HealthChecking::Ordered;
    }
    plan.origin.push_str(", several pools");
}

/// More connections than a word has bits, also with those that drain.
fn many_connections(plan: &mut Plan, stream: &mut RandomStream) {
    let limits = &mut plan.pool.config.limits;
    limits.connections_per_backend = stream.pick(&[17, 33, 65, 80]);
    limits.streams_per_connection = 1;
    // A connection drains with its last request on it, and another one takes its place.
    plan.pool.config.max_requests_per_connection = stream.chance(70).then_some(1);
    crowd(plan, stream.between(60, 120), stream.wide(1, 20_000));
}

/// More streams on a connection than a peer without SETTINGS gets.
fn many_streams(plan: &mut Plan, stream: &mut RandomStream) {
    let limits = &mut plan.pool.config.limits;
    limits.connections_per_backend = stream.pick(&[1, 2]);
    limits.streams_per_connection = stream.pick(&[101, 128, 256]);
    plan.pool.config.max_requests_per_connection = None;
    plan.pool.exclusive = false;
    for backend in &mut plan.backends {
        if stream.chance(50) {
            (backend.http1, backend.max_streams) = (false, None);
            backend.settings_late_us = Some(stream.wide(1_000, 5_000_000));
        }
    }
    crowd(plan, stream.between(120, 300), stream.wide(1, 5_000));
}

/// More requests than a 10-bit counter holds.
fn many_requests(plan: &mut Plan, stream: &mut RandomStream) {
    let limits = &mut plan.pool.config.limits;
    limits.streams_per_connection = limits.streams_per_connection.max(4);
    crowd(plan, stream.between(1_100, 1_400), stream.wide(1, 2_000_000));
}

/// Repeats the requests until there are so many, all within a time.
fn crowd(plan: &mut Plan, count: u64, within_us: u64) {
    let limits = &mut plan.pool.config.limits;
    limits.requests = limits.requests.max(count as usize);
    limits.waiting = limits.requests;
    let models = plan.requests.clone();
    let next = situations::next_id(plan);
    let new = (0..count.saturating_sub(models.len() as u64)).map(|place| {
        let mut request = models[place as usize % models.len()];
        request.id = next + place as u32;
        request
    });
    plan.requests.extend(new);
    for (place, request) in plan.requests.iter_mut().enumerate() {
        request.at_us = place as u64 * within_us / count;
    }
}
