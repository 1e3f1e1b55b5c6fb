//! A good run, made by hand, that tests change.
//!
//! | request | what happens |
//! |---|---|
//! | 1 | GET from an HTTP/1.1 client: 300 bytes from backend 0, which speaks HTTP/2 |
//! | 2 | PUT from the same client: refused by backend 0, then answered by backend 1, which speaks HTTP/1.1 |
//! | 3 | POST from an HTTP/2 client: 503 after the queue timeout |
//! | 4 | GET from the HTTP/2 client, which cancels it |

use std::collections::BTreeMap;

use baton::proxy::seams::Signal;
use serde_json::{Value, json};

use crate::faults::{Family, Profile};
use crate::plan::{
    Act, BackendPlan, ClientPlan, ClientProtocol, Direction, Directive, Framing, Plan, PoolPlan,
    RequestPlan, RequestWire, Span, When, WirePlan, WorldName,
};
use crate::proxy::content::{Body, Seen};
use crate::proxy::frame_count::{Counted, FrameCounts, Kind, Peer};
use crate::proxy::frame_log::Connection;
use crate::proxy::hub::Hub;
use crate::proxy::idle::IdleClient;
use crate::proxy::ledger::{Answer, Dial, DialEnd, End, Execution, Received, trailer};
use crate::proxy::network::{AtProxy, ClientReset, Delivery, Key};
use crate::proxy::races::Race;
use crate::proxy::records::{Open, Records, Withdrawn};
use crate::proxy::reported::Conversation;
use crate::proxy::settings::LISTENER;
use crate::proxy::situation::Situations;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// The records of a run, to be changed.
pub(super) struct Scene {
    pub(super) plan: Plan,
    pub(super) begun: Vec<(u32, u64)>,
    pub(super) not_sent: Vec<u32>,
    pub(super) ends: Vec<(u32, Received)>,
    pub(super) executions: Vec<Execution>,
    pub(super) faults: Vec<String>,
    /// Lines with their times.
    pub(super) lines: Vec<(u64, Value)>,
    pub(super) metrics: Vec<(String, f64)>,
    pub(super) pools: &'static str,
    pub(super) ended_in_time: bool,
    pub(super) ended_at: Option<u64>,
    pub(super) signals: Vec<(u64, Signal)>,
    pub(super) situations: Situations,
    pub(super) dials: Vec<Dial>,
    pub(super) races: Vec<Race>,
    pub(super) tasks_left: Vec<&'static str>,
    pub(super) pools_left: u64,
    pub(super) network_left: Vec<String>,
    pub(super) recovered: Option<bool>,
    pub(super) open: [Open; 2],
    pub(super) frames: [FrameCounts; 2],
    pub(super) wire: BTreeMap<Key, Connection>,
    pub(super) reported: Conversation,
    pub(super) at_proxy: AtProxy,
    pub(super) client_resets: Vec<ClientReset>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) idle_ended_at: Vec<(IdleClient, u64)>,
    pub(super) withdrawn: Vec<Withdrawn>,
}

impl Scene {
    /// A good run.
    pub(super) fn good() -> Self {
        Self {
            plan: plan(),
            begun: (1..=4).map(|id| (id, u64::from(id) * SECOND)).collect(),
            not_sent: Vec::new(),
            ends: ends(),
            executions: executions(),
            faults: Vec::new(),
            lines: lines(),
            metrics: metrics(),
            pools: "[]",
            ended_in_time: true,
            ended_at: Some(101 * SECOND),
            signals: vec![(101 * SECOND, Signal::Stop)],
            situations: Situations::default(),
            dials: dials(),
            races: Vec::new(),
            tasks_left: Vec::new(),
            pools_left: 0,
            network_left: Vec::new(),
            recovered: Some(true),
            open: [0, 1].map(|more| Open { clients: 4 + more, backends: 1, tasks: Vec::new() }),
            frames: [(); 2].map(|()| frames()),
            wire: BTreeMap::new(),
            reported: Conversation::default(),
            at_proxy: AtProxy::default(),
            client_resets: Vec::new(),
            deliveries: Vec::new(),
            idle_ended_at: Vec::new(),
            withdrawn: Vec::new(),
        }
    }

    /// Adds a directive that takes effect at the start.
    pub(super) fn inject(&mut self, when: When, act: Act) {
        self.plan.directives.push(Directive { family: Family::Wire, when, after_us: 0, act });
    }

