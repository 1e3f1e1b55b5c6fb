//! Plans for both worlds: only what both have, and with time between the steps, so that races are
//! rare. The parts of a plan that only one world has are left out by [`narrow()`].

mod narrow;

use std::time::Duration;

use baton::pool::Strategy;

pub(crate) use self::narrow::narrow;
use self::narrow::{HEALS_AT_US, SETTLED_US, UPLOAD_US, at};
use super::{Family, Profile};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    Act, BackendPlan, BackendWire, ClientPlan, ClientProtocol, Code, Directive, FORMAT, Framing,
    Heal, Health, LastId, Moment, Network, Plan, PoolPlan, REPLAY_BUFFER_BYTES, RequestPlan,
    RequestWire, Stage, Ties, When, WirePlan, WorldName,
};

/// The time between two groups of requests.
const STEP_US: u64 = 200_000;
/// The time between two requests of a group.
const APART_US: u64 = 37_000;
/// Groups of requests.
const GROUPS: u64 = 10;
/// The families of these plans. Those of silence are not among them: the model ends a silent
/// connection a fixed time after the fault, the proxy's system by its own unacknowledged bytes or
/// by keepalive, and the model knows no stage of a stalled dial.
/// Each is off with a chance of three quarters.
const FAMILIES: [Family; 11] = [
    Family::SettingsChange,
    Family::Cancel,
    Family::GoAway,
    Family::BodyBreak,
    Family::PartialDialFailure,
    Family::Reset,
    Family::NeverCloses,
    Family::Restart,
    Family::Reconfiguration,
    Family::OddResponse,
    Family::GatewayFailures,
];
/// The codes of resets. HTTP_1_1_REQUIRED is left out: it is a fault only of a switch of protocol.
const CODES: [Code; 4] = [Code::NoError, Code::Internal, Code::Refused, Code::Cancel];

/// The plan of a seed.
pub(super) fn plan(seed: u64, profile: Profile) -> Plan {
    let draws = Draws::new(seed);
    let mut stream = draws.stream(Domain::Common, 0);
    let on = |stream: &mut RandomStream| match profile {
        Profile::Calm => false,
        Profile::Storm => true,
        _ => stream.chance(25),
    };
    let families: Vec<_> = FAMILIES.into_iter().filter(|_| on(&mut stream)).collect();
    let names: Vec<_> = families.iter().map(|family| family.code()).collect();
    let backends = stream.pick(&[1, 2, 2, 3]);
    let requests = stream.between(1, 14);
    let http1 = stream.chance(15);
    let mut directives = Vec::new();
    for family in &families {
        let mut stream = draws.stream(Domain::Common, 100 + *family as u64);
        let mut aim = Aim { backends, requests, stream: &mut stream };
        for _ in 0..aim.stream.between(1, 3) {
            aim.add(*family, &mut directives);
        }
    }
    let odd = families.contains(&Family::OddResponse);
    let mut plan = Plan {
        format: FORMAT,
        origin: format!(
            "seed {seed}, both worlds, profile {}, families {}",
            profile.name(),
            if names.is_empty() { "none".to_owned() } else { names.join(" ") }
        ),
        world: WorldName::Both,
        seed,
        pool: pool(&mut draws.stream(Domain::Common, 1), http1),
        network: network(&mut draws.stream(Domain::Common, 2)),
        backends: (0..backends)
            .map(|index| {
                let mut stream = draws.stream(Domain::Common, 1_000 + index);
                backend(&mut stream, http1 && index == 0)
            })
            .collect(),
        requests: (0..requests)
            .map(|index| request(index, &mut draws.stream(Domain::Common, 10_000 + index), odd))
            .collect(),
        directives,
        deviations: Vec::new(),
        heal: Heal { at_us: HEALS_AT_US, backends: vec![Health::Well; backends as usize] },
        wire: WirePlan {
            clients: (0..stream.between(1, 3)).map(|_| client(&mut stream)).collect(),
            ..WirePlan::default()
        },
    };
    narrow(&mut plan);
    plan
}

