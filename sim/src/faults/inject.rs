//! The directives of each family.

use super::Family;
use crate::draw::RandomStream;
use crate::plan::{
    Act, Change, Code, Directive, LastId, Moment, Stage, StaleInput, StrategyPlan, When,
};
use baton::pool::limits::WEIGHT_MAX;

const CODES: [Code; 7] = [
    Code::NoError,
    Code::Protocol,
    Code::Internal,
    Code::Refused,
    Code::Cancel,
    Code::EnhanceYourCalm,
    Code::Http11Required,
];

const STALE_INPUTS: [StaleInput; 17] = [
    StaleInput::Connected,
    StaleInput::ConnectFailed,
    StaleInput::ConnectionClosed,
    StaleInput::GoAway,
    StaleInput::MaxStreams,
    StaleInput::KeepAlive,
    StaleInput::Frame,
    StaleInput::Pong,
    StaleInput::DeliveryChecked,
    StaleInput::StreamOpened,
    StaleInput::RequestSent,
    StaleInput::ResponseStarted,
    StaleInput::ResponseEnded,
    StaleInput::BodyProgressed,
    StaleInput::UploadBlocked,
    StaleInput::NotSent,
    StaleInput::ResetSent,
];

const STAGES: [Stage; 3] = [Stage::Tcp, Stage::Tls, Stage::Settings];

const ALL_MOMENTS: [Moment; 7] = [
    Moment::Ordered,
    Moment::Written,
    Moment::Read,
    Moment::HalfSent,
    Moment::Sent,
    Moment::Answered,
    Moment::Ended,
];

/// Figures that the parts of a plan share.
pub(super) struct Shape {
    pub(super) backends: u64,
    pub(super) requests: u64,
    /// The length of the workload.
    pub(super) window_us: u64,
    pub(super) connections_per_backend: u64,
    pub(super) streams_per_connection: u64,
}

/// Draws triggers that the plan's shape makes likely.
struct Aim<'a> {
    shape: &'a Shape,
    stream: &'a mut RandomStream,
}

impl Aim<'_> {
    fn backend(&mut self) -> u16 {
        self.stream.below(self.shape.backends) as u16
    }

    /// One of the first connections; earlier ones are more likely.
    fn connection(&mut self) -> u32 {
        1 + self.stream.wide(0, 2 * self.shape.connections_per_backend) as u32
    }

    fn dialled(&mut self) -> When {
        When::Dialled { backend: self.backend(), connection: self.connection() }
    }

    fn connected(&mut self) -> When {
        When::Connected { backend: self.backend(), connection: self.connection() }
    }

    /// A stream early enough to exist in most runs.
    fn stream(&mut self, moments: &[Moment]) -> When {
        let most = (self.shape.requests / self.shape.backends).clamp(1, 20);
        When::Stream {
            backend: self.backend(),
            connection: self.connection(),
            stream: 1 + self.stream.wide(0, most) as u32,
            moment: self.stream.pick(moments),
        }
    }

    fn request(&mut self, moments: &[Moment]) -> When {
        When::Request {
            request: self.stream.below(self.shape.requests) as u32,
            moment: self.stream.pick(moments),
        }
    }

    /// A trigger on a request or on a stream.
    fn exchange(&mut self, moments: &[Moment]) -> When {
        if self.stream.chance(60) { self.request(moments) } else { self.stream(moments) }
    }

    fn any(&mut self) -> When {
        match self.stream.below(4) {
            0 => self.connected(),
            1 => self.dialled(),
            _ => self.exchange(&ALL_MOMENTS),
        }
    }

    fn time(&mut self) -> u64 {
        self.stream.below(self.shape.window_us + self.shape.window_us / 4)
    }

    /// Draws the delay of a fault: zero for half of the faults, up to a second for the others.
    fn after(&mut self) -> u64 {
        if self.stream.chance(50) { 0 } else { self.stream.wide(1, 1_000_000) }
    }

    /// A duration; forever (`None`) with a chance of one in four.
    fn a_while(&mut self) -> Option<u64> {
        (!self.stream.chance(25)).then(|| self.stream.wide(1_000, 20_000_000))
    }
}

