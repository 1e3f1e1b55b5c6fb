//! Tests what is made of the bytes on the wire in the proxy's world: the frames in the story, and
//! the catalogue of what runs meet.

#![cfg(feature = "proxy")]

use std::collections::BTreeMap;

use baton::pool::HealthChecking;
use sim::coverage::Coverage;
use sim::faults::{Family, Profile, plan};
use sim::plan::{
    Act, ClientPlan, ClientProtocol, Code, Direction, Directive, Framing, Moment, Plan, Span, When,
    WireEffect, WorldName,
};
use sim::report::replay;
use sim::run::{judge, run};
use sim::story::{Filter, Line, timeline};
use sim::trace::Trace;

/// Two clients, one of each protocol, with a request each, and one backend that speaks HTTP/2.
fn scene() -> Plan {
    let mut scene = plan(3, Profile::Calm, WorldName::Proxy);
    scene.backends.truncate(1);
    scene.heal.backends.truncate(1);
    scene.requests = vec![scene.requests[0]; 2];
    scene.heal.at_us = 3_000_000;
    scene.pool.config.health_checking = HealthChecking::Off;
    (scene.backends[0].http1, scene.backends[0].max_streams) = (false, Some(4));
    scene.backends[0].work = Span { least_us: 1_000, most_us: 1_000 };
    scene.network.wire = Span { least_us: 50, most_us: 50 };
    scene.wire.tls = false;
    scene.wire.workers = 1;
    scene.wire.delayed_polls_percent = 0;
    let client = |protocol| ClientPlan { protocol, ..ClientPlan::default() };
    scene.wire.clients = vec![client(ClientProtocol::Http1), client(ClientProtocol::Frames)];
    for (client, request) in scene.requests.iter_mut().enumerate() {
        (request.id, request.at_us) = (client as u32, 1_000_000 * client as u64);
        (request.idempotent, request.early_response) = (false, false);
        request.body_us = Some(2_000);
        request.informational = 0;
        let wire = &mut request.wire;
        (wire.client, wire.expects) = (client as u8, false);
        (wire.chunked, wire.trailers, wire.body_bytes) = (true, true, 300);
        (wire.framing, wire.answer_bytes, wire.answer_trailers) = (Framing::Length, 50_000, true);
        wire.piece_bytes = 5_000;
    }
    scene
}

/// Fails with a message: the simulator keeps those of panics to itself.
fn require(holds: bool, what: &str) {
    if !holds {
        eprintln!("{what}");
    }
    assert!(holds);
}

fn story(plan: &Plan) -> Vec<Line> {
    let (run, lines) = replay(plan);
    require(run.violation.is_none(), &format!("{:?}", run.violation));
    lines
}

/// The place of the first line from a place on with all of these words.
fn find(lines: &[Line], from: usize, words: &[&str]) -> usize {
    let has = |line: &Line| {
        let text = format!("{} {}", line.text, line.orders.join(" "));
        words.iter().all(|word| text.contains(word))
    };
    let place = lines[from..].iter().position(has);
    let shown = timeline(&Filter::default().apply(lines));
    require(place.is_some(), &format!("no line with {words:?} after {from}:\n{shown}"));
    from + place.unwrap_or_default()
}

