//! The parts of a plan that only the world of the proxy uses: clients, messages on the wire, and
//! the faults of bytes. The draws are apart from those of the rest of the plan, so that a seed
//! means the same requests, backends and faults in both worlds.

use std::time::Duration;

use super::{Family, HOARDER, Profile, WIDE, addresses, operation};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    Act, BackendWire, ClientPlan, ClientProtocol, Direction, Directive, Framing, Moment, Plan,
    RequestPlan, RequestWire, When, WireEffect, WirePlan, WorldName,
};

/// The largest numbers of requests, of which a plan draws one: each request costs the work of a
/// real one, at three ends. Most situations need few.
const REQUESTS_MAX: [usize; 5] = [8, 12, 12, 20, 40];
/// Bytes of a request body that fit the replay buffer, which is
/// [`REPLAY_BUFFER_BYTES`](crate::plan::REPLAY_BUFFER_BYTES) in this world.
const SMALL_BODY_BYTES: u64 = crate::plan::REPLAY_BUFFER_BYTES as u64;
/// Bytes of the largest bodies: more than the buffers on their way.
const LARGE_BODY_BYTES: u64 = 80_000;
/// Bytes of a body that is larger than all buffers of the proxy.
const HOARD_BYTES: u32 = 4 << 20;
/// The share of plans with such bodies, in percent.
const HOARDS_PERCENT: u64 = 2;
/// The share of plans with a response that is larger than the windows of the proxy and is read to
/// its end, in percent.
const WIDE_PERCENT: u64 = 3;
/// The least bytes of that response.
const WIDE_BYTES: u32 = 132_000;
#[cfg(feature = "proxy")]
const _: () = assert!(WIDE_BYTES > baton::proxy::limits::STREAM_WINDOW_BYTES);
/// The share of plans in which an upload is taken back, in percent.
const WITHDRAWN_PERCENT: u64 = 10;
/// The largest number of pieces that one body is written in.
const PIECES_MAX: u32 = 20;
/// The largest number of windows, or of full buffers of the network, that one body takes. Each
/// costs the work of a frame.
const ROUNDS_MAX: u32 = 100;

/// The most health checks of a backend until faults stop, and within the longest wait of a
/// request. Each costs the work of a connection.
const HEALTH_CHECKS_MAX: [u32; 2] = [8, 50];

/// Completes a plan for the world of the proxy.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    let draws = Draws::new(plan.seed);
    let mut stream = draws.stream(Domain::WirePlan, 0);
    let calm = profile == Profile::Calm;
    plan.world = WorldName::Proxy;
    let most = match profile {
        Profile::Herd => REQUESTS_MAX[REQUESTS_MAX.len() - 1],
        _ => draws.stream(Domain::WirePlan, 1).pick(&REQUESTS_MAX),
    };
    plan.requests.truncate(most);
    plan.deviations.clear();
    plan.directives.retain(|directive| !directive.family.is_about_facts());
    let heals_at = Duration::from_micros(plan.heal.at_us);
    let timeouts = &mut plan.pool.config.timeouts;
    let wait = timeouts.response_head + timeouts.response_stall + timeouts.body_stall;
    let [until_faults_stop, within_a_wait] = HEALTH_CHECKS_MAX;
    let least = (heals_at / until_faults_stop).max(wait / within_a_wait);
    timeouts.health_check_interval = timeouts.health_check_interval.max(least);
    plan.wire = WirePlan {
        workers: stream.pick(&[1, 1, 1, 2, 3]),
        tls: stream.chance(10),
        rare_percent: rare_percent(&draws, calm),
        write_stall_ms: write_stall_ms(&draws, calm),
        delayed_polls_percent: if stream.chance(50) { stream.pick(&[1, 5, 20, 50]) } else { 0 },
        clients: (0..stream.between(1, 4)).map(|_| client(&mut stream)).collect(),
    };
    // The draw is apart, as it is younger than the others.
    let mut old = draws.stream(Domain::WirePlan, 4);
    plan.wire.clients.iter_mut().for_each(|client| client.http10 = old.chance(10));
    let by_library = calm || stream.chance(25);
    for (index, backend) in plan.backends.iter_mut().enumerate() {
        let mut stream = draws.stream(Domain::WirePlan, 1_000 + index as u64);
        let window = stream.pick(&[0, 0, 1, 100, 10_000, 1_000_000]);
        let name = addresses::name(&draws, index as u64, calm);
        backend.wire = BackendWire { by_library, window, name };
    }
    let windows = plan.backends.iter().map(|backend| backend.wire.window);
    let least = windows.filter(|window| *window > 0).min().unwrap_or(u32::MAX);
    for request in &mut plan.requests {
        let mut stream = draws.stream(Domain::WirePlan, 10_000 + u64::from(request.id));
        request.wire = message(request, &mut stream);
        let body = &mut request.wire.body_bytes;
        *body = (*body).min(least.saturating_mul(ROUNDS_MAX));
    }
    if !calm {
        add_wide(plan, &draws);
        add_withdrawn(plan, &draws);
        add_hoard(plan, &draws, least);
        add_faults(plan, &draws, profile);
    }
}

