//! Generates plans from seeds. Swarm selection (Groce et al., ISSTA 2012): each family is off with
//! a chance of one half, and the intensity of the others is drawn on a wide scale. Every family
//! thus also gets runs in which no other family interferes.

use std::time::Duration;

use baton::pool::{HealthChecking, Strategy};

use super::inject::{Shape, directives};
use super::{
    Family, Profile, Workload, aimed, changes, combined, common, doubts, poison, situations, sizes,
    wire,
};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    BackendPlan, BackendWire, Deviation, FORMAT, Heal, Health, Network, Plan, PoolPlan,
    RequestPlan, RequestWire, Span, Ties, WirePlan, WorldName,
};

/// Generates the plan of a seed. The result depends on this function, so a failure is kept as a
/// plan, not as a seed.
#[must_use]
pub fn plan(seed: u64, profile: Profile, world: WorldName) -> Plan {
    if world == WorldName::Both {
        return common::plan(seed, profile);
    }
    let mut plan = plan_of_pool(seed, profile);
    if world == WorldName::Pool {
        doubts::add(&mut plan, profile);
        poison::add(&mut plan, profile);
        if !plan.has_only_poison() {
            combined::add(&mut plan, profile);
            sizes::add(&mut plan, profile);
            changes::add(&mut plan);
        }
    }
    if world == WorldName::Proxy {
        wire::add(&mut plan, profile);
        aimed::add(&mut plan, profile);
        situations::add(&mut plan, profile);
    }
    plan
}

fn plan_of_pool(seed: u64, profile: Profile) -> Plan {
    let draws = Draws::new(seed);
    let mut swarm = draws.stream(Domain::Swarm, 0);
    let families = profile.families(&mut swarm);
    let workload = match profile {
        Profile::Herd => Workload::Herd,
        _ if swarm.chance(6) => Workload::Marathon,
        _ => swarm.pick(&[Workload::Steady, Workload::Steady, Workload::Bursts, Workload::Herd]),
    };
    let backends = swarm.pick(&[1, 1, 2, 2, 2, 3, 4]);
    let operated = families.contains(&Family::Reconfiguration);
    let spare = if operated { swarm.below(3) } else { 0 };
    let mut pool = pool_plan(&mut draws.stream(Domain::Pool, 0), profile);
    if operated {
        // Sometimes fewer slots than backends, so that a removed backend must make room.
        pool.spare_places = swarm.below(4) as usize;
    }
    let shape = Shape {
        backends: backends + spare,
        requests: match workload {
            Workload::Herd => swarm.between(20, 60),
            Workload::Steady | Workload::Bursts => swarm.wide(1, 60),
            Workload::Marathon => swarm.between(100, 400),
        },
        window_us: match workload {
            Workload::Marathon => swarm.between(1_000_000, 60_000_000),
            Workload::Steady | Workload::Bursts | Workload::Herd => swarm.wide(2_000, 20_000_000),
        },
        connections_per_backend: pool.config.limits.connections_per_backend as u64,
        streams_per_connection: pool.config.limits.streams_per_connection as u64,
    };
    let on = |family| families.contains(&family);
    let origin = origin(seed, profile, workload, &families);
    let mut all_directives = Vec::new();
    for family in &families {
        let mut stream = draws.stream(Domain::Faults, *family as u64);
        directives(*family, &shape, &mut stream, &mut all_directives);
    }
    let deviations = if profile == Profile::Calm { 0 } else { swarm.below(6) };
    let deviations = (0..deviations).map(|index| {
        let mut stream = draws.stream(Domain::Deviations, index);
        Deviation {
            delay: stream.below(60 * shape.requests) as u32,
            by_us: stream.wide(1, 2_000_000),
        }
    });
    Plan {
        format: FORMAT,
        origin,
        world: WorldName::Pool,
        seed,
        pool,
        network: network(&mut draws.stream(Domain::Backends, u64::MAX), on(Family::StaleFacts)),
        backends: (0..shape.backends)
            .map(|index| BackendPlan {
                spare: index >= backends,
                ..backend(&mut draws.stream(Domain::Backends, index), &families)
            })
            .collect(),
        requests: (0..shape.requests)
            .map(|index| {
                let mut stream = draws.stream(Domain::Requests, index);
                request(index, &mut stream, workload, &shape, on(Family::OddResponse))
            })
            .collect(),
        directives: all_directives,
        deviations: deviations.collect(),
        heal: heal(&mut draws.stream(Domain::Heal, 0), &shape, profile),
        wire: WirePlan::default(),
    }
}

