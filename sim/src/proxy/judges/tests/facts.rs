//! Rules about what pools learn, against the wire.

use std::time::Duration;

use baton::pool::StreamFailure;

use super::scene::{SECOND, Scene};
use super::{all_are_allowed, all_are_found};
use crate::checker::Invariant::{
    FaithfulResponse, GoAway, Limits, PingBudget, Protocol, Silence, Timers, TruthfulOutcome,
};
use crate::plan::Direction::{self, In, Out};
use crate::plan::{Act, When, WireEffect};
use crate::proxy::frame_log::{Connection, Sign};
use crate::proxy::network::Key;
use crate::proxy::reported::{Reported, Stalled};

/// Another connection to the first backend, up at 1, with these signs and facts.
fn connection(scene: &mut Scene, signs: &[(u64, Direction, Sign)], reported: &[(u64, Reported)]) {
    let read_at = signs.iter().filter(|sign| sign.1 == In).map(|sign| sign.0).collect();
    let log = Connection { signs: signs.to_vec(), read_at };
    let number = scene.wire.len() as u32 + 1;
    scene.wire.insert(Key::Backend(0, number), log);
    let reported = [&[(1, Reported::Connected(Some(9)))], reported].concat();
    scene.reported.connections.insert((0, number), reported);
}

const LIMIT: (u64, Direction, Sign) = (5, In, Sign::Streams(2));
const OPENED: (u64, Direction, Sign) = (4, Out, Sign::Headers(3));
const GO_AWAY: (u64, Direction, Sign) = (6, In, Sign::GoAway { last: 1, code: 0 });
const REFUSED: (u64, Direction, Sign) = (6, In, Sign::Reset { stream: 3, code: 7 });
const RESET: (u64, Direction, Sign) = (9, Out, Sign::Reset { stream: 3, code: 8 });
const GONE_AWAY: (u64, Reported) = (6, Reported::GoAway { last: 1, code: 0 });

fn ping(after: u64) -> (u64, Reported) {
    (5 + after, Reported::Ping { silence: Duration::from_nanos(10) })
}