/// How often rare things happen. The draw is apart, as it is younger than the others.
fn rare_percent(draws: &Draws, calm: bool) -> u8 {
    let mut stream = draws.stream(Domain::WirePlan, 2);
    if !calm && stream.chance(30) { stream.pick(&[1, 5, 20, 50]) } else { 0 }
}

/// The patience with clients that do not read. The default is longer than clients of plans stop.
fn write_stall_ms(draws: &Draws, calm: bool) -> u32 {
    let mut stream = draws.stream(Domain::WirePlan, 3);
    if !calm && stream.chance(20) { stream.wide(500, 10_000) as u32 } else { 0 }
}

fn client(stream: &mut RandomStream) -> ClientPlan {
    ClientPlan {
        protocol: stream.pick(&[
            ClientProtocol::Http1,
            ClientProtocol::Http1,
            ClientProtocol::Http2,
            ClientProtocol::Frames,
        ]),
        pipelines: stream.chance(15),
        half_closes: stream.chance(15),
        http10: false,
    }
}

fn message(request: &RequestPlan, stream: &mut RandomStream) -> RequestWire {
    let body_bytes = match (request.body_us, request.outgrows_buffer) {
        (None, _) => 0,
        (Some(_), false) => stream.wide(0, SMALL_BODY_BYTES),
        (Some(_), true) => SMALL_BODY_BYTES + stream.wide(1, LARGE_BODY_BYTES),
    } as u32;
    let answer_bytes = stream.wide(0, LARGE_BODY_BYTES) as u32;
    let least = (body_bytes.max(answer_bytes) / PIECES_MAX + 1).min(u32::from(u16::MAX)) as u16;
    RequestWire {
        client: stream.below(12) as u8,
        body_bytes,
        chunked: stream.chance(40),
        trailers: stream.chance(20),
        expects: stream.chance(10),
        answer_bytes,
        framing: stream.pick(&[Framing::Length, Framing::Length, Framing::Chunked, Framing::Close]),
        answer_trailers: stream.chance(20),
        piece_bytes: stream.pick(&[0, 1, 7, 100, 1_000, 16_384]).max(least),
    }
}

/// Some plans get a request whose response is larger than the windows of the proxy. Its client is
/// not one whose own windows would make it a matter of thousands of frames.
fn add_wide(plan: &mut Plan, draws: &Draws) {
    let mut stream = draws.stream(Domain::WirePlan, 5);
    let quick = |client: &ClientPlan| client.protocol != ClientProtocol::Http2;
    let Some(client) = plan.wire.clients.iter().position(quick) else { return };
    if !stream.chance(WIDE_PERCENT) {
        return;
    }
    let wire = RequestWire {
        client: client as u8,
        answer_bytes: WIDE_BYTES + stream.below(64_000) as u32,
        framing: stream.pick(&[Framing::Length, Framing::Chunked, Framing::Close]),
        answer_trailers: stream.chance(20),
        piece_bytes: 16_384,
        ..RequestWire::default()
    };
    plan.requests.push(RequestPlan {
        at_us: stream.below(1_000_000),
        // A client must not ask for the head alone.
        idempotent: false,
        wire,
        ..RequestPlan::plain(WIDE)
    });
}

/// In some plans an HTTP/2 client takes a request back within its body, which the backend may have
/// stopped to read: the reset then waits behind the body.
fn add_withdrawn(plan: &mut Plan, draws: &Draws) {
    let mut stream = draws.stream(Domain::WirePlan, 6);
    let uploads: Vec<u32> = plan
        .requests
        .iter()
        .filter(|request| {
            plan.wire.protocol_of(&request.wire) != ClientProtocol::Http1
                && request.wire.body_bytes > 1
        })
        .map(|request| request.id)
        .collect();
    if uploads.is_empty() || !stream.chance(WITHDRAWN_PERCENT) {
        return;
    }
    let request = stream.pick(&uploads);
    let mut add = |family, moment, after_us, act| {
        let when = When::Request { request, moment };
        plan.directives.push(Directive { family, when, after_us, act });
    };
    if stream.chance(60) {
        let stop = Act::StopReading { for_us: None };
        add(Family::PeerStopsReading, Moment::Read, 0, stop);
    }
    add(Family::Cancel, Moment::HalfSent, stream.wide(1, 1_000), Act::Cancel);
}