    /// How a request ended.
    pub(super) fn end(&mut self, id: u32) -> &mut Received {
        let mut ends = self.ends.iter_mut();
        &mut ends.find(|(known, _)| *known == id).expect("it has ended").1
    }

    /// The line of a request in the access log.
    pub(super) fn line(&mut self, id: u32) -> &mut Value {
        let path = format!("/r{id}");
        let mut lines = self.lines.iter_mut();
        &mut lines.find(|(_, line)| line["path"] == *path).expect("it has a line").1
    }

    /// Adds a line of the log.
    pub(super) fn log(&mut self, at: u64, line: Value) {
        self.lines.push((at, line));
    }

    /// Removes the request, as if its client had not begun it.
    pub(super) fn forget(&mut self, id: u32) {
        self.begun.retain(|(known, _)| *known != id);
        self.ends.retain(|(known, _)| *known != id);
    }

    /// Changes a sample of the metrics.
    pub(super) fn sample(&mut self, text: &str, value: f64) {
        let wanted = series(text);
        self.metrics.retain(|(known, _)| *known != wanted);
        self.metrics.push((wanted, value));
    }

    /// The records for the judges.
    pub(super) fn records(&self) -> Records {
        let hub = Hub::start(self.plan.clone());
        for index in 0..hub.plan.directives.len() {
            hub.note_injected(index);
        }
        for request in &self.plan.requests {
            hub.carries(request.id, request.wire.client, 1);
        }
        for (id, at) in &self.begun {
            hub.ledger.begin(*id, *at);
        }
        for id in &self.not_sent {
            hub.ledger.not_sent(*id, 0);
        }
        for (id, received) in &self.ends {
            hub.ledger.end(*id, received.clone());
        }
        for execution in &self.executions {
            hub.ledger.execute(execution.clone());
        }
        for dial in &self.dials {
            hub.ledger.dialled(*dial);
        }
        for fault in &self.faults {
            hub.ledger.fault(fault.clone());
        }
        let samples = self.metrics.iter().map(|(series, value)| format!("{series} {value}\n"));
        Records {
            hub,
            lines: self.lines.iter().map(|(at, line)| (*at, line.to_string())).collect(),
            metrics: Some(samples.collect()),
            metrics_asked_at: 100 * SECOND,
            scrapes: Vec::new(),
            open: self.open.clone(),
            frames: self.frames.clone(),
            wire: self.wire.clone(),
            reported: self.reported.clone(),
            resets_without_error: 0,
            pools: Some(self.pools.to_owned()),
            ended_in_time: self.ended_in_time,
            ended_at: self.ended_at,
            signals: self.signals.clone(),
            situations: self.situations.clone(),
            races: self.races.clone(),
            tasks_left: self.tasks_left.clone(),
            pools_left: self.pools_left,
            network_left: self.network_left.clone(),
            idle_ended_at: self.idle_ended_at.clone(),
            at_proxy: self.at_proxy,
            client_resets: self.client_resets.clone(),
            deliveries: self.deliveries.clone(),
            withdrawn: self.withdrawn.clone(),
            healed_at: 90 * SECOND,
            recovered: self.recovered,
        }
    }
}

/// The dials of both clients, and of the one that looks at the recovery.
fn dials() -> Vec<Dial> {
    let dial = |client| Dial {
        client,
        to: LISTENER.into(),
        begun: 0,
        ended: MILLISECOND,
        end: DialEnd::Connected,
    };
    vec![dial(0), dial(1), dial(u8::MAX)]
}