#[test]
fn a_request_is_followed_from_its_client_to_the_backend_and_back() {
    let lines = story(&scene());
    let steps: [&[&str]; 15] = [
        &["c0#1 SYN"],
        &["c0#1 POST /r0 HTTP/1.1"],
        &["r0 arrives: POST with a body", "dial b0#1"],
        &["b0#1 SYN"],
        &["b0#1 SYN ACK"],
        &["b0#1 is connected", "open b0#1/s1 for r0"],
        &["b0#1 HEADERS on stream 1: POST /r0"],
        &["c0#1 chunks: ", " bytes (r0)"],
        &["c0#1 last chunk and trailers (r0)"],
        &["b0#1", "DATA on stream 1: ", "(r0)"],
        &["b0#1 HEADERS on stream 1: trailers x-end, END_STREAM (r0)"],
        &["b0#1 HEADERS on stream 1: 200 (r0)"],
        &["c0#1 HTTP/1.1 200 (r0)"],
        // The client knows the length; the trailers of the backend come later.
        &["c0#1 FIN"],
        &["b0#1 HEADERS on stream 1: trailers x-end, END_STREAM (r0)"],
    ];
    steps.iter().fold(0, |from, words| find(&lines, from, words) + 1);
    let steps: [&[&str]; 6] = [
        &["c1#1 preface of HTTP/2"],
        &["c1#1 HEADERS on stream 1: POST /r1"],
        &["r1 arrives: POST with a body", "for r1"],
        &["b0#1 HEADERS on stream 3: POST /r1"],
        &["b0#1 HEADERS on stream 3: 200 (r1)"],
        &["c1#1 HEADERS on stream 1: 200 (r1)"],
    ];
    steps.iter().fold(0, |from, words| find(&lines, from, words) + 1);
    assert!(lines.is_sorted_by(|one, next| one.at_us <= next.at_us));
}

#[test]
fn frames_of_a_body_in_a_row_are_one_line() {
    let lines = story(&scene());
    let data = |line: &&Line| line.text.contains("DATA on stream 3: ") && line.text.contains("b0");
    let bytes = |line: &Line| {
        let (_, rest) = line.text.split_once("stream 3: ").expect("it is about the stream");
        rest.split(' ').next().and_then(|bytes| bytes.parse::<u64>().ok()).expect("a number")
    };
    let down: Vec<&Line> = lines.iter().filter(data).filter(|line| bytes(line) > 300).collect();
    assert!(down.iter().any(|line| line.text.contains(" × DATA")), "{down:?}");
    let all = lines.iter().filter(data).map(bytes).sum::<u64>();
    assert_eq!(all, 300 + 50_000, "the bytes of the request and of its answer");
}

#[test]
fn names_are_whole_with_several_workers() {
    for seed in [7, 12, 60_003] {
        let plan = plan(seed, Profile::Swarm, WorldName::Proxy);
        let (_, lines) = replay(&plan);
        let text = timeline(&Filter::default().apply(&lines));
        assert!(!text.contains('?'), "seed {seed}:\n{text}");
    }
    let mut plan = scene();
    plan.wire.workers = 2;
    let lines = story(&plan);
    find(&lines, 0, &["worker 0: "]);
    find(&lines, 0, &["worker 1: "]);
}

#[test]
fn what_never_arrives_is_marked() {
    let mut plan = scene();
    plan.directives = vec![Directive {
        family: Family::Wire,
        when: When::AtClient { request: 0, moment: Moment::Answered },
        after_us: 0,
        act: Act::Wire { direction: Direction::Out, effect: WireEffect::Vanish },
    }];
    let (_, lines) = replay(&plan);
    let place = find(&lines, 0, &["c0#1 HTTP/1.1 200 (r0), never arrives"]);
    assert!(place > find(&lines, 0, &["X6 wire: Wire"]));
}

#[test]
fn over_tls_the_story_has_what_peers_read_and_write() {
    let mut plan = scene();
    plan.wire.tls = true;
    let lines = story(&plan);
    let steps: [&[&str]; 6] = [
        &["c0#1 SYN"],
        &["c0#1 TLS: ", " bytes"],
        &["c0#1 POST /r0 HTTP/1.1, written by c0"],
        &["b0#1 HEADERS on stream 1: POST /r0, read by b0"],
        &["b0#1 HEADERS on stream 1: 200 (r0), written by b0"],
        &["c0#1 HTTP/1.1 200 (r0), read by c0"],
    ];
    steps.iter().fold(0, |from, words| find(&lines, from, words) + 1);
}

#[test]
fn who_watches_changes_nothing() {
    for seed in 0..12 {
        let mut plan = plan(seed, Profile::Swarm, WorldName::Proxy);
        plan.wire.tls = seed % 4 == 0;
        let (run, _) = replay(&plan);
        assert_eq!(run.hash, judge(&plan).hash, "seed {seed}");
    }
}