/// Some plans get further requests whose bodies are larger than all buffers of the proxy, and whose
/// readers stop. After a while the clients have enough of them.
fn add_hoard(plan: &mut Plan, draws: &Draws, least_window: u32) {
    let family = Family::Hoard;
    let mut stream = draws.stream(Domain::Faults, family as u64);
    if !stream.chance(HOARDS_PERCENT) {
        return;
    }
    plan.origin.push_str(&format!(" {}", family.code()));
    let upload = stream.chance(50) && least_window >= HOARD_BYTES / ROUNDS_MAX;
    for number in 0..stream.between(1, 3) {
        let request = HOARDER + number as u32;
        let at_us = stream.below(1_000_000);
        let wire = RequestWire {
            client: stream.below(12) as u8,
            body_bytes: if upload { HOARD_BYTES } else { 0 },
            chunked: stream.chance(40),
            answer_bytes: if upload { 0 } else { HOARD_BYTES },
            framing: stream.pick(&[Framing::Length, Framing::Chunked, Framing::Close]),
            piece_bytes: u16::MAX,
            ..RequestWire::default()
        };
        plan.requests.push(RequestPlan {
            at_us,
            idempotent: stream.chance(60),
            body_us: upload.then_some(1_000),
            outgrows_buffer: upload,
            wire,
            ..RequestPlan::plain(request)
        });
        let stops = [Act::StopReading { for_us: None }, Act::StarveUpload { for_us: None }];
        let (moment, stop) = match upload {
            true => (Moment::Read, stream.pick(&stops)),
            false => (Moment::Answered, Act::ClientStopsReading { for_us: None }),
        };
        let enough_us = stream.between(1_000_000, 4_000_000);
        for (after_us, act) in [(0, stop), (enough_us, Act::Cancel)] {
            let when = When::Request { request, moment };
            plan.directives.push(Directive { family, when, after_us, act });
        }
        if !upload {
            // Whatever the client's windows are, its process does not read them.
            let effect = WireEffect::Asleep { for_us: Some(enough_us) };
            let act = Act::Wire { direction: Direction::Out, effect };
            let when = When::AtClient { request, moment };
            plan.directives.push(Directive { family, when, after_us: 0, act });
        }
        plan.heal.at_us = plan.heal.at_us.max(at_us + 2 * enough_us);
    }
}

fn add_faults(plan: &mut Plan, draws: &Draws, profile: Profile) {
    for family in [Family::SplitFrames, Family::Wire] {
        let mut stream = draws.stream(Domain::Faults, family as u64);
        let on = match profile {
            Profile::Swarm => stream.chance(50),
            Profile::Storm | Profile::Dark => true,
            Profile::Calm | Profile::Herd | Profile::Drain | Profile::Operate => false,
        };
        if !on {
            continue;
        }
        plan.origin.push_str(&format!(" {}", family.code()));
        for _ in 0..stream.wide(1, 12) {
            let directive = directive(plan, family, &mut stream);
            plan.directives.push(directive);
        }
    }
    let mut stream = draws.stream(Domain::Faults, Family::Operation as u64);
    let on = match profile {
        Profile::Swarm => stream.chance(35),
        Profile::Storm | Profile::Operate => true,
        Profile::Calm | Profile::Herd | Profile::Drain | Profile::Dark => false,
    };
    if on {
        plan.origin.push_str(&format!(" {}", Family::Operation.code()));
        operation::add(plan, &mut stream);
    }
    addresses::add(plan, &mut draws.stream(Domain::Faults, Family::Addresses as u64));
}

fn directive(plan: &Plan, family: Family, stream: &mut RandomStream) -> Directive {
    let connection = 1 + stream.wide(0, 6) as u32;
    let when = if stream.chance(50) {
        let backend = stream.below(plan.backends.len() as u64) as u16;
        When::Connected { backend, connection }
    } else {
        When::Client { client: stream.below(plan.wire.clients.len() as u64) as u8, connection }
    };
    let effect = match family {
        Family::SplitFrames => split(stream),
        _ => any_effect(plan, stream),
    };
    let direction = stream.pick(&[Direction::In, Direction::Out]);
    let act = Act::Wire { direction, effect };
    Directive { family, when, after_us: stream.wide(0, 2_000_000), act }
}

/// Bytes in small pieces.
pub(super) fn split(stream: &mut RandomStream) -> WireEffect {
    if stream.chance(30) {
        WireEffect::PiecesAtFrames
    } else {
        WireEffect::Pieces(stream.pick(&[1, 1, 3, 7, 100]))
    }
}

/// Any other effect of the network.
pub(super) fn any_effect(plan: &Plan, stream: &mut RandomStream) -> WireEffect {
    let for_us = stream.chance(80).then(|| stream.wide(1_000, 20_000_000));
    match stream.below(9) {
        0 => WireEffect::Delay { by_us: stream.wide(1_000, 5_000_000) },
        1 => WireEffect::Stall { for_us },
        2 => {
            let bodies = plan.requests.iter().map(|request| request.wire);
            let most = bodies.map(|wire| wire.body_bytes.max(wire.answer_bytes)).max();
            let least = most.unwrap_or(0) / ROUNDS_MAX;
            WireEffect::Room((stream.wide(1, 10_000) as u32).max(least))
        }
        3 => WireEffect::End,
        4 => WireEffect::Reset,
        5 => WireEffect::ErrorAfter(stream.wide(0, 10_000) as u32),
        6 => WireEffect::Vanish,
        7 => WireEffect::Asleep { for_us },
        _ => WireEffect::NoCloseNotify,
    }
}