fn pool(stream: &mut RandomStream, http1: bool) -> PoolPlan {
    let mut plan = PoolPlan { exclusive: http1, ..PoolPlan::DEFAULT };
    plan.weight = stream.pick(&[1, 2, 5]);
    let config = &mut plan.config;
    let timeouts = &mut config.timeouts;
    for (time, milliseconds) in [
        (&mut timeouts.connect, 327),
        (&mut timeouts.queue, 713),
        (&mut timeouts.response_head, 917),
        (&mut timeouts.idle, 1_531),
        (&mut timeouts.drain, 857),
        (&mut timeouts.silence, 1_117),
        (&mut timeouts.suspect, 431),
        (&mut timeouts.backoff_min, 271),
        (&mut timeouts.ejection_min, 619),
        (&mut timeouts.body_stall, 373),
        (&mut timeouts.response_stall, 541),
    ] {
        if stream.chance(30) {
            *time = Duration::from_millis(milliseconds);
        }
    }
    config.limits.requests = stream.pick(&[4, 8, 32, 32]);
    config.limits.waiting = config.limits.requests.min(stream.pick(&[1, 4, 32, 32]));
    config.limits.connections_per_backend = stream.pick(&[1, 1, 2, 3]);
    config.limits.streams_per_connection = stream.pick(&[1, 2, 4]);
    config.strategy = stream.pick(&[Strategy::RoundRobin, Strategy::Weighted]);
    config.retry.attempts = stream.pick(&[1, 2, 3, 5]);
    config.retry.budget_percent = stream.pick(&[0, 20, 100]);
    config.retry.budget_floor = stream.pick(&[0, 1, 10]);
    config.health.failures = stream.pick(&[1, 3]);
    config.health.successes = stream.pick(&[1, 2]);
    config.health.gateway_failures = stream.pick(&[0, 1, 2]);
    config.health.ejected_percent_max = stream.pick(&[0, 50, 100]);
    config.health.fail_open_percent = stream.pick(&[0, 50, 100]);
    if stream.chance(15) {
        config.max_requests_per_connection = Some(stream.between(1, 5) as u32);
    }
    plan
}

fn network(stream: &mut RandomStream) -> Network {
    Network {
        wire: at(stream.pick(&[20, 100, 500])),
        shell: at(0),
        timer: at(0),
        dial: at(stream.pick(&[300, 1_000, 5_000])),
        dead_path_us: stream.pick(&[2_213_000, 9_000_000]),
        ties: Ties::Fifo,
        hides_delivery: false,
    }
}

fn backend(stream: &mut RandomStream, http1: bool) -> BackendPlan {
    BackendPlan {
        http1,
        max_streams: stream.pick(&[None, None, Some(1), Some(2), Some(100)]),
        settings_late_us: None,
        streams_per_connection: stream.chance(15).then(|| stream.between(1, 6) as u32),
        ping_strikes: None,
        work: at(stream.pick(&[2_311, 31_153, 233_741, 613_259])),
        body: at(stream.pick(&[3_207, 17_419, 127_903])),
        spare: false,
        wire: BackendWire { by_library: stream.chance(50), ..BackendWire::default() },
    }
}

fn request(index: u64, stream: &mut RandomStream, odd: bool) -> RequestPlan {
    let body_us = stream.chance(40).then(|| stream.pick(&[1_013, 4_057, UPLOAD_US]));
    let outgrows_buffer = body_us.is_some() && stream.chance(30);
    let room = REPLAY_BUFFER_BYTES as u64;
    let body_bytes = match (body_us, outgrows_buffer) {
        (None, _) => 0,
        (Some(_), false) => stream.wide(1, room - 1),
        // Half of it fits.
        (Some(_), true) => 2 * room,
    } as u32;
    RequestPlan {
        id: index as u32,
        at_us: 50_000 + stream.below(GROUPS) * STEP_US + index % 5 * APART_US + stream.below(997),
        idempotent: stream.chance(60),
        body_us,
        outgrows_buffer,
        early_response: odd && stream.chance(20),
        informational: if odd && stream.chance(20) { stream.between(1, 3) as u8 } else { 0 },
        poison: None,
        wire: RequestWire {
            client: stream.below(12) as u8,
            body_bytes,
            chunked: stream.chance(40),
            trailers: stream.chance(20),
            answer_bytes: stream.wide(0, 20_000) as u32,
            framing: Framing::Chunked,
            answer_trailers: stream.chance(20),
            piece_bytes: (body_bytes / 8).max(100) as u16,
            expects: false,
        },
    }
}

fn client(stream: &mut RandomStream) -> ClientPlan {
    let protocol = stream.pick(&[ClientProtocol::Http1, ClientProtocol::Http2]);
    ClientPlan { protocol, ..ClientPlan::default() }
}

/// Draws faults.
struct Aim<'a> {
    backends: u64,
    requests: u64,
    stream: &'a mut RandomStream,
}