fn plan() -> Plan {
    let mut plan = crate::faults::plan(1, Profile::Calm, WorldName::Pool);
    let span = Span { least_us: 0, most_us: 0 };
    let backend = BackendPlan {
        http1: false,
        max_streams: None,
        settings_late_us: None,
        streams_per_connection: None,
        ping_strikes: None,
        work: span,
        body: span,
        spare: false,
        wire: Default::default(),
    };
    plan.pool = PoolPlan::DEFAULT;
    plan.backends = vec![backend, BackendPlan { http1: true, ..backend }];
    let client = |protocol| ClientPlan { protocol, ..ClientPlan::default() };
    plan.wire = WirePlan {
        clients: vec![client(ClientProtocol::Http1), client(ClientProtocol::Http2)],
        ..WirePlan::default()
    };
    let request = |id, idempotent, client| RequestPlan {
        idempotent,
        wire: RequestWire { client, answer_bytes: 300, ..RequestWire::default() },
        ..RequestPlan::plain(id)
    };
    let mut put = RequestPlan { body_us: Some(10), ..request(2, true, 0) };
    put.wire.body_bytes = 100;
    (put.wire.chunked, put.wire.trailers) = (true, true);
    (put.wire.framing, put.wire.answer_trailers) = (Framing::Chunked, true);
    plan.requests = vec![request(1, true, 0), put, request(3, false, 1), request(4, true, 1)];
    plan.directives = Vec::new();
    plan
}

fn seen(length: u64) -> Seen {
    Seen { length, wrong_at: None }
}

fn ends() -> Vec<(u32, Received)> {
    let nothing = Received {
        status: None,
        execution: None,
        informational: 0,
        body: Seen::NOTHING,
        trailer: None,
        proxy_status: None,
        date: None,
        end: End::Complete,
        at: 0,
    };
    let date = |second: u32| Some(format!("Thu, 01 Jan 2026 00:00:0{second} GMT"));
    let named = "baton; error=destination_unavailable; details=\"no backend; evidence=-\"";
    vec![
        (
            1,
            Received {
                status: Some(200),
                execution: Some(0),
                body: seen(300),
                date: date(1),
                at: SECOND + 50 * MILLISECOND,
                ..nothing.clone()
            },
        ),
        (
            2,
            Received {
                status: Some(200),
                execution: Some(2),
                body: seen(300),
                trailer: Some(trailer(Body::Response(2))),
                date: date(2),
                at: 2 * SECOND + 80 * MILLISECOND,
                ..nothing.clone()
            },
        ),
        (
            3,
            Received {
                status: Some(503),
                body: seen(40),
                proxy_status: Some(named.to_owned()),
                date: date(6),
                at: 6 * SECOND + 10 * MILLISECOND,
                ..nothing.clone()
            },
        ),
        (4, Received { end: End::Cancelled, at: 4 * SECOND + 30 * MILLISECOND, ..nothing }),
    ]
}

fn executions() -> Vec<Execution> {
    let mut answer = Answer::begun(200, false, SECOND);
    (answer.length, answer.ended) = (300, Some(answer.at));
    let first = Execution {
        request: 1,
        backend: 0,
        connection: 1,
        stream: 1,
        at: SECOND + 20 * MILLISECOND,
        body: Seen::NOTHING,
        body_ended: true,
        trailer: None,
        disowned: false,
        answer: Some(answer),
    };
    let refused = Execution {
        request: 2,
        stream: 2,
        at: 2 * SECOND + 20 * MILLISECOND,
        body: seen(50),
        body_ended: false,
        disowned: true,
        answer: None,
        ..first.clone()
    };
    let second = Execution {
        backend: 1,
        stream: 1,
        at: 2 * SECOND + 40 * MILLISECOND,
        body: seen(100),
        body_ended: true,
        trailer: Some(trailer(Body::Request(2))),
        disowned: false,
        answer: Some(Answer { trailers: true, ..answer }),
        ..refused.clone()
    };
    let cancelled = Execution {
        request: 4,
        stream: 3,
        at: 4 * SECOND + 20 * MILLISECOND,
        answer: None,
        ..first.clone()
    };
    vec![first, refused, second, cancelled]
}

/// The line of a request that arrived 5 ms after its second, with its total time.
fn line(id: u64, total_ms: u64, more: Value) -> (u64, Value) {
    let mut line = json!({
        "timestamp": "2026-01-01T00:00:00.000000Z", "level": "INFO", "message": "request",
        "method": "GET", "scheme": "http", "authority": "simulated.test",
        "path": format!("/r{id}"), "protocol": if id < 3 { "HTTP/1.1" } else { "HTTP/2" },
        "client": "10.2.0.1:50000", "listener": "10.0.0.1:80", "cluster": "cluster", "worker": 0,
        "backend": "-", "connection": "-", "stream": 0, "status": 0, "outcome": "completed",
        "reason": "-", "ended_by": "backend", "evidence": "-", "attempts": 1, "attempt_list": [],
        "wait_ms": null, "upload_ms": null, "first_byte_ms": null, "total_ms": total_ms,
        "request_bytes": 0, "response_bytes": 0, "backend_request_bytes": 0,
        "backend_response_bytes": 0, "trace_id": format!("{id:032x}"),
    });
    for (name, value) in more.as_object().expect("fields") {
        line[name] = value.clone();
    }
    (id * SECOND + (5 + total_ms) * MILLISECOND, line)
}