fn origin(seed: u64, profile: Profile, workload: Workload, families: &[Family]) -> String {
    let names: Vec<_> = families.iter().map(|family| family.code()).collect();
    format!(
        "seed {seed}, profile {}, {} workload, families {}",
        profile.name(),
        workload.name(),
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    )
}

fn pool_plan(stream: &mut RandomStream, profile: Profile) -> PoolPlan {
    let mut plan = PoolPlan::DEFAULT;
    let requests = stream.pick(&[4, 16, 32, 48, 64]);
    let waiting = if stream.chance(50) { requests } else { stream.between(1, requests) };
    // Half of the plans use short timeouts, so that deadlines coincide.
    let short = stream.chance(50);
    let config = &mut plan.config;
    let timeouts = &mut config.timeouts;
    for (time, least) in [
        (&mut timeouts.connect, 5),
        (&mut timeouts.queue, 5),
        (&mut timeouts.response_head, 10),
        (&mut timeouts.idle, 5),
        (&mut timeouts.max_age, 20),
        (&mut timeouts.drain, 10),
        (&mut timeouts.silence, 5),
        (&mut timeouts.suspect, 5),
        (&mut timeouts.backoff_min, 1),
        (&mut timeouts.ejection_min, 5),
        (&mut timeouts.body_stall, 20),
        (&mut timeouts.response_stall, 20),
        (&mut timeouts.health_check_interval, 500),
        (&mut timeouts.health_check_timeout, 20),
    ] {
        if short {
            *time = Duration::from_millis(stream.wide(least, time.as_millis() as u64));
        }
    }
    config.limits.requests = requests as usize;
    config.limits.waiting = waiting as usize;
    config.limits.connections_per_backend = stream.pick(&[1, 1, 2, 2, 3, 4]);
    config.limits.streams_per_connection = stream.pick(&[1, 2, 3, 4, 6]);
    config.strategy = stream.pick(&[
        Strategy::RoundRobin,
        Strategy::Weighted,
        Strategy::Random,
        Strategy::LeastLoaded,
    ]);
    plan.weight = stream.pick(&[1, 2, 5]);
    plan.exclusive = stream.chance(10);
    config.retry.attempts = stream.pick(&[1, 2, 3, 3, 5]);
    config.retry.budget_percent = stream.pick(&[0, 20, 100]);
    config.retry.budget_floor = stream.pick(&[0, 1, 10]);
    config.health.failures = stream.pick(&[1, 3, 3]);
    config.health.successes = stream.pick(&[1, 2]);
    config.health.gateway_failures = stream.pick(&[0, 1, 2, 5]);
    config.health.ejected_percent_max = stream.pick(&[0, 10, 50, 100]);
    config.health.fail_open_percent = stream.pick(&[0, 50, 50, 100]);
    config.health.fall = stream.pick(&[1, 2, 3]);
    config.health.rise = stream.pick(&[1, 2]);
    let orders = stream.chance(40);
    config.health_checking = if orders { HealthChecking::Ordered } else { HealthChecking::Off };
    config.body_rate_min = stream.pick(&[0, 0, 1, 1_000, 100_000]);
    let slow_start = if stream.chance(30) { stream.wide(1, 20_000) } else { 0 };
    timeouts.slow_start = Duration::from_millis(slow_start);
    if profile != Profile::Calm && stream.chance(30) {
        config.max_requests_per_connection = Some(stream.between(1, 12) as u32);
    }
    if profile != Profile::Calm && stream.chance(5) {
        plan.generations = Some(stream.between(1, 4) as u32);
    }
    plan
}