/// Adds the directives of a family.
pub(super) fn directives(
    family: Family,
    shape: &Shape,
    stream: &mut RandomStream,
    all: &mut Vec<Directive>,
) {
    let count = stream.wide(1, 8);
    let mut aim = Aim { shape, stream };
    for _ in 0..count {
        for (when, after_us, act) in inject(family, &mut aim) {
            all.push(Directive { family, when, after_us, act });
        }
    }
}

type Injection = Vec<(When, u64, Act)>;

fn silent_drop(aim: &mut Aim<'_>) -> Act {
    let (to_backend, from_backend) = aim.stream.pick(&[(true, true), (true, false), (false, true)]);
    Act::BlackHole { to_backend, from_backend }
}

/// The directives of one fault of a family, usually one.
fn inject(family: Family, aim: &mut Aim<'_>) -> Injection {
    match family {
        Family::SplitFrames
        | Family::Wire
        | Family::Operation
        | Family::Addresses
        | Family::Hoard => {
            unreachable!("only the proxy's world has bytes and files")
        }
        Family::SilentDrop => one(aim, |aim| aim.any(), silent_drop),
        Family::SettingsChange => one(
            aim,
            |aim| aim.any(),
            |aim| {
                let most = aim.shape.streams_per_connection as u32;
                let max_streams =
                    aim.stream.pick(&[0, 0, 1, most.saturating_sub(1), most, u32::MAX]);
                Act::Settings { max_streams }
            },
        ),
        Family::Cancel => one(
            aim,
            |aim| {
                let mut moments = vec![Moment::Arrived];
                moments.extend(ALL_MOMENTS);
                aim.request(&moments)
            },
            |_| Act::Cancel,
        ),
        Family::GoAway => go_away(aim),
        Family::GoAwayCrossing => {
            let when = aim.stream(&[Moment::Ordered, Moment::Written]);
            vec![(when, 0, Act::GoAway { last: LastId::Read, code: Code::NoError })]
        }
        Family::Reset => one(
            aim,
            |aim| aim.exchange(&ALL_MOMENTS),
            |aim| Act::Reset { code: aim.stream.pick(&CODES) },
        ),
        Family::BodyBreak => one(
            aim,
            |aim| aim.exchange(&[Moment::HalfSent, Moment::Answered]),
            |aim| {
                let reset = Act::Reset { code: aim.stream.pick(&CODES) };
                aim.stream.pick(&[Act::Break, reset])
            },
        ),
        Family::ClockJump => clock_jump(aim),
        Family::PingStrikes | Family::LateSettings | Family::OddResponse | Family::Poison => {
            Vec::new()
        }
        Family::PrefaceBreak
        | Family::AcceptThenClose
        | Family::StalledDial
        | Family::PartialDialFailure => dials(family, aim),
        Family::PeerStopsReading
        | Family::ClientStopsReading
        | Family::StarvedUpload
        | Family::NeverCloses => stalls(family, aim),
        Family::StaleFacts => stale_facts(aim),
        Family::Shutdown => shutdown(aim),
        Family::Reconfiguration => reconfiguration(aim),
        Family::WrongHealthChecks => wrong_health_checks(aim),
        Family::GatewayFailures => gateway_failures(aim),
        Family::Restart | Family::ProtocolSwitch | Family::Unreachable => {
            vec![(When::Start, aim.time(), whole_backend(family, aim))]
        }
    }
}

/// Health checks of one backend give wrong results for a while, or none.
fn wrong_health_checks(aim: &mut Aim<'_>) -> Injection {
    let backend = aim.backend();
    let passed = aim.stream.pick(&[Some(false), Some(false), Some(true), None]);
    let for_us = aim.stream.wide(10_000, 30_000_000);
    vec![(When::Start, aim.time(), Act::HealthChecks { backend, passed, for_us })]
}

