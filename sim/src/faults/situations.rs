//! Faults that belong together: each group makes one situation in which proxies once failed, and
//! which faults that are drawn one by one hardly ever make. Their draws are apart from all others.

use std::ops::RangeInclusive;

use super::{Family, LEAVER, Profile, UPLOADER};
use crate::draw::{Domain, Draws, RandomStream};
use crate::plan::{
    Act, ClientProtocol, Direction, Directive, Framing, Moment, Plan, RequestPlan, RequestWire,
    When, WireEffect,
};

/// Makes a situation, if the plan has what it needs.
type Maker = fn(&Plan, &mut RandomStream) -> Option<Situation>;

/// A group of faults.
struct Situation {
    /// A further request.
    request: Option<RequestPlan>,
    directives: Vec<Directive>,
    /// Faults must not stop before this time.
    lasts_until_us: u64,
}

/// The situations: the share of plans in percent, and the maker. Never reorder them: their places
/// are keys of draws.
const SITUATIONS: [(u64, Maker); 6] = [
    (10, response_waits_for_its_reader),
    (15, index_of_a_removed_backend_is_used_again),
    (8, pool_is_replaced_under_a_response),
    (50, response_is_torn_off),
    (6, upload_goes_on_behind_its_response),
    (10, upload_breaks_off_before_its_attempt_does),
];

/// Bytes of a response of which some can be kept back: not fewer, and not more than the proxy has
/// buffers for.
const HELD_BYTES: RangeInclusive<u32> = 2_000..=100_000;
/// Room for bytes between two systems, at most, and the share of a response that it is at least.
const ROOM_MAX: u32 = 10_000;
const ROOM_SHARE: u32 = 100;
/// Times for which a client reads nothing: the longer ones exceed the time after which the proxy
/// puts idle connections aside.
const PAUSE_US: [u64; 2] = [500_000, 4_000_000];
/// The time that the body of a further request takes.
const UPLOAD_US: u64 = 3_000_000;
/// Windows that a backend enlarges many times for half of an upload.
const SLOW_WINDOWS: RangeInclusive<u32> = 1..=100;
/// The time for which backends cannot be reached.
const UNREACHABLE_US: u64 = 20_000_000;

/// Adds the situations of a plan.
pub(super) fn add(plan: &mut Plan, profile: Profile) {
    for (place, make, mut stream) in drawn(plan, profile, Domain::Situations, &SITUATIONS) {
        if let Some(situation) = make(plan, &mut stream) {
            plan.origin.push_str(&format!(" situation {place}"));
            plan.requests.extend(situation.request);
            plan.directives.extend(situation.directives);
            plan.heal.at_us = plan.heal.at_us.max(situation.lasts_until_us);
        }
    }
}

/// Draws which of these situations, each with its share of plans in percent, a plan has. Returns
/// each one's place, its maker, and the draws for it.
fn drawn<T: Copy>(
    plan: &Plan,
    profile: Profile,
    domain: Domain,
    situations: &[(u64, T)],
) -> Vec<(usize, T, RandomStream)> {
    let draws = Draws::new(plan.seed);
    if !matches!(profile, Profile::Swarm | Profile::Storm | Profile::Dark | Profile::Operate) {
        return Vec::new();
    }
    let drawn = situations.iter().enumerate().filter_map(|(place, (share, make))| {
        let mut stream = draws.stream(domain, place as u64);
        stream.chance(*share).then_some((place, *make, stream))
    });
    drawn.collect()
}

/// Adds to a plan, if it has what is needed.
pub(super) type Addition = fn(&mut Plan, &mut RandomStream);

/// Carries out the additions that a plan gets, each with its share of plans in percent. `name` is
/// that of the group in the origin of the plan.
pub(super) fn add_drawn(
    plan: &mut Plan,
    profile: Profile,
    domain: Domain,
    name: &str,
    additions: &[(u64, Addition)],
) {
    for (place, make, mut stream) in drawn(plan, profile, domain, additions) {
        plan.origin.push_str(&format!(" {name} {place}"));
        make(plan, &mut stream);
    }
}

/// The id of the next request that is added.
pub(super) fn next_id(plan: &Plan) -> u32 {
    plan.requests.last().map_or(0, |request| request.id + 1)
}