fn network(stream: &mut RandomStream, unruly: bool) -> Network {
    let shell_most = if unruly { stream.wide(1, 200_000) } else { stream.pick(&[0, 0, 50]) };
    let wire_most = stream.wide(10, 50_000);
    Network {
        wire: Span { least_us: stream.below(wire_most.min(100)), most_us: wire_most },
        shell: Span { least_us: 0, most_us: shell_most },
        timer: Span { least_us: 0, most_us: if unruly { stream.wide(1, 100_000) } else { 0 } },
        dial: Span { least_us: 50, most_us: stream.wide(50, 300_000) },
        dead_path_us: stream.wide(1_000_000, 60_000_000),
        ties: stream.pick(&[Ties::Fifo, Ties::Lifo, Ties::Shuffled, Ties::Shuffled]),
        hides_delivery: false,
    }
}

fn backend(stream: &mut RandomStream, families: &[Family]) -> BackendPlan {
    let on = |family| families.contains(&family);
    let calm = families.is_empty();
    let max_streams = stream.pick(&[None, Some(1), Some(2), Some(4), Some(100), Some(u32::MAX)]);
    let work_most = stream.wide(10, 2_000_000);
    let body_most = stream.wide(1, 1_000_000);
    let trailers_only = on(Family::OddResponse) && stream.chance(20);
    BackendPlan {
        http1: stream.chance(12),
        max_streams,
        settings_late_us: (on(Family::LateSettings) && stream.chance(70))
            .then(|| stream.wide(1, 500_000)),
        streams_per_connection: (!calm && stream.chance(25)).then(|| stream.between(1, 20) as u32),
        ping_strikes: on(Family::PingStrikes).then(|| stream.pick(&[1, 1, 2, 3])),
        work: Span { least_us: stream.below(work_most), most_us: work_most },
        body: if trailers_only {
            Span { least_us: 0, most_us: 0 }
        } else {
            Span { least_us: 0, most_us: body_most }
        },
        spare: false,
        wire: BackendWire::default(),
    }
}

fn request(
    index: u64,
    stream: &mut RandomStream,
    workload: Workload,
    shape: &Shape,
    odd: bool,
) -> RequestPlan {
    let at_us = match workload {
        Workload::Steady | Workload::Marathon => stream.below(shape.window_us),
        Workload::Bursts => stream.below(3) * shape.window_us / 3,
        Workload::Herd => stream.below(100),
    };
    let body_us = stream.chance(40).then(|| stream.wide(1, 500_000));
    RequestPlan {
        id: index as u32,
        at_us,
        idempotent: stream.chance(60),
        body_us,
        outgrows_buffer: body_us.is_some() && stream.chance(25),
        early_response: odd && stream.chance(20),
        informational: if odd && stream.chance(20) { stream.between(1, 4) as u8 } else { 0 },
        poison: None,
        wire: RequestWire::default(),
    }
}

fn heal(stream: &mut RandomStream, shape: &Shape, profile: Profile) -> Heal {
    let health = |stream: &mut RandomStream| match profile {
        Profile::Calm => Health::Well,
        _ => stream.pick(&[Health::Well, Health::Well, Health::Refuses, Health::Hangs]),
    };
    let mut backends: Vec<_> = (0..shape.backends).map(|_| health(stream)).collect();
    // Nine in ten runs keep a healthy backend to recover with.
    if !backends.contains(&Health::Well) && stream.chance(90) {
        backends[0] = Health::Well;
    }
    Heal { at_us: shape.window_us + stream.wide(1, 10_000_000), backends }
}