impl Aim<'_> {
    fn backend(&mut self) -> u16 {
        self.stream.below(self.backends) as u16
    }

    fn connection(&mut self) -> (u16, u32) {
        (self.backend(), self.stream.pick(&[1, 1, 1, 2, 3]))
    }

    fn dialled(&mut self) -> When {
        let (backend, connection) = self.connection();
        When::Dialled { backend, connection }
    }

    fn exchange(&mut self, moments: &[Moment]) -> When {
        let moment = self.stream.pick(moments);
        if self.stream.chance(60) {
            return When::Request { request: self.stream.below(self.requests) as u32, moment };
        }
        let (backend, connection) = self.connection();
        When::Stream { backend, connection, stream: self.stream.pick(&[1, 1, 2, 3, 5]), moment }
    }

    /// A time after a moment: at once, or between the steps of a request. It is another one for
    /// each family, so that two faults hardly ever come at the same time.
    fn after(&mut self, apart_us: u64) -> u64 {
        match self.stream.pick(&[0, 0, 19_000, 71_000, 293_000]) {
            0 => 0,
            time => time + apart_us,
        }
    }

    /// A time of the run.
    fn time(&mut self) -> u64 {
        let offset = self.stream.pick(&[75_000, 111_000, 149_000, 185_000]);
        self.stream.below(GROUPS) * STEP_US + offset
    }

    fn a_while(&mut self) -> u64 {
        self.stream.pick(&[47_000, 281_000, 1_270_000])
    }

    /// Adds a fault of a family.
    fn add(&mut self, family: Family, directives: &mut Vec<Directive>) {
        let mut push = |when, after_us, act| {
            directives.push(Directive { family, when, after_us, act });
        };
        let of_answer = [Moment::Read, Moment::Answered];
        match family {
            Family::SettingsChange => {
                let max_streams = self.stream.pick(&[0, 1, 2, 100]);
                push(self.exchange(&of_answer), self.after(0), Act::Settings { max_streams });
            }
            Family::Cancel => {
                let moments = [Moment::Arrived, Moment::Read, Moment::Answered];
                let request = self.stream.below(self.requests) as u32;
                let when = When::Request { request, moment: self.stream.pick(&moments) };
                push(when, self.stream.pick(&[28_700, 83_300, 305_700]), Act::Cancel);
            }
            Family::GoAway => {
                let last = self.stream.pick(&[
                    LastId::Greatest,
                    LastId::Read,
                    LastId::Read,
                    LastId::Zero,
                    LastId::BelowRead,
                ]);
                let code = self.stream.pick(&[Code::NoError, Code::NoError, Code::Internal]);
                push(self.exchange(&of_answer), self.after(1_300), Act::GoAway { last, code });
            }
            Family::BodyBreak => {
                let after_us = self.stream.pick(&[SETTLED_US, 74_900, 296_900]);
                push(self.exchange(&of_answer), after_us, Act::Break);
            }
            Family::PartialDialFailure => {
                let stage = self.stream.pick(&[Stage::Tcp, Stage::Settings]);
                push(self.dialled(), 0, Act::FailDial { stage });
            }
            Family::Reset => {
                let code = self.stream.pick(&CODES);
                push(self.exchange(&of_answer), self.after(2_600), Act::Reset { code });
            }
            Family::NeverCloses => push(self.exchange(&of_answer), 0, Act::NeverFinish),
            Family::GatewayFailures => {
                let status = self.stream.pick(&[500, 502, 503, 504]);
                push(self.exchange(&[Moment::Read]), 0, Act::Status { status });
            }
            _ => {
                for (after_us, act) in self.whole_backend(family) {
                    push(When::Start, after_us, act);
                }
            }
        }
    }

    /// Faults of a whole backend, at a time of the run.
    fn whole_backend(&mut self, family: Family) -> Vec<(u64, Act)> {
        let (backend, time, for_us) = (self.backend(), self.time(), self.a_while());
        let flag = self.stream.chance(50);
        match family {
            Family::Restart if self.stream.chance(25) => vec![(time + 1_700, Act::DisconnectAll)],
            Family::Restart => {
                vec![(time, Act::Restart { backend, graceful: flag, down_us: for_us })]
            }
            Family::Reconfiguration if flag => vec![
                (time + 3_400, Act::Drain { backend, within_us: self.a_while() + 13_000 }),
                (time + for_us + 3_400, Act::Undrain { backend }),
            ],
            Family::Reconfiguration => {
                vec![(time + 5_100, Act::Weight { backend, weight: self.stream.pick(&[1, 3, 7]) })]
            }
            // A part of each request.
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_a_seed_is_valid_and_has_only_what_both_worlds_have() {
        let mut directives = 0;
        for seed in 0..300 {
            let plan = plan(seed, Profile::Swarm);
            assert_eq!(plan.check(), Ok(()), "seed {seed}");
            directives += plan.directives.len();
            let mut narrow_plan = plan.clone();
            narrow(&mut narrow_plan);
            assert_eq!(narrow_plan.requests.len(), plan.requests.len(), "seed {seed}");
            assert_eq!(narrow_plan.directives.len(), plan.directives.len(), "seed {seed}");
        }
        assert!(directives > 600, "{directives} directives");
    }
}