/// Adds plain requests that arrive at the same time. Returns the id of the first.
pub(super) fn add_requests(plan: &mut Plan, at_us: u64, count: u32) -> u32 {
    let from = next_id(plan);
    let requests = (from..from + count).map(|id| RequestPlan { at_us, ..RequestPlan::plain(id) });
    plan.requests.extend(requests);
    from
}

/// One of the requests of which something holds.
fn request<'a>(
    plan: &'a Plan,
    stream: &mut RandomStream,
    is: impl Fn(&RequestPlan) -> bool,
) -> Option<&'a RequestPlan> {
    let fitting: Vec<&RequestPlan> = plan.requests.iter().filter(|it| is(it)).collect();
    (!fitting.is_empty()).then(|| stream.pick(&fitting))
}

/// A client over HTTP/1.1 reads nothing of a response for a while, and the last bytes of it have no
/// room between the systems.
fn response_waits_for_its_reader(plan: &Plan, stream: &mut RandomStream) -> Option<Situation> {
    let request = request(plan, stream, |request| {
        plan.wire.protocol_of(&request.wire) == ClientProtocol::Http1
            && HELD_BYTES.contains(&request.wire.answer_bytes)
    })?;
    let RequestPlan { id, at_us, wire, .. } = *request;
    let bytes = wire.answer_bytes;
    let room = stream.between((bytes / ROOM_SHARE).into(), (bytes / 2).min(ROOM_MAX).into());
    let [least, most] = PAUSE_US;
    let for_us = stream.between(least, most);
    let act =
        Act::Wire { direction: Direction::Out, effect: WireEffect::Room((room as u32).max(1)) };
    let when = |moment| When::Request { request: id, moment };
    let narrow = When::AtClient { request: id, moment: Moment::Arrived };
    let stop = Act::ClientStopsReading { for_us: Some(for_us) };
    Some(Situation {
        request: None,
        directives: vec![
            Directive { family: Family::Wire, when: narrow, after_us: 0, act },
            Directive {
                family: Family::ClientStopsReading,
                when: when(Moment::Answered),
                after_us: 0,
                act: stop,
            },
        ],
        lasts_until_us: at_us + most + 1_000_000,
    })
}

/// A backend is removed while it has a request that cannot go elsewhere at once, and another one is
/// added: it gets the place of the removed one in the proxy's tables.
fn index_of_a_removed_backend_is_used_again(
    plan: &Plan,
    stream: &mut RandomStream,
) -> Option<Situation> {
    let places = 0..plan.backends.len() as u16;
    let is_spare = |place: &u16| plan.backends[usize::from(*place)].spare;
    let (spare, present): (Vec<u16>, Vec<u16>) = places.partition(is_spare);
    if spare.is_empty() || present.len() < 2 {
        return None;
    }
    let RequestPlan { id, at_us, .. } = *request(plan, stream, |request| request.idempotent)?;
    let (removed, added) = (stream.pick(&present), stream.pick(&spare));
    let added_after_us = stream.wide(10_000, 500_000);
    let cancels = stream.chance(50);
    let mut directives = Vec::new();
    let mut inject = |family, after_us, act| {
        let when = When::Request { request: id, moment: Moment::Read };
        directives.push(Directive { family, when, after_us, act });
    };
    for backend in present.into_iter().filter(|it| *it != removed).chain([added]) {
        let act = Act::Unreachable { backend, hangs: true, for_us: UNREACHABLE_US };
        inject(Family::Unreachable, 0, act);
    }
    inject(Family::Reconfiguration, 0, Act::Remove { backend: removed });
    inject(Family::Restart, 1_000, Act::DisconnectAll);
    let added = Act::Add { backend: added, weight: 1 };
    inject(Family::Reconfiguration, added_after_us, added);
    if cancels {
        inject(Family::Cancel, added_after_us + stream.wide(100_000, 1_000_000), Act::Cancel);
    }
    Some(Situation { request: None, directives, lasts_until_us: at_us + 4_000_000 })
}

/// A reload replaces a pool that has a response which takes longer than the deadline of a process
/// that ends.
fn pool_is_replaced_under_a_response(plan: &Plan, stream: &mut RandomStream) -> Option<Situation> {
    let longest = plan.backends.iter().map(|backend| backend.body.most_us).max()?;
    let drain = plan.pool.config.timeouts.drain.as_micros();
    if drain >= u128::from(longest) {
        return None;
    }
    let RequestPlan { id, at_us, .. } =
        *request(plan, stream, |request| request.wire.answer_bytes > 0)?;
    let moment = stream.pick(&[Moment::Read, Moment::Answered, Moment::Answered]);
    let when = When::Request { request: id, moment };
    let after_us = stream.wide(0, 10_000);
    let (family, act) = (Family::Reconfiguration, Act::Replace);
    let directives = vec![Directive { family, when, after_us, act }];
    Some(Situation { request: None, directives, lasts_until_us: at_us + 2_000_000 })
}