fn lines() -> Vec<(u64, Value)> {
    let first = "h2c://10.1.0.0:8080";
    let second = "http://10.1.0.1:8080";
    let attempt = |backend, stream, evidence, failure| {
        json!({
            "backend": backend, "connection": "b0/s0/g1", "stream": stream, "evidence": evidence,
            "failure": failure,
        })
    };
    let at = |backend, stream| json!({"backend": backend, "stream": stream});
    let about = |message: &str, backend: Value| {
        let mut line = json!({"level": "INFO", "message": message, "worker": 0});
        line["backend"] = backend["backend"].clone();
        line
    };
    vec![
        (900 * MILLISECOND, about("connected", at(first, 0))),
        (910 * MILLISECOND, about("connect failed", at(second, 0))),
        (920 * MILLISECOND, about("connected", at(second, 0))),
        line(
            1,
            40,
            json!({
                "backend": first, "connection": "b0/s0/g1", "stream": 1, "status": 200,
                "attempt_list": [attempt(first, 1, "-", "-")], "wait_ms": 1.0, "upload_ms": 1.0,
                "first_byte_ms": 30.0, "response_bytes": 300, "backend_response_bytes": 300,
            }),
        ),
        line(
            2,
            70,
            json!({
                "method": "PUT", "backend": second, "connection": "b0/s0/g1", "stream": 1,
                "status": 200, "attempts": 2, "attempt_list": [
                    attempt(first, 3, "refused", "REFUSED_STREAM"), attempt(second, 1, "-", "-"),
                ],
                "evidence": "refused", "wait_ms": 1.0, "upload_ms": 40.5, "first_byte_ms": 50.25,
                "request_bytes": 100, "response_bytes": 300, "backend_request_bytes": 200,
                "backend_response_bytes": 300,
            }),
        ),
        line(
            3,
            3_000,
            json!({
                "method": "POST", "status": 503, "outcome": "rejected", "reason": "queue_deadline",
                "ended_by": "proxy", "attempts": 0, "response_bytes": 40,
            }),
        ),
        line(
            4,
            25,
            json!({
                "backend": first, "connection": "b0/s0/g1", "stream": 5, "outcome": "cancelled",
                "ended_by": "client", "attempt_list": [attempt(first, 5, "-", "-")], "wait_ms": 2.0,
                "upload_ms": 2.0,
            }),
        ),
        (MILLISECOND, json!({"message": "listening", "address": "10.0.0.1:80"})),
        (50 * SECOND, about("connection closed", at(second, 0))),
        (101 * SECOND, json!({"level": "INFO", "message": "draining", "requests": 0})),
    ]
}

/// The metrics. `$C` stands for the label of the cluster, `$0` and `$1` for those of the backends.
const METRICS: &str = include_str!("scene/metrics.txt");

fn series(text: &str) -> String {
    let text = text.replace("$C", r#"cluster="cluster""#);
    let text = text.replace("$0", r#"backend="h2c://10.1.0.0:8080""#);
    format!("baton_{}", text.replace("$1", r#"backend="http://10.1.0.1:8080""#))
}

fn metrics() -> Vec<(String, f64)> {
    let sample = |line: &str| {
        let (text, value) = line.rsplit_once(' ').expect("a series and a value");
        (series(text), value.parse().expect("a number"))
    };
    METRICS.lines().filter(|line| !line.is_empty()).map(sample).collect()
}

/// The frames on the wire, as the metrics count them.
fn frames() -> FrameCounts {
    let mut frames = FrameCounts::default();
    for (peer, direction, kind, code) in [
        (Peer::Client, Direction::In, Kind::Reset, 8),
        (Peer::Client, Direction::Out, Kind::GoAway, 0),
        (Peer::Backend, Direction::In, Kind::Reset, 7),
    ] {
        frames.add(Counted { peer, direction, kind, code }, 1);
    }
    frames
}
