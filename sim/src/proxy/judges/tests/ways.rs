//! Rules whose excuses are narrow: only what concerns a request excuses what happened to it.

use serde_json::{Value, json};

use super::scene::{MILLISECOND, SECOND, Scene};
use super::{all_are_allowed, all_are_found};
use crate::checker::Invariant::{AccessLog, Health, OwnResponse, Protocol};
use crate::plan::{Act, Direction, Moment, RequestPlan, When, WireEffect};
use crate::proxy::ledger::{End, Received};
use crate::proxy::network::ClientReset;

/// The first connection of the HTTP/1.1 client.
const CLIENT: When = When::Client { client: 0, connection: 1 };

fn down(worker: u64) -> Value {
    json!({
        "message": "backend changed", "backend": "h2c://10.1.0.0:8080", "worker": worker,
        "state": "down", "cause": "health_checks", "reason": "status 503",
    })
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn workers_agree_about_health_checks() {
    fn lines(scene: &mut Scene, ats: &[u64]) {
        scene.plan.wire.workers = 2;
        scene.plan.pool.config.health_checking = baton::pool::HealthChecking::Ordered;
        scene.inject(
            When::Start,
            Act::HealthChecks { backend: 0, passed: Some(false), for_us: 1_000_000 },
        );
        scene.sample("worker_up{worker=\"1\"}", 1.0);
        for (worker, at) in ats.iter().enumerate() {
            scene.log(*at, down(worker as u64));
        }
    }
    all_are_found(&[
        (Health, "up for worker 1", |scene| lines(scene, &[50 * SECOND])),
        (Health, "up for worker 1", |scene| lines(scene, &[50 * SECOND, 51 * SECOND])),
    ]);
    all_are_allowed(&[("both learn it", |scene| {
        lines(scene, &[50 * SECOND, 50 * SECOND + MILLISECOND]);
    })]);
}

/// The PUT of the scene is answered before its client has sent all of it.
fn answer_early(scene: &mut Scene) {
    for execution in &mut scene.executions {
        if execution.request == 2 {
            execution.body_ended = false;
            execution.trailer = None;
        }
    }
    scene.line(2)["upload_ms"] = Value::Null;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_still_sends_is_not_reset() {
    fn reset(scene: &mut Scene, after: u64) {
        let at = scene.end(2).at + after;
        scene.client_resets.push(ClientReset { client: 0, connection: 1, at });
    }
    all_are_found(&[(Protocol, "while its client was still sending", |scene| {
        answer_early(scene);
        reset(scene, MILLISECOND);
    })]);
    all_are_allowed(&[
        ("the proxy has waited", |scene| {
            answer_early(scene);
            reset(scene, 3 * SECOND);
        }),
        ("nothing of the request was missing", |scene| reset(scene, MILLISECOND)),
        ("the network may have broken it", |scene| {
            answer_early(scene);
            scene
                .inject(CLIENT, Act::Wire { direction: Direction::In, effect: WireEffect::Vanish });
            reset(scene, MILLISECOND);
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_the_log_calls_completed_has_arrived() {
    fn break_off(scene: &mut Scene, when: When, act: Act) {
        scene.inject(when, act);
        let end = scene.end(1);
        (end.end, end.body.length) = (End::Broken, 7);
    }
    const NARROW: Act = Act::Wire { direction: Direction::Out, effect: WireEffect::Room(9) };
    all_are_found(&[
        (AccessLog, "it has lost a part", |scene| break_off(scene, CLIENT, NARROW)),
        (AccessLog, "it has lost a part", |scene| {
            let other = When::Client { client: 1, connection: 1 };
            let act = Act::Wire { direction: Direction::Out, effect: WireEffect::Reset };
            break_off(scene, other, act);
        }),
    ]);
    all_are_allowed(&[("the network resets the connection", |scene| {
        let act = Act::Wire { direction: Direction::Out, effect: WireEffect::Reset };
        break_off(scene, CLIENT, act);
    })]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn outcomes_need_reasons() {
    fn cut(scene: &mut Scene) {
        scene.executions[0].answer.as_mut().expect("it has answered").ended = None;
        let line = scene.line(1);
        (line["outcome"], line["ended_by"]) = ("cut_short".into(), "proxy".into());
        line["evidence"] = "responding".into();
        let attempt = &mut line["attempt_list"][0];
        attempt["evidence"] = "responding".into();
        attempt["failure"] = "response_stalled".into();
        let counted = "requests_total{$C,$0,status_class=\"2xx\",outcome=\"completed\"}";
        scene.sample(counted, 0.0);
        scene.sample("requests_total{$C,$0,status_class=\"2xx\",outcome=\"cut_short\"}", 1.0);
    }
    fn is_patient(scene: &mut Scene) {
        scene.plan.network.wire.most_us = 10;
        scene.plan.network.dial.most_us = 100;
    }
    const OWN: When = When::Request { request: 1, moment: Moment::Read };
    const OTHER: When = When::Request { request: 4, moment: Moment::Read };
    all_are_found(&[
        (AccessLog, "the proxy had no reason", |scene| cut(scene)),
        (AccessLog, "the proxy had no reason", |scene| {
            scene.inject(OTHER, Act::NeverFinish);
            scene.inject(When::Start, Act::Replace);
            cut(scene);
        }),
        (AccessLog, "outcome \"cancelled\", expected Complete", |scene| {
            let line = scene.line(1);
            (line["outcome"], line["ended_by"]) = ("cancelled".into(), "client".into());
        }),
        (AccessLog, "request 5: no line, although", |scene| {
            scene.plan.wire.clients[0].half_closes = true;
            scene.begun.insert(0, (5, MILLISECOND));
            let planned = RequestPlan { id: 5, ..scene.plan.requests[0] };
            scene.plan.requests.push(planned);
            scene.ends.push((5, Received::nothing(End::Broken, 2 * MILLISECOND)));
        }),
        (OwnResponse, "503 with error proxy", |scene| {
            scene.inject(When::Start, Act::Replace);
            scene.plan.pool.config.timeouts.drain = std::time::Duration::from_secs(1);
            let named = "baton; error=proxy_internal_error; details=\"x; evidence=-\"";
            scene.end(3).proxy_status = Some(named.to_owned());
        }),
        (OwnResponse, "504 with error", |scene| {
            is_patient(scene);
            let named = "baton; error=http_response_timeout; details=\"x; evidence=-\"";
            let end = scene.end(3);
            (end.status, end.proxy_status) = (Some(504), Some(named.to_owned()));
            end.at = 50 * SECOND;
            end.date = Some("Thu, 01 Jan 2026 00:00:50 GMT".to_owned());
        }),
    ]);
    all_are_allowed(&[("the backend does not finish it", |scene| {
        scene.inject(OWN, Act::NeverFinish);
        cut(scene);
    })]);
}