/// A change of one backend, often undone later, at a time of the run or a moment of a request.
fn reconfiguration(aim: &mut Aim<'_>) -> Injection {
    let backend = aim.backend();
    let (when, after_us) =
        if aim.stream.chance(50) { (When::Start, aim.time()) } else { (aim.any(), aim.after()) };
    let later = after_us + aim.stream.wide(1, 10_000_000);
    let weight = aim.stream.pick(&[0, 1, 1, 3, WEIGHT_MAX, WEIGHT_MAX + 1]);
    let within_us = aim.stream.wide(1, 60_000_000);
    match aim.stream.below(8) {
        0 => vec![(when, after_us, Act::Add { backend, weight })],
        1 | 2 => vec![
            (when, after_us, Act::Remove { backend }),
            (when, later, Act::Add { backend, weight }),
        ],
        3 => vec![(when, after_us, Act::Remove { backend })],
        4 | 5 => vec![
            (when, after_us, Act::Drain { backend, within_us }),
            (when, later, Act::Undrain { backend }),
        ],
        6 => vec![(when, after_us, Act::Weight { backend, weight })],
        _ => {
            let number = aim.stream.between(1, 3) as u32;
            let change = aim.stream.pick(&[
                Change::Failures(number),
                Change::EjectedPercentMax(33 * number),
                Change::FailOpenPercent(33 * (number - 1)),
                Change::Fall(number),
                Change::Strategy(StrategyPlan::Weighted),
                Change::Strategy(StrategyPlan::RoundRobin),
                Change::Strategy(StrategyPlan::LeastLoaded),
                Change::HealthChecking(number > 1),
                Change::NoAttempts,
            ]);
            vec![(when, after_us, Act::Change { change })]
        }
    }
}

/// A backend answers several requests in a row with this status: a failure, or one without content.
fn gateway_failures(aim: &mut Aim<'_>) -> Injection {
    let status = aim.stream.pick(&[502, 503, 503, 504, 500, 204, 304]);
    let (backend, connection) = (aim.backend(), aim.connection());
    let first = 1 + aim.stream.wide(0, 6) as u32;
    let count = aim.stream.between(1, 6) as u32;
    let inject = |stream| {
        let when = When::Stream { backend, connection, stream, moment: Moment::Written };
        (when, 0, Act::Status { status })
    };
    (first..first + count).map(inject).collect()
}

/// A shutdown, late in the run so that enough happens before it.
fn shutdown(aim: &mut Aim<'_>) -> Injection {
    let after_us = aim.shape.window_us / 4 * 3 + aim.time() / 2;
    vec![(When::Start, after_us, aim.stream.pick(&[Act::Shutdown, Act::Replace]))]
}

fn clock_jump(aim: &mut Aim<'_>) -> Injection {
    let after_us = aim.time();
    let by_us = aim.stream.wide(1, 100_000_000);
    let for_us = aim.stream.wide(1, 1_000_000);
    let forward = Act::ClockForward { by_us };
    let back = Act::ClockBack { by_us: by_us.min(5_000_000), for_us };
    vec![(When::Start, after_us, aim.stream.pick(&[forward, back]))]
}

