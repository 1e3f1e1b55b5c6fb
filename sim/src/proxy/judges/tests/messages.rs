//! Rules about messages: what clients and backends received.

use super::{all_are_allowed, all_are_found};
use crate::checker::Invariant::{
    AtMostOnce, Conservation, FaithfulRequest, FaithfulResponse, OwnResponse, Protocol, Retry,
};
use crate::plan::{Act, Direction, Framing, When, WireEffect};
use crate::proxy::ledger::End;

const ANY: When = When::Start;
const CLIENT: When = When::Client { client: 0, connection: 1 };

#[tokio::test(flavor = "local", start_paused = true)]
async fn requests_at_backends() {
    all_are_found(&[
        (Protocol, "PING", |scene| scene.faults.push("a PING without an answer".to_owned())),
        (FaithfulRequest, "request 9: there is none", |scene| scene.executions[3].request = 9),
        (FaithfulRequest, "has not begun it", |scene| scene.forget(4)),
        (FaithfulRequest, "executed before it was begun", |scene| scene.executions[0].at = 7),
        (FaithfulRequest, "is not the client's", |scene| {
            scene.executions[2].body.wrong_at = Some(10);
        }),
        (FaithfulRequest, "101 bytes at backend 1", |scene| scene.executions[2].body.length = 101),
        (FaithfulRequest, "after 99 of 100", |scene| scene.executions[2].body.length = 99),
        (FaithfulRequest, "trailer \"request-1\"", |scene| {
            scene.executions[2].trailer = Some("request-1".to_owned());
        }),
        (FaithfulRequest, "its trailers are not", |scene| scene.executions[2].trailer = None),
        (FaithfulRequest, "expected None", |scene| {
            scene.executions[0].trailer = Some("request-1".to_owned());
        }),
        (Retry, "executed 4 times", |scene| {
            let again = scene.executions[1].clone();
            scene.executions.extend([again.clone(), again]);
        }),
        (AtMostOnce, "execution 1, which", |scene| {
            scene.plan.requests[1].idempotent = false;
            scene.executions[1].disowned = false;
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn answers_at_clients() {
    all_are_found(&[
        (Conservation, "begun 2 times", |scene| scene.begun.push((1, 5))),
        (Conservation, "ended 2 times", |scene| {
            let again = scene.ends[0].clone();
            scene.ends.push(again);
        }),
        (Conservation, "ended before it was begun", |scene| scene.end(1).at = 5),
        (FaithfulResponse, "2 informational heads", |scene| scene.end(1).informational = 2),
        (FaithfulResponse, "without a head", |scene| scene.end(1).status = None),
        (FaithfulResponse, "execution 17 does not", |scene| scene.end(1).execution = Some(17)),
        (FaithfulResponse, "is of request 2", |scene| scene.end(1).execution = Some(2)),
        (FaithfulResponse, "has not answered", |scene| scene.executions[0].answer = None),
        (FaithfulResponse, "status 201, expected 200", |scene| scene.end(1).status = Some(201)),
        (FaithfulResponse, "byte Some(3) of the answer", |scene| {
            scene.end(1).body.wrong_at = Some(3);
        }),
        (FaithfulResponse, "301 bytes of an answer", |scene| scene.end(1).body.length = 301),
        (FaithfulResponse, "complete after 299 of 300", |scene| scene.end(1).body.length = 299),
        (FaithfulResponse, "trailer Some(\"response-0\")", |scene| {
            scene.end(2).trailer = Some("response-0".to_owned());
        }),
        (FaithfulResponse, "complete without its trailers", |scene| scene.end(2).trailer = None),
        (FaithfulResponse, "that was cut short", |scene| {
            let answer = scene.executions[2].answer.as_mut().expect("it has answered");
            (answer.ended, answer.trailers) = (None, false);
            scene.end(2).trailer = None;
        }),
        (FaithfulResponse, "an answer of None, begun in second 1", |scene| {
            scene.end(1).date = None;
        }),
        (FaithfulResponse, "ended in 1", |scene| {
            scene.end(1).date = Some("Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
        }),
        (OwnResponse, "on the answer of a backend", |scene| {
            scene.end(1).proxy_status = Some("baton".to_owned());
        }),
        (FaithfulResponse, "reset with code 0x0", |scene| scene.end(4).end = End::Reset(0)),
        (FaithfulResponse, "reset with code 0x1", |scene| scene.end(4).end = End::Reset(1)),
        (AtMostOnce, "Reset(7), but it was executed", |scene| scene.end(4).end = End::Reset(7)),
        (AtMostOnce, "Unprocessed, but it was executed", |scene| {
            scene.end(4).end = End::Unprocessed;
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn answers_of_the_proxy() {
    fn named(scene: &mut super::Scene, status: u16, error: &str) {
        let end = scene.end(3);
        end.status = Some(status);
        end.proxy_status = Some(format!("baton; error={error}; details=\"x; evidence=-\""));
    }
    all_are_found(&[
        (OwnResponse, "503 with Proxy-Status None", |scene| scene.end(3).proxy_status = None),
        (OwnResponse, "Proxy-Status Some(\"other", |scene| {
            scene.end(3).proxy_status = Some("other; error=destination_unavailable".to_owned());
        }),
        (OwnResponse, "has sent all of it", |scene| named(scene, 400, "http_request_denied")),
        (OwnResponse, "404 with error", |scene| named(scene, 404, "destination_not_found")),
        (OwnResponse, "200 with error", |scene| named(scene, 200, "proxy_internal_error")),
        (OwnResponse, "500 with error", |scene| named(scene, 500, "proxy_internal_error")),
        (OwnResponse, "502 with error destination_un", |scene| {
            named(scene, 502, "destination_unavailable");
        }),
        (OwnResponse, "503 with error proxy", |scene| named(scene, 503, "proxy_internal_error")),
        (OwnResponse, "503 with error connection_limit", |scene| {
            named(scene, 503, "connection_limit_reached");
        }),
        (OwnResponse, "504 with error", |scene| named(scene, 504, "http_response_timeout")),
        (OwnResponse, "408 with error", |scene| named(scene, 408, "http_request_error")),
        (OwnResponse, "after 2.9", |scene| scene.end(3).at = 5_990_000_000),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_may_look_like_a_violation() {
    all_are_allowed(&[
        ("every byte of a stated length, but no end of the stream", |scene| {
            scene.executions[0].answer.as_mut().expect("it has answered").ended = None;
            scene.line(1)["outcome"] = "cut_short".into();
            let counted = "requests_total{$C,$0,status_class=\"2xx\",outcome=\"completed\"}";
            scene.sample(counted, 0.0);
            scene.sample("requests_total{$C,$0,status_class=\"2xx\",outcome=\"cut_short\"}", 1.0);
        }),
        ("an answer until the connection ends, which ends early", |scene| {
            scene.plan.requests[1].wire.framing = Framing::Close;
            let answer = scene.executions[2].answer.as_mut().expect("it has answered");
            (answer.ended, answer.trailers) = (None, false);
            scene.end(2).trailer = None;
        }),
        ("a complete answer that was cut on its way to the client", |scene| {
            scene
                .inject(CLIENT, Act::Wire { direction: Direction::Out, effect: WireEffect::Reset });
            let end = scene.end(1);
            (end.end, end.body.length) = (End::Broken, 7);
        }),
        ("a request that is not idempotent, refused by one backend", |scene| {
            scene.plan.requests[1].idempotent = false;
            scene.line(2)["method"] = "POST".into();
        }),
        ("an operator's shutdown", |scene| {
            scene.inject(ANY, Act::Shutdown);
            let end = scene.end(3);
            let named = "baton; error=proxy_internal_error; details=\"x; evidence=-\"";
            end.proxy_status = Some(named.to_owned());
            scene.line(3)["reason"] = "shutting_down".into();
            scene.sample("rejections_total{$C,reason=\"queue_deadline\"}", 0.0);
            scene.sample("rejections_total{$C,reason=\"shutting_down\"}", 1.0);
        }),
    ]);
}