/// The connection of a backend ends within responses that end with it, and TLS has not announced
/// that end: an attacker may have made it.
fn response_is_torn_off(plan: &Plan, stream: &mut RandomStream) -> Option<Situation> {
    if !plan.wire.tls || plan.backends.iter().all(|backend| !backend.http1) {
        return None;
    }
    let mut directives = Vec::new();
    let mut lasts_until_us = 0;
    for _ in 0..4 {
        let RequestPlan { id, at_us, .. } = *request(plan, stream, |request| {
            request.wire.framing == Framing::Close && request.wire.answer_bytes > 0
        })?;
        let longest = plan.backends.iter().map(|backend| backend.body.most_us).max()?;
        directives.push(Directive {
            family: Family::Wire,
            when: When::Request { request: id, moment: Moment::Answered },
            after_us: stream.wide(0, longest),
            act: Act::Wire { direction: Direction::In, effect: WireEffect::End },
        });
        lasts_until_us = lasts_until_us.max(at_us + 2_000_000);
    }
    Some(Situation { request: None, directives, lasts_until_us })
}

/// A client over HTTP/1.1 sends its request for long after it has the whole response, whose end the
/// backend does not send.
fn upload_goes_on_behind_its_response(plan: &Plan, stream: &mut RandomStream) -> Option<Situation> {
    if plan.backends.iter().all(|backend| backend.http1) {
        return None;
    }
    let mut clients = plan.wire.clients.iter();
    let client = clients.position(|client| client.protocol == ClientProtocol::Http1)? as u8;
    let body_bytes = stream.between(10, 1_000) as u32;
    let at_us = stream.below(1_000_000);
    let wire = RequestWire {
        client,
        body_bytes,
        chunked: stream.chance(40),
        piece_bytes: (body_bytes / 10) as u16,
        ..RequestWire::default()
    };
    let request = RequestPlan {
        at_us,
        idempotent: stream.chance(60),
        body_us: Some(UPLOAD_US),
        early_response: true,
        wire,
        ..RequestPlan::plain(UPLOADER)
    };
    let lasts_until_us = at_us + 2 * UPLOAD_US;
    let when = When::Request { request: UPLOADER, moment: Moment::Answered };
    let (family, act) = (Family::NeverCloses, Act::NeverFinish);
    let directives = vec![Directive { family, when, after_us: 0, act }];
    Some(Situation { request: Some(request), directives, lasts_until_us })
}

/// A client leaves within its upload, which a backend takes slowly, and then that backend is lost.
fn upload_breaks_off_before_its_attempt_does(
    plan: &Plan,
    stream: &mut RandomStream,
) -> Option<Situation> {
    let mut backends = plan.backends.iter();
    if !backends.any(|backend| !backend.http1 && SLOW_WINDOWS.contains(&backend.wire.window)) {
        return None;
    }
    let body_bytes = stream.between(400, 1_000) as u32;
    let at_us = stream.below(1_000_000);
    let wire = RequestWire {
        client: stream.below(12) as u8,
        body_bytes,
        chunked: stream.chance(60),
        piece_bytes: stream.pick(&[10, 100, 1_000]),
        ..RequestWire::default()
    };
    let request = RequestPlan {
        at_us,
        body_us: Some(stream.wide(100, 10_000)),
        wire,
        ..RequestPlan::plain(LEAVER)
    };
    let leaves = Act::Wire { direction: Direction::In, effect: WireEffect::End };
    let directives = vec![
        Directive {
            family: Family::Wire,
            when: When::AtClient { request: LEAVER, moment: Moment::HalfSent },
            after_us: 0,
            act: leaves,
        },
        Directive {
            family: Family::Restart,
            when: When::Start,
            after_us: at_us + stream.wide(2_000, 100_000),
            act: Act::DisconnectAll,
        },
    ];
    Some(Situation { request: Some(request), directives, lasts_until_us: at_us + 1_000_000 })
}