fn one(
    aim: &mut Aim<'_>,
    when: impl FnOnce(&mut Aim<'_>) -> When,
    act: impl FnOnce(&mut Aim<'_>) -> Act,
) -> Injection {
    let when = when(aim);
    let after_us = aim.after();
    vec![(when, after_us, act(aim))]
}

/// A GOAWAY, often with a successor: the second of a pair, another last id, or a close.
fn go_away(aim: &mut Aim<'_>) -> Injection {
    let lasts =
        [LastId::Greatest, LastId::Read, LastId::Zero, LastId::BelowRead, LastId::AboveRead];
    let codes = [Code::NoError, Code::NoError, Code::Internal, Code::EnhanceYourCalm];
    let when = aim.any();
    let mut after_us = aim.after();
    let mut inject = Vec::new();
    for _ in 0..aim.stream.pick(&[1, 1, 2, 2, 3]) {
        let (last, code) = (aim.stream.pick(&lasts), aim.stream.pick(&codes));
        inject.push((when, after_us, Act::GoAway { last, code }));
        after_us += aim.stream.wide(0, 1_000_000);
    }
    if aim.stream.chance(40) {
        inject.push((when, after_us, Act::Break));
    }
    inject
}

fn dials(family: Family, aim: &mut Aim<'_>) -> Injection {
    let when = aim.dialled();
    match family {
        Family::PrefaceBreak => vec![(when, 0, Act::BreakAtPreface)],
        Family::AcceptThenClose => {
            let connected = aim.connected();
            vec![(connected, aim.stream.wide(0, 10_000), Act::Break)]
        }
        Family::StalledDial => {
            let (stage, for_us) = (aim.stream.pick(&STAGES), aim.a_while());
            vec![(when, 0, Act::StallDial { stage, for_us })]
        }
        _ => vec![(when, 0, Act::FailDial { stage: aim.stream.pick(&STAGES) })],
    }
}

fn stalls(family: Family, aim: &mut Aim<'_>) -> Injection {
    let for_us = aim.a_while();
    match family {
        Family::PeerStopsReading => vec![(aim.any(), aim.after(), Act::StopReading { for_us })],
        Family::ClientStopsReading => {
            let when = aim.request(&[Moment::Arrived, Moment::Ordered, Moment::Answered]);
            vec![(when, 0, Act::ClientStopsReading { for_us })]
        }
        Family::StarvedUpload => {
            let when = aim.exchange(&[Moment::Ordered, Moment::Written]);
            vec![(when, 0, Act::StarveUpload { for_us })]
        }
        _ => {
            let when = aim.exchange(&[Moment::Read, Moment::Answered]);
            let go_away = Act::GoAway { last: LastId::Read, code: Code::NoError };
            let mut inject = vec![(when, 0, Act::NeverFinish)];
            if aim.stream.chance(60) {
                inject.push((when, aim.after(), go_away));
            }
            inject
        }
    }
}

fn stale_facts(aim: &mut Aim<'_>) -> Injection {
    let for_us = aim.stream.wide(1, 2_000_000);
    if aim.stream.chance(25) {
        return lost_with_late_reports(aim, for_us);
    }
    if aim.stream.chance(10) {
        return lost_with_a_ping_out(aim, for_us);
    }
    let act = match aim.stream.below(8) {
        4..8 => Act::StaleInput { fact: aim.stream.pick(&STALE_INPUTS) },
        0 => Act::HoldReports { for_us },
        1 => Act::LateTimers { by_us: aim.stream.wide(1, 3_000_000), for_us },
        2 => Act::EarlyTimeout,
        _ => Act::Replay {
            back: aim.stream.wide(0, 400) as u32,
            count: aim.stream.wide(1, 40) as u32,
        },
    };
    vec![(aim.any(), aim.after(), act)]
}

/// A connection breaks, its streams' ends are reported late, and stale facts about it keep coming.
fn lost_with_late_reports(aim: &mut Aim<'_>, for_us: u64) -> Injection {
    let when = aim.exchange(&[Moment::Written, Moment::HalfSent, Moment::Sent, Moment::Answered]);
    let mut inject = vec![(when, 0, Act::HoldReports { for_us }), (when, 0, Act::Break)];
    for _ in 0..aim.stream.between(1, 3) {
        let fact = aim.stream.pick(&STALE_INPUTS[..7]);
        inject.push((when, for_us / 2 + aim.stream.wide(1, 100_000), Act::StaleInput { fact }));
    }
    inject
}

/// A connection falls silent until a PING is in flight, then breaks; answers to a PING and to a
/// delivery check are reported afterwards.
fn lost_with_a_ping_out(aim: &mut Aim<'_>, for_us: u64) -> Injection {
    let when = aim.exchange(&[Moment::Written, Moment::Sent]);
    let after_us = aim.stream.wide(10_000, 4_000_000);
    let answered_us = after_us + aim.stream.wide(1, 100_000);
    vec![
        (when, 0, Act::StopReading { for_us: None }),
        (when, after_us, Act::HoldReports { for_us }),
        (when, after_us, Act::Break),
        (when, answered_us, Act::StaleInput { fact: StaleInput::Pong }),
        (when, answered_us, Act::StaleInput { fact: StaleInput::DeliveryChecked }),
    ]
}

fn whole_backend(family: Family, aim: &mut Aim<'_>) -> Act {
    let backend = aim.backend();
    let for_us = aim.stream.wide(1_000, 10_000_000);
    match family {
        Family::Restart if aim.stream.chance(25) => Act::DisconnectAll,
        Family::Restart => {
            Act::Restart { backend, graceful: aim.stream.chance(50), down_us: for_us }
        }
        Family::ProtocolSwitch => Act::SwitchProtocol { backend, http1: aim.stream.chance(70) },
        _ => Act::Unreachable { backend, hangs: aim.stream.chance(50), for_us },
    }
}
