//! Rules about what operators read: the access log, the log, the metrics.

use serde_json::{Value, json};

use super::{MILLISECOND, Scene, all_are_allowed, all_are_found};
use crate::checker::Invariant::{AccessLog, Metrics, PoolAssert};
use crate::plan::{Act, Code, When};
use crate::proxy::ledger::{End, RECOVERY};

/// Sets fields of the line of a request.
macro_rules! set {
    ($id:literal, $($field:literal: $value:expr),+) => {
        |scene: &mut Scene| {
            let line = scene.line($id);
            $(line[$field] = json!($value);)+
        }
    };
}

/// Sets a field of an attempt of a request.
macro_rules! set_attempt {
    ($id:literal, $place:literal, $($field:literal: $value:expr),+) => {
        |scene: &mut Scene| {
            let attempt = &mut scene.line($id)["attempt_list"][$place];
            $(attempt[$field] = json!($value);)+
        }
    };
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn lines_and_their_names() {
    all_are_found(&[
        (AccessLog, "an unreadable line", |scene| {
            scene.line(1).as_object_mut().expect("fields").remove("total_ms");
        }),
        (AccessLog, "/other, which was not requested", set!(1, "path": "/other")),
        (AccessLog, "request 3: a line, but", |scene| {
            scene.forget(3);
            scene.not_sent.push(3);
        }),
        (AccessLog, "request 1: 2 lines", |scene| {
            let again = scene.lines[3].clone();
            scene.lines.push(again);
        }),
        (AccessLog, "request 1: 0 lines", |scene| {
            scene.lines.remove(3);
        }),
        (AccessLog, "a line without a head: (\"malformed_head\"", |scene| {
            let mut line = scene.line(3).clone();
            (line["path"], line["reason"]) = ("-".into(), "malformed_head".into());
            scene.log(1, line);
        }),
        (AccessLog, "1 lines without a head, but at most 0", |scene| {
            let mut line = scene.line(3).clone();
            (line["path"], line["reason"]) = ("-".into(), "incomplete_head".into());
            (line["status"], line["outcome"]) = (0.into(), "cancelled".into());
            line["ended_by"] = "client".into();
            scene.log(1, line);
        }),
        (AccessLog, "is invalid or of another", set!(1, "trace_id": "0".repeat(32))),
        (AccessLog, "is invalid or of another", set!(1, "trace_id": format!("{:032x}", 2))),
        (AccessLog, "method \"POST\"", set!(1, "method": "POST")),
        (AccessLog, "protocol \"HTTP/2\"", set!(1, "protocol": "HTTP/2")),
        (AccessLog, "scheme \"https\"", set!(1, "scheme": "https")),
        (AccessLog, "listener \"", set!(1, "listener": "10.0.0.9:80")),
        (AccessLog, "cluster \"other\"", set!(1, "cluster": "other")),
        (AccessLog, "worker 1", set!(1, "worker": 1)),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn times_and_bytes() {
    all_are_found(&[
        (AccessLog, "arrival 9", set!(1, "total_ms": 46.0)),
        (AccessLog, "times [", set!(1, "first_byte_ms": 0.5)),
        (AccessLog, "times [", set!(1, "first_byte_ms": 40.5)),
        (AccessLog, "upload_ms [", set!(1, "upload_ms": 0.5)),
        (AccessLog, "wait_ms None", set!(1, "wait_ms": Value::Null)),
        (AccessLog, "upload_ms Some", set!(3, "upload_ms": 1.0)),
        (AccessLog, "before the first execution", |scene| {
            scene.executions[0].at = 1_000 * MILLISECOND;
        }),
        (AccessLog, "first_byte_ms Some(14.0)", set!(1, "first_byte_ms": 14.0)),
        (AccessLog, "request_bytes 99", set!(2, "request_bytes": 99)),
        (AccessLog, "request_bytes 101", set!(2, "request_bytes": 101)),
        (AccessLog, "upload_ms None", set!(2, "upload_ms": Value::Null)),
        (AccessLog, "backend_request_bytes 149", set!(2, "backend_request_bytes": 149)),
        (AccessLog, "backend_request_bytes 201", set!(2, "backend_request_bytes": 201)),
        (AccessLog, "response_bytes 300, expected 299", set!(1, "backend_response_bytes": 299)),
        (AccessLog, "response_bytes 299, expected 300..=300", {
            set!(1, "response_bytes": 299, "backend_response_bytes": 299)
        }),
        (AccessLog, "response_bytes 301", {
            set!(1, "response_bytes": 301, "backend_response_bytes": 301)
        }),
        (AccessLog, "response_bytes 39", set!(3, "response_bytes": 39)),
        (AccessLog, "backend_response_bytes 7", set!(3, "backend_response_bytes": 7)),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn outcomes() {
    all_are_found(&[
        (AccessLog, "status 500, expected 200", set!(1, "status": 500)),
        (AccessLog, "status 201, expected \"0", set!(4, "status": 201)),
        (AccessLog, "first_byte_ms None", set!(1, "first_byte_ms": Value::Null)),
        (AccessLog, "outcome \"cancelled\", expected \"completed\"", |scene| {
            set!(2, "outcome": "cancelled")(scene);
        }),
        (AccessLog, "outcome \"completed\", expected \"an answer", |scene| {
            set!(3, "outcome": "completed")(scene);
        }),
        (AccessLog, "outcome \"cut_short\", expected \"an answer", |scene| {
            set!(3, "outcome": "cut_short")(scene);
        }),
        (AccessLog, "outcome other", set!(4, "outcome": "other")),
        (AccessLog, "ended_by \"proxy\"", set!(1, "ended_by": "proxy")),
        (AccessLog, "reason \"queue_full\"", set!(1, "reason": "queue_full")),
        (AccessLog, "which is no reason", set!(3, "reason": "-")),
        (AccessLog, "status 503, expected 504", set!(3, "reason": "response_deadline")),
        (AccessLog, "reason \"queue_full\", expected \"baton", set!(3, "reason": "queue_full")),
        (AccessLog, "ended_by \"client\"", set!(3, "ended_by": "client")),
        (AccessLog, "total_ms 2999.0", set!(3, "total_ms": 2_999.0)),
        (AccessLog, "ended_by \"backend\"", set!(4, "ended_by": "backend")),
        (AccessLog, "reason \"body_stalled\"", set!(4, "reason": "body_stalled")),
        (AccessLog, "no shutdown yet", { set!(4, "ended_by": "proxy", "reason": "shutting_down") }),
        (AccessLog, "outcome \"cancelled\", expected Reset(2)", |scene| {
            scene.end(4).end = End::Reset(2);
        }),
        (AccessLog, "outcome \"cancelled\", expected Broken", |scene| {
            scene.end(4).end = End::Broken;
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn attempts() {
    all_are_found(&[
        (AccessLog, "attempts 1, expected 2..=3", set!(2, "attempts": 1)),
        (AccessLog, "attempts 4", set!(2, "attempts": 4)),
        (AccessLog, "backend, connection and stream", set!(2, "stream": 3)),
        (AccessLog, "backend, connection and stream", set!(3, "connection": "b0/s0/g1")),
        (AccessLog, "backend \"http://10.1.0.9:8080\"", {
            set_attempt!(2, 0, "backend": "http://10.1.0.9:8080")
        }),
        (AccessLog, "evidence and failure", set_attempt!(2, 0, "failure": "connection_lost")),
        (AccessLog, "evidence and failure", set_attempt!(2, 0, "evidence": "-")),
        (AccessLog, "evidence and failure", set_attempt!(2, 0, "evidence": "unknown")),
        (AccessLog, "failure \"STREAM_CLOSED\"", {
            set_attempt!(2, 0, "evidence": "unknown", "failure": "STREAM_CLOSED")
        }),
        (AccessLog, "a code that a backend has sent", {
            set_attempt!(2, 0, "evidence": "unknown", "failure": "INTERNAL_ERROR")
        }),
        (AccessLog, "evidence of a repeated attempt", {
            set_attempt!(2, 0, "evidence": "responding", "failure": "connection_lost")
        }),
        (AccessLog, "evidence of a repeated attempt", |scene| {
            scene.plan.requests[1].idempotent = false;
            set!(2, "method": "POST")(scene);
            let failure = set_attempt!(2, 0, "evidence": "unknown", "failure": "connection_lost");
            failure(scene);
        }),
        (AccessLog, "evidence \"unknown\", expected \"refused\"", set!(2, "evidence": "unknown")),
        (AccessLog, "attempts that were sent 0", |scene| {
            set_attempt!(2, 0, "evidence": "never_sent", "failure": "not_sent")(scene);
            set!(2, "evidence": "never_sent")(scene);
        }),
        (AccessLog, "attempts that may be processed 0", |scene| {
            scene.executions[1].disowned = false;
        }),
        (AccessLog, "attempts that were answered 1", |scene| {
            set_attempt!(4, 0, "evidence": "responding", "failure": "connection_lost")(scene);
            set!(4, "evidence": "responding")(scene);
        }),
        (AccessLog, "that of the answer, 0", |scene| {
            let other = "http://10.1.0.1:8080";
            set!(1, "backend": other, "attempts": 2)(scene);
            let first = scene.line(1)["attempt_list"][0].clone();
            let list = scene.line(1)["attempt_list"].as_array_mut().expect("a list");
            list[0]["evidence"] = "unknown".into();
            list[0]["failure"] = "connection_lost".into();
            list.push(first);
            list[1]["backend"] = other.into();
            set!(1, "evidence": "unknown")(scene);
        }),
        (AccessLog, "attempts 0, expected \"a failed one\"", |scene| {
            scene.inject(When::Start, Act::Break);
            let end = scene.end(3);
            let named = "baton; error=connection_terminated; details=\"x; evidence=-\"";
            (end.status, end.proxy_status) = (Some(502), Some(named.to_owned()));
            let fields = set!(3, "status": 502, "reason": "attempt_failed", "ended_by": "backend");
            fields(scene);
        }),
    ]);
    all_are_allowed(&[
        ("a reset with a code that was injected", |scene| {
            scene.inject(When::Start, Act::Reset { code: Code::Internal });
            scene.executions[1].disowned = false;
            set_attempt!(2, 0, "evidence": "unknown", "failure": "INTERNAL_ERROR")(scene);
            set!(2, "evidence": "unknown")(scene);
            scene.sample("retries_total{$C,evidence=\"refused\"}", 0.0);
            scene.sample("retries_total{$C,evidence=\"unknown\"}", 1.0);
        }),
        ("an attempt that its connection returned unsent", |scene| {
            set!(1, "attempts": 2, "evidence": "never_sent")(scene);
            let list = scene.line(1)["attempt_list"].as_array_mut().expect("a list");
            let mut unsent = list[0].clone();
            unsent["stream"] = 0.into();
            unsent["evidence"] = "never_sent".into();
            unsent["failure"] = "not_sent".into();
            list.insert(0, unsent);
            scene.sample("retries_total{$C,evidence=\"never_sent\"}", 1.0);
        }),
    ]);
}

fn changed(backend: &str, state: &str, cause: &str) -> serde_json::Value {
    json!({"message": "backend changed", "backend": backend, "state": state, "cause": cause})
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_log() {
    const AT: u64 = 50_000 * MILLISECOND;
    fn change(scene: &mut Scene, state: &str, cause: &str) {
        scene.log(AT, changed("h2c://10.1.0.0:8080", state, cause));
    }
    all_are_found(&[
        (AccessLog, "but there is none", |scene| {
            scene.log(AT, changed("h2c://10.1.0.7:8080", "up", "answered"));
        }),
        (AccessLog, "is draining", |scene| change(scene, "draining", "operator")),
        (AccessLog, "is draining", |scene| {
            scene.inject(When::Start, Act::Drain { backend: 1, within_us: 1 });
            change(scene, "draining", "operator");
        }),
        (AccessLog, "is removed", |scene| change(scene, "removed", "configured")),
        (AccessLog, "is up, cause operator", |scene| change(scene, "up", "operator")),
        (AccessLog, "is down", |scene| change(scene, "down", "health_checks")),
        (AccessLog, "is down", |scene| change(scene, "down", "failures")),
        (AccessLog, "cause gateway_failures", |scene| {
            change(scene, "ejected", "gateway_failures");
        }),
        (AccessLog, "cause gateway_failures", |scene| {
            change(scene, "half_open", "ejection_over");
            change(scene, "ejected", "gateway_failures");
        }),
        (AccessLog, "cause failures", |scene| change(scene, "ejected", "failures")),
        (AccessLog, "lines were dropped", |scene| {
            scene.log(AT, json!({"message": "log lines dropped", "lines": 3}));
        }),
        (PoolAssert, "pool inconsistent: waiting", |scene| {
            scene.log(AT, json!({"message": "pool inconsistent: waiting"}));
        }),
        (AccessLog, "for write_stall, but no client", |scene| {
            scene.log(AT, json!({"message": "client connection closed", "reason": "write_stall"}));
        }),
        (AccessLog, "for malformed_frames", |scene| {
            scene.inject(When::Start, Act::ClientStopsReading { for_us: None });
            let reason = "malformed_frames";
            scene.log(AT, json!({"message": "client connection closed", "reason": reason}));
        }),
        (AccessLog, "for buffered_bytes", |scene| {
            scene.inject(When::Start, Act::ClientStopsReading { for_us: None });
            let reason = "buffered_bytes";
            scene.log(AT, json!({"message": "client connection closed", "reason": reason}));
        }),
        (AccessLog, "/r9 was cut, but was not requested", |scene| {
            scene.log(AT, json!({"message": "request cut", "path": "/r9", "retried": false}));
        }),
        (AccessLog, "request 1: logged as cut", |scene| {
            scene.log(AT, json!({"message": "request cut", "path": "/r1", "retried": false}));
        }),
    ]);
    all_are_allowed(&[("orders of the operator", |scene| {
        scene.inject(When::Start, Act::Drain { backend: 0, within_us: 1 });
        scene.inject(When::Start, Act::Undrain { backend: 0 });
        change(scene, "draining", "operator");
        change(scene, "up", "operator");
        scene.log(AT, json!({"message": "request cut", "path": "/r1", "retried": true}));
    })]);
}

#[tokio::test(flavor = "local", start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn metrics() {
    all_are_found(&[
        (Metrics, "unreadable or repeated", |scene| {
            let again = scene.metrics[0].clone();
            scene.metrics.push(again);
        }),
        (Metrics, "baton_requests_total", |scene| {
            let counted = "requests_total{$C,$0,status_class=\"2xx\",outcome=\"completed\"}";
            scene.sample(counted, 2.0);
        }),
        (Metrics, "outcome\": \"cut_short", |scene| {
            let counted = "requests_total{$C,$0,status_class=\"2xx\",outcome=\"cut_short\"}";
            scene.sample(counted, 1.0);
        }),
        (Metrics, "baton_refusals_total", |scene| {
            scene.sample("refusals_total{reason=\"incomplete_head\"}", 1.0);
        }),
        (Metrics, "baton_rejections_total", |scene| {
            scene.sample("rejections_total{$C,reason=\"queue_deadline\"}", 0.0);
        }),
        (Metrics, "baton_retries_total", |scene| {
            scene.sample("retries_total{$C,evidence=\"never_sent\"}", 1.0);
        }),
        (Metrics, "baton_body_bytes_total", |scene| {
            scene.sample("body_bytes_total{$C,side=\"backend\",direction=\"sent\"}", 199.0);
        }),
        (Metrics, "baton_queue_wait_seconds_count", |scene| {
            scene.sample("queue_wait_seconds_count{$C}", 4.0);
        }),
        (Metrics, "baton_first_byte_seconds_sum", |scene| {
            scene.sample("first_byte_seconds_sum{$C}", 0.08);
        }),
        (Metrics, "baton_requests_live: 1", |scene| scene.sample("requests_live{$C}", 1.0)),
        (Metrics, "baton_requests_waiting: 1", |scene| scene.sample("requests_waiting{$C}", 1.0)),
        (Metrics, "3 clients are connected", |scene| scene.sample("client_connections", 3.0)),
        (Metrics, "1 events that were not possible", |scene| {
            scene.sample("refused_facts_total{$C}", 1.0);
        }),
        (Metrics, "dials that ended: 2", |scene| scene.sample("dials_total{$C,$0}", 3.0)),
        (Metrics, "failed dials: 0", |scene| {
            scene.sample("dial_failures_total{$C,$1,phase=\"tcp\"}", 0.0);
        }),
        (Metrics, "closed connections: 2", |scene| {
            scene.sample("connections_closed_total{$C,$1,reason=\"silent\"}", 1.0);
        }),
        (Metrics, "connections: 2", |scene| {
            scene.sample("connections{$C,$0,state=\"in_use\"}", 1.0);
        }),
        (Metrics, "1 of 0 health checks failed", |scene| {
            scene.sample("health_checks_failed_total{$C,$0}", 1.0);
        }),
        (Metrics, "sent with STREAM_CLOSED", |scene| {
            let sent = "client_rst_stream_frames_total{direction=\"sent\",code=\"STREAM_CLOSED\"}";
            scene.sample(sent, 1.0);
        }),
        (Metrics, "but clients saw 1", |scene| {
            scene.end(4).end = End::Reset(8);
            set!(4, "outcome": "rejected", "reason": "attempt_failed", "status": 502)(scene);
            set!(4, "ended_by": "backend", "evidence": "unknown")(scene);
            set_attempt!(4, 0, "evidence": "unknown", "failure": "connection_lost")(scene);
            let sent = "requests_total{$C,$0,status_class=\"none\",outcome=\"cancelled\"}";
            scene.sample(sent, 0.0);
            scene.sample("requests_total{$C,$0,status_class=\"5xx\",outcome=\"rejected\"}", 1.0);
            scene.sample("rejections_total{$C,reason=\"attempt_failed\"}", 1.0);
        }),
        (Metrics, "sent with ENHANCE_YOUR_CALM", |scene| {
            let sent = "client_goaway_frames_total{direction=\"sent\",code=\"ENHANCE_YOUR_CALM\"}";
            scene.sample(sent, 1.0);
        }),
        (Metrics, "received with FLOW_CONTROL_ERROR", |scene| {
            let code = "direction=\"received\",code=\"FLOW_CONTROL_ERROR\"";
            scene.sample(&format!("goaway_frames_total{{$C,$0,{code}}}"), 1.0);
        }),
        (Metrics, "write_stall: 1", |scene| {
            scene.sample("client_limit_hits_total{limit=\"write_stall\"}", 1.0);
        }),
        (Metrics, "1 lines were dropped", |scene| {
            scene.sample("log_lines_dropped_total{log=\"access\"}", 1.0);
        }),
        (Metrics, "0 workers are up", |scene| scene.sample("worker_up{worker=\"0\"}", 0.0)),
        (Metrics, "/pools is not JSON", |scene| scene.pools = "{"),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn requests_after_the_faults_are_judged_by_their_lines() {
    let recovery = |scene: &mut Scene| {
        let mut execution = scene.executions[0].clone();
        (execution.request, execution.at) = (RECOVERY, 95_000 * MILLISECOND);
        scene.executions.push(execution);
        let mut line = scene.line(1).clone();
        line["path"] = format!("/r{RECOVERY}").into();
        line["trace_id"] = format!("{:032x}", 99).into();
        let at = 95_020 * MILLISECOND;
        scene.log(at, line);
        for (series, more) in [
            ("requests_total{$C,$0,status_class=\"2xx\",outcome=\"completed\"}", 2.0),
            ("body_bytes_total{$C,side=\"client\",direction=\"sent\"}", 940.0),
            ("body_bytes_total{$C,side=\"backend\",direction=\"received\"}", 900.0),
            ("queue_wait_seconds_count{$C}", 4.0),
            ("queue_wait_seconds_sum{$C}", 0.005),
            ("first_byte_seconds_count{$C}", 3.0),
            ("first_byte_seconds_sum{$C}", 0.110_25),
            ("request_duration_seconds_count{$C}", 5.0),
            ("request_duration_seconds_sum{$C}", 3.175),
        ] {
            scene.sample(series, more);
        }
    };
    all_are_allowed(&[("a request after the faults", recovery)]);
}
