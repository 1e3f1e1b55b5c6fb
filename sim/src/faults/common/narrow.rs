//! Leaves out of a plan what only one of the two worlds has, or has in another way.

use std::collections::BTreeSet;
use std::time::Duration;

use baton::pool::{Config, Strategy};

use crate::draw::Draws;
use crate::plan::{
    Act, BackendWire, ClientPlan, ClientProtocol, Directive, Framing, Moment, Plan,
    REPLAY_BUFFER_BYTES, RequestPlan, Span, Stage, When, WirePlan,
};

/// Faults stop after this time: then everything that has a deadline has ended.
pub(super) const HEALS_AT_US: u64 = 20_000_000;
/// The longest wait for a part of an answer.
const ANSWER_MOST: Duration = Duration::from_secs(2);
/// The longest upload. The model of the shell sends a body at the pace of its client, again for
/// each attempt; the shell sends at once what it has.
pub(super) const UPLOAD_US: u64 = 8_000;
/// The least time between a part of an answer and a fault of its stream or connection. What arrives
/// together is one step of the shell, and a connection that breaks loses what is in flight.
pub(super) const SETTLED_US: u64 = 23_000;
/// The time from a GOAWAY to a reset that would come at the same moment.
const AFTER_GOAWAY_US: u64 = 1_100;
/// The longest answer to a client over HTTP/2. Some of them have windows of 100 bytes, and each
/// takes a round trip.
const ANSWER_BYTES: u32 = 400;

/// Leaves out of a plan what only one of the worlds has.
pub(crate) fn narrow(plan: &mut Plan) {
    plan.deviations.clear();
    plan.network.shell = at(0);
    plan.network.timer = at(0);
    plan.pool.generations = None;
    (plan.pool.workers, plan.pool.replaced_at_us) = (1, None);
    plan.heal.at_us = plan.heal.at_us.max(HEALS_AT_US);
    narrow_pool(&mut plan.pool.config);
    narrow_directives(plan);
    narrow_backends(plan);
    let clients = plan.wire.clients.iter().map(|client| ClientPlan {
        protocol: match client.protocol {
            // The client that writes frames pauses within uploads.
            ClientProtocol::Frames => ClientProtocol::Http2,
            protocol => protocol,
        },
        ..ClientPlan::default()
    });
    plan.wire = WirePlan { clients: clients.collect(), ..WirePlan::default() };
    let draws = Draws::new(plan.seed);
    for request in &mut plan.requests {
        // The models know no answer that ends with its head.
        request.idempotent &= !request.is_head(draws);
        // Such an HTTP/1.1 backend closes the connection, and says so in the head.
        request.early_response &= !plan.pool.exclusive;
        narrow_request(request, client_of(&plan.wire, request) == ClientProtocol::Http2);
    }
}

/// Always this time.
pub(super) fn at(time_us: u64) -> Span {
    Span { least_us: time_us, most_us: time_us }
}

/// The protocol of a request's client.
fn client_of(wire: &WirePlan, request: &RequestPlan) -> ClientProtocol {
    let client = wire.clients.get(wire.client_of(&request.wire)).copied();
    client.unwrap_or_default().protocol
}

fn narrow_backends(plan: &mut Plan) {
    // The library sends no other GOAWAY than a true one, after one without a last id.
    let goes_away = plan.directives.iter().any(|directive| {
        let gracefully = matches!(directive.act, Act::Restart { graceful: true, .. });
        gracefully || matches!(directive.act, Act::GoAway { .. } | Act::Settings { .. })
    });
    // The proxy knows from its configuration that a backend speaks HTTP/1.1; the pool's world has
    // such knowledge of the first one only.
    plan.pool.exclusive = plan.backends.first().is_some_and(|backend| backend.http1);
    for (index, backend) in plan.backends.iter_mut().enumerate() {
        backend.http1 &= index == 0;
        // The shell reports a connection once it has read the first SETTINGS.
        backend.settings_late_us = None;
        let by_library = backend.wire.by_library && !goes_away;
        let by_library = by_library && backend.streams_per_connection.is_none();
        backend.wire = BackendWire { by_library, ..BackendWire::default() };
    }
}