fn failed(failure: StreamFailure) -> (u64, Reported) {
    (8, Reported::Failed { stream: 3, failure })
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn pools_learn_what_is_read() {
    all_are_found(&[
        (PingBudget, "PING 9 ns after a frame", |scene| {
            connection(scene, &[LIMIT], &[(5, Reported::Streams(2)), ping(9)]);
        }),
        (Silence, "a delivery check at 5 ns has no answer", |scene| {
            connection(scene, &[], &[(5, Reported::DeliveryOrdered), (6, Reported::Closed)]);
        }),
        (Silence, "the system has not said Some(0) at 5 ns", |scene| {
            let answered = [(5, Reported::DeliveryOrdered), (5, Reported::Delivery(Some(0)))];
            connection(scene, &[], &answered);
            scene.deliveries.push((Key::Backend(0, 1), 5, Some(3)));
        }),
        (GoAway, "GOAWAY 1 was read at 6 ns", |scene| {
            connection(scene, &[GO_AWAY], &[(6, Reported::Closed)]);
        }),
        (Limits, "allow 2 streams, and the pool learned Some(9)", |scene| {
            connection(scene, &[LIMIT], &[(7, Reported::Streams(2))]);
        }),
        (Limits, "allow 3 streams, and the pool learned Some(2)", |scene| {
            let next = (5, In, Sign::Streams(3));
            connection(scene, &[LIMIT, next], &[(5, Reported::Streams(2))]);
        }),
        (TruthfulOutcome, "ConnectionLost after reset Some(7)", |scene| {
            connection(scene, &[OPENED, REFUSED], &[failed(StreamFailure::ConnectionLost)]);
        }),
        (TruthfulOutcome, "ConnectionLost after reset None and a GOAWAY", |scene| {
            let reported = [GONE_AWAY, failed(StreamFailure::ConnectionLost)];
            connection(scene, &[OPENED, GO_AWAY], &reported);
        }),
        (TruthfulOutcome, "Unprocessed after reset None and no GOAWAY", |scene| {
            connection(scene, &[OPENED], &[failed(StreamFailure::Unprocessed)]);
        }),
        (TruthfulOutcome, "NotSent", |scene| {
            connection(scene, &[OPENED], &[failed(StreamFailure::NotSent)]);
        }),
        (TruthfulOutcome, "Reset { code: 8 } after reset Some(7)", |scene| {
            let failure = StreamFailure::Reset { code: 8 };
            connection(scene, &[OPENED, REFUSED], &[failed(failure)]);
        }),
        (Limits, "counts as sent, but is not on the wire", |scene| {
            connection(scene, &[OPENED, RESET], &[(8, Reported::ResetSent(3))]);
        }),
        (Protocol, "stream 3: reset although it had ended", |scene| {
            let (up, down) = ((5, Out, Sign::End(3)), (7, In, Sign::End(3)));
            connection(scene, &[OPENED, up, down, RESET], &[(9, Reported::ResetOrdered(3))]);
        }),
    ]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_pools_cannot_know_is_not_asked_of_them() {
    all_are_allowed(&[
        ("a PING after silence", |scene| {
            connection(scene, &[LIMIT], &[(5, Reported::Streams(2)), ping(10)]);
        }),
        ("frames before it is up", |scene| {
            let before = [(1, In, Sign::Streams(2)), (1, In, Sign::GoAway { last: 1, code: 0 })];
            connection(scene, &before, &[]);
        }),
        ("frames behind the end", |scene| {
            connection(scene, &[LIMIT, GO_AWAY], &[(4, Reported::Closed)]);
        }),
        ("each failure has its reason", |scene| {
            let reset = failed(StreamFailure::Reset { code: 7 });
            connection(scene, &[OPENED, REFUSED], &[reset, (9, Reported::Closed)]);
            connection(scene, &[OPENED, GO_AWAY], &[GONE_AWAY, failed(StreamFailure::Unprocessed)]);
            connection(scene, &[OPENED], &[failed(StreamFailure::ConnectionLost)]);
            connection(scene, &[RESET], &[failed(StreamFailure::NotSent)]);
        }),
        ("a reset that is written, or of a stream that is over, or was never written", |scene| {
            connection(scene, &[OPENED, RESET], &[(9, Reported::ResetSent(3))]);
            connection(scene, &[OPENED, REFUSED], &[(7, Reported::ResetSent(3))]);
            connection(scene, &[], &[(7, Reported::ResetSent(3))]);
            connection(scene, &[OPENED], &[(7, Reported::ResetSent(3)), (7, Reported::Closed)]);
        }),
        ("a reset that crosses the end", |scene| {
            let (up, down) = ((5, Out, Sign::End(3)), (7, In, Sign::End(3)));
            connection(scene, &[OPENED, up, down, RESET], &[(7, Reported::ResetOrdered(3))]);
            connection(scene, &[OPENED, up, down], &[(8, Reported::ResetOrdered(3))]);
        }),
    ]);
}

/// The answer to the first request, all of which its client has, was cut this long after it went
/// on.
fn cut(scene: &mut Scene, still: Duration, waits: bool) {
    let answer = scene.executions[0].answer.as_mut().expect("it answered");
    (answer.ended, answer.waits) = (None, waits);
    let at = answer.at + still.as_nanos() as u64;
    // Another possible reason, which this judge does not ask for.
    scene.plan.pool.config.max_requests_per_connection = Some(100);
    scene.reported.stalled.push(Stalled { at, request: 1, after: Duration::from_secs(2) });
    scene.end(1).end = crate::proxy::ledger::End::Broken;
    let line = scene.line(1);
    (line["outcome"], line["ended_by"]) = ("cut_short".into(), "proxy".into());
    line["evidence"] = "responding".into();
    let attempt = &mut line["attempt_list"][0];
    attempt["evidence"] = "responding".into();
    attempt["failure"] = "response_stalled".into();
    let changed = scene.metrics.iter_mut().find(|(series, _)| {
        series.contains("outcome=\"completed\"") && series.contains("10.1.0.0")
    });
    let series = &mut changed.expect("it is counted").0;
    *series = series.replace("completed", "cut_short");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn only_what_stands_still_is_cut() {
    all_are_found(&[
        (Timers, "1999999999 ns after it went on", |scene| {
            cut(scene, Duration::from_nanos(2 * SECOND - 1), false);
        }),
        (FaithfulResponse, "for which the proxy gave no room", |scene| {
            cut(scene, Duration::from_secs(2), true);
        }),
    ]);
    all_are_allowed(&[
        ("it stood still", |scene| cut(scene, Duration::from_secs(2), false)),
        ("the network may have lost the room", |scene| {
            cut(scene, Duration::from_secs(2), true);
            let effect = WireEffect::Vanish;
            scene.inject(When::Start, Act::Wire { direction: Direction::Out, effect });
        }),
        ("the client had not all of it", |scene| {
            cut(scene, Duration::from_secs(1), false);
            scene.end(1).body.length = 299;
        }),
    ]);
}