#[test]
fn the_story_of_one_client_has_only_its_lines() {
    let lines = story(&scene());
    let filter = Filter { only: vec!["c1".to_owned()], ..Filter::default() };
    let own = filter.apply(&lines);
    assert!(own.iter().any(|line| line.text.contains("c1#1 SYN")));
    assert!(own.iter().all(|line| !line.text.starts_with("c0#") && !line.text.starts_with("b0#")));
}

/// The cells of the catalogue that a run with these directives meets, with their counts.
fn met(directives: &[(When, u64, Act)]) -> BTreeMap<String, u64> {
    let mut plan = scene();
    let directive =
        |&(when, after_us, act)| Directive { family: Family::Wire, when, after_us, act };
    plan.directives = directives.iter().map(directive).collect();
    let mut coverage = Coverage::of_everything();
    let run = run(&plan, &mut coverage, &mut Trace::hash_only());
    require(run.violation.is_none(), &format!("{:?}", run.violation));
    let entries = coverage.entries(WorldName::Proxy).into_iter();
    let met = entries.filter(|entry| entry.count > 0);
    met.map(|entry| (format!("{}: {}", entry.table, entry.name), entry.count)).collect()
}

/// The cells of acts that are met.
fn acts(directives: &[(When, u64, Act)]) -> Vec<String> {
    let met = met(directives).into_keys();
    met.filter(|name| name.contains("connection ×") || name.starts_with("process")).collect()
}

fn same(found: &[String], expected: &[String]) {
    require(found == expected, &format!("{found:?}, expected {expected:?}"));
}

#[test]
fn an_act_counts_for_the_phase_that_its_connection_is_in() {
    let delay = Act::Wire { direction: Direction::In, effect: WireEffect::Delay { by_us: 1 } };
    let at_client = |moment| (When::AtClient { request: 1, moment }, 0, delay);
    let at_backend = |moment| (When::Request { request: 1, moment }, 0, delay);
    let cell =
        |side: &str, phase: &str| vec![format!("{side} connection × phase: delay in × {phase}")];
    same(&acts(&[]), &[]);
    same(&acts(&[at_client(Moment::Read)]), &cell("client", "body up"));
    same(&acts(&[at_backend(Moment::Read)]), &cell("backend", "body up"));
    same(&acts(&[at_backend(Moment::Sent)]), &cell("backend", "waiting"));
    let dialled = When::Dialled { backend: 0, connection: 1 };
    same(&acts(&[(dialled, 0, delay)]), &cell("backend", "dial"));
    let connected = When::Client { client: 0, connection: 1 };
    same(&acts(&[(connected, 0, delay)]), &cell("client", "idle"));
}

#[test]
fn an_act_on_a_request_counts_for_its_own_phase() {
    let cancel = (When::Request { request: 0, moment: Moment::Read }, 0, Act::Cancel);
    same(&acts(&[cancel]), &["client connection × phase: cancel × body up".to_owned()]);
    let reset = Act::Reset { code: Code::Internal };
    let reset = (When::Request { request: 0, moment: Moment::Sent }, 0, reset);
    let met = met(&[reset]);
    assert_eq!(met["backend connection × phase: reset of the stream × waiting"], 1);
    assert_eq!(met["code: RST_STREAM from a backend: INTERNAL_ERROR"], 1);
    assert!(met.contains_key("reason: attempt_failed"), "{met:?}");
    assert!(met.contains_key("outcome: rejected × HTTP/1.1 × HTTP/2"), "{met:?}");
}

#[test]
fn an_act_on_the_process_counts_with_or_without_requests_in_flight() {
    let weight = Act::Weight { backend: 0, weight: 2 };
    let table = "process: reload that changes a weight";
    same(&acts(&[(When::Start, 0, weight)]), &[format!("{table} × nothing in flight")]);
    let read = When::Request { request: 0, moment: Moment::Read };
    same(&acts(&[(read, 0, weight)]), &[format!("{table} × requests in flight")]);
    let stop = (When::Start, 1, Act::Shutdown);
    let names = acts(&[stop, (When::Start, 2, Act::Shutdown)]);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("process: second shutdown"), "{names:?}");
}