fn narrow_request(request: &mut RequestPlan, http2: bool) {
    let room = REPLAY_BUFFER_BYTES as u32;
    let wire = &mut request.wire;
    if http2 {
        wire.answer_bytes = wire.answer_bytes.min(ANSWER_BYTES);
    }
    request.body_us = request.body_us.map(|time| time.min(UPLOAD_US));
    wire.expects = false;
    // With a length, the client has the whole answer before the backend ends it.
    wire.framing = Framing::Chunked;
    wire.body_bytes = match (request.body_us, request.outgrows_buffer) {
        (None, _) => 0,
        (Some(_), false) => wire.body_bytes.clamp(1, room - 1),
        (Some(_), true) => 2 * room,
    };
    // The library's backend takes a round trip for each piece; few pieces stay near the plan's
    // time.
    let least = (wire.answer_bytes / 2).max(wire.body_bytes / 8) + 1;
    wire.piece_bytes = wire.piece_bytes.max(least.min(u32::from(u16::MAX)) as u16);
}

/// The subjects of earlier directives.
#[derive(Default)]
struct Seen {
    /// Connections whose dial fails, and backends that restart, drain or change their weight.
    dials: BTreeSet<(u16, u32)>,
    restarts: BTreeSet<u16>,
    drains: BTreeSet<u16>,
    weights: BTreeSet<u16>,
}

fn narrow_directives(plan: &mut Plan) {
    let exclusive = plan.backends.first().is_some_and(|backend| backend.http1);
    let (wire, requests, weight) = (&plan.wire, &plan.requests, plan.pool.weight);
    let is_unread = |request: u32| {
        let request = requests.iter().find(|it| it.id == request && it.body_us.is_some());
        request.is_some_and(|it| client_of(wire, it) == ClientProtocol::Http1)
    };
    let mut seen = Seen::default();
    plan.directives.retain(|directive| {
        let agrees = match (directive.when, directive.act) {
            // An HTTP/1.1 backend sends no SETTINGS. Of several stages one fails.
            (When::Dialled { backend, connection }, Act::FailDial { stage }) => {
                let has_stage = stage != Stage::Settings || backend > 0 || !exclusive;
                has_stage && seen.dials.insert((backend, connection))
            }
            // The last restart decides in the proxy's world, the longest one in the pool's.
            (_, Act::Restart { backend, .. }) => seen.restarts.insert(backend),
            // The proxy reports no change where nothing changes.
            (_, Act::Drain { backend, .. }) => seen.drains.insert(backend),
            (_, Act::Weight { backend, weight: new }) => {
                new != weight && seen.weights.insert(backend)
            }
            // Behind a body that waits with its request, the proxy cannot see its client close.
            (When::Request { request, moment }, Act::Cancel) => {
                moment == Moment::Answered || !is_unread(request)
            }
            (_, Act::Cancel) => false,
            _ => true,
        };
        agrees && is_common(directive)
    });
    let is_now = |directive: &Directive| directive.after_us == 0;
    let goes_away = |directive: &Directive| matches!(directive.act, Act::GoAway { .. });
    let goes_away_now = plan.directives.iter().any(|it| is_now(it) && goes_away(it));
    let mut resets = None;
    for directive in &mut plan.directives {
        settle(directive);
        // Of a reset and a GOAWAY at the same moment, another one is first in each world.
        if goes_away_now && is_now(directive) && matches!(directive.act, Act::Reset { .. }) {
            directive.after_us = AFTER_GOAWAY_US;
        }
        // Of two resets of a stream, the library's backend sends the last one.
        if let Act::Reset { code } = &mut directive.act {
            *code = *resets.get_or_insert(*code);
        }
    }
}

/// Moves a fault away from the answer.
fn settle(directive: &mut Directive) {
    let answered = match directive.when {
        When::Stream { moment, .. } | When::Request { moment, .. } => {
            matches!(moment, Moment::Answered | Moment::Ended)
        }
        _ => false,
    };
    let least = match directive.act {
        Act::Break => SETTLED_US,
        Act::GoAway { .. } if answered => SETTLED_US + 1_000,
        Act::Reset { .. } if answered => SETTLED_US + 2_000,
        _ => 0,
    };
    directive.after_us = directive.after_us.max(least);
}

/// Leaves out of a pool's configuration what makes the worlds differ.
fn narrow_pool(config: &mut Config) {
    // The number of draws depends on the number of frames that arrive, which the models merge.
    config.strategy = match config.strategy {
        Strategy::Random => Strategy::RoundRobin,
        Strategy::LeastLoaded => Strategy::Weighted,
        strategy => strategy,
    };
    // All requests have ended when the faults stop.
    let timeouts = &mut config.timeouts;
    timeouts.response_head = timeouts.response_head.min(ANSWER_MOST);
    timeouts.response_stall = timeouts.response_stall.min(ANSWER_MOST);
    timeouts.body_stall = timeouts.body_stall.min(ANSWER_MOST);
}

/// True if both worlds have the moment and the effect of a directive.
fn is_common(directive: &Directive) -> bool {
    let moment = match directive.when {
        When::Client { .. } | When::AtClient { .. } => return false,
        When::Stream { moment, .. } | When::Request { moment, .. } => Some(moment),
        When::Start | When::Dialled { .. } | When::Connected { .. } => None,
    };
    // The proxy's peers cannot see an order of the pool, nor what is written and not read yet.
    let seen = !matches!(moment, Some(Moment::Ordered | Moment::Written));
    seen && matches!(
        directive.act,
        Act::Settings { .. }
            | Act::Cancel
            | Act::GoAway { .. }
            | Act::Break
            | Act::FailDial { stage: Stage::Tcp | Stage::Settings }
            | Act::Reset { .. }
            | Act::NeverFinish
            | Act::Restart { .. }
            | Act::DisconnectAll
            | Act::Drain { .. }
            | Act::Undrain { .. }
            | Act::Weight { .. }
            | Act::Status { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Family, Profile};
    use crate::plan::{Code, LastId, WorldName};

    #[test]
    fn what_only_one_world_has_is_left_out() {
        let mut plan = crate::faults::plan(7, Profile::Storm, WorldName::Proxy);
        narrow(&mut plan);
        let bytes = |directive: &Directive| matches!(directive.act, Act::Wire { .. });
        assert!(!plan.directives.iter().any(bytes));
        assert!(!plan.directives.is_empty(), "the rest stays");
        assert_eq!((plan.wire.workers, plan.wire.tls), (0, false));
        assert!(plan.backends[1..].iter().all(|backend| !backend.http1));
        let once = plan.clone();
        narrow(&mut plan);
        assert_eq!(plan, once);
    }

    #[test]
    fn what_the_worlds_do_in_another_way_is_left_out() {
        let mut plan = crate::faults::plan(1, Profile::Calm, WorldName::Both);
        let weight = plan.pool.weight;
        let with = |when, after_us, act| Directive { family: Family::GoAway, when, after_us, act };
        let read = When::Request { request: plan.requests[0].id, moment: Moment::Read };
        plan.directives = vec![
            with(When::Start, 1, Act::Weight { backend: 0, weight }),
            with(When::Start, 2, Act::Weight { backend: 0, weight: weight + 1 }),
            with(When::Start, 3, Act::Weight { backend: 0, weight: weight + 2 }),
            with(read, 0, Act::GoAway { last: LastId::Zero, code: Code::NoError }),
            with(read, 0, Act::Reset { code: Code::Refused }),
            with(read, 7, Act::Reset { code: Code::Cancel }),
            with(read, 0, Act::Break),
        ];
        plan.backends[0].wire.by_library = true;
        narrow(&mut plan);
        let left: Vec<_> = plan.directives.iter().map(|it| (it.after_us, it.act)).collect();
        assert_eq!(left[0], (2, Act::Weight { backend: 0, weight: weight + 1 }));
        assert_eq!(left[2], (AFTER_GOAWAY_US, Act::Reset { code: Code::Refused }));
        assert_eq!(left[3], (7, Act::Reset { code: Code::Refused }), "they have one code");
        assert_eq!(left[4], (SETTLED_US, Act::Break));
        assert_eq!(left.len(), 5);
        assert!(!plan.backends[0].wire.by_library);
    }
}
