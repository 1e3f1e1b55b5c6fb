use super::*;
use crate::plan::Framing;
use crate::proxy::content::{Body, Seen};
use crate::proxy::ledger;

#[test]
fn every_framing_of_requests_and_answers_arrives_whole_however_small_the_room() {
    let mut requests = Vec::new();
    for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
        for answer_trailers in [false, true] {
            for body in [None, Some(false), Some(true)] {
                for piece_bytes in [0, 7, 40] {
                    let id = requests.len() as u32;
                    let mut request = if body.is_some() { upload(id) } else { request(id) };
                    request.at_us = u64::from(id) * 5_000;
                    request.idempotent = body.is_none() || id.is_multiple_of(2);
                    let wire = &mut request.wire;
                    (wire.framing, wire.answer_trailers) = (framing, answer_trailers);
                    (wire.piece_bytes, wire.answer_bytes) = (piece_bytes, 90 + id);
                    wire.chunked = body == Some(true);
                    wire.trailers = wire.chunked && answer_trailers;
                    requests.push(request);
                }
            }
        }
    }
    for room in [5, 1 << 16] {
        let ran = run_beside(plan(requests.clone()), room, |_, _| ready(()));
        ran.check_no_faults();
        for request in &requests {
            ran.check_complete(request.id);
            let (received, execution) = (ran.received(request.id), ran.execution(request.id));
            let expected = (received.body.length > 0).then_some(request.wire.answer_bytes);
            assert_eq!(received.body.length, u64::from(expected.unwrap_or(0)));
            let sent = if request.body_us.is_some() { 100 } else { 0 };
            assert_eq!(execution.body, Seen { length: sent, wrong_at: None });
            assert!(execution.body_ended);
            let trailer = ledger::trailer(Body::Request(request.id));
            assert_eq!(execution.trailer, request.wire.trailers.then_some(trailer));
        }
        let answers = ran.hub.ledger.executions();
        let answer = |execution: &Execution| execution.answer.expect("it was answered");
        assert!(answers.iter().any(|execution| answer(execution).trailers));
        // HEAD was among the methods, and was not the only one.
        assert!(answers.iter().any(|execution| answer(execution).length == 0));
        assert!(answers.iter().filter(|execution| answer(execution).length > 90).count() > 25);
    }
}

#[test]
fn bodies_take_their_time() {
    let mut sent = upload(2);
    sent.body_us = Some(300_000);
    let ran = run(plan(vec![sent]));
    // 300 ms up, 10 ms of work and 100 ms down.
    let at = ran.received(2).at;
    assert!((410 * MILLISECOND..420 * MILLISECOND).contains(&at), "{at}");
    assert!(ran.execution(2).at < 5 * MILLISECOND);
}

#[test]
fn connections_are_kept_and_another_is_opened_only_if_all_are_busy() {
    let at = |id, at_us| RequestPlan { at_us, ..request(id) };
    let ran = run(plan(vec![at(2, 0), at(3, 50_000), at(4, 300_000), at(5, 600_000)]));
    let places = [2, 3, 4, 5].map(|id| (ran.execution(id).connection, ran.execution(id).stream));
    assert_eq!(places, [(1, 1), (2, 1), (1, 2), (1, 3)]);
    ran.check_no_faults();
}

#[test]
fn a_backend_closes_after_its_streams() {
    let at = |id: u32| RequestPlan { at_us: u64::from(id) * 300_000, ..request(id) };
    let mut plan = plan((2..7).map(at).collect());
    plan.backends[0].streams_per_connection = Some(2);
    let ran = run(plan);
    let connections: Vec<u32> = (2..7).map(|id| ran.execution(id).connection).collect();
    assert_eq!(connections, [1, 1, 2, 2, 3]);
    (2..7).for_each(|id| ran.check_complete(id));
}

#[test]
fn an_expectation_is_met_and_not_counted() {
    let mut expecting = upload(2);
    expecting.wire.expects = true;
    expecting.informational = 3;
    let ran = run(plan(vec![expecting]));
    ran.check_complete(2);
    assert_eq!(ran.received(2).informational, 3);
    assert!(ran.received(2).at < 300 * MILLISECOND, "it did not wait for its own timeout");
    assert_eq!(ran.execution(2).body.length, 100);
}

#[test]
fn an_early_answer_is_whole_and_the_rest_is_read_or_the_connection_closed() {
    let early = |id: u32| RequestPlan {
        at_us: u64::from(id) * 2_000_000,
        early_response: true,
        body_us: Some(800_000),
        ..upload(id)
    };
    let ran = run(plan((1..40).map(early).collect()));
    ran.check_no_faults();
    for id in 1..40 {
        ran.check_complete(id);
        let at = ran.received(id).at - u64::from(id) * 2_000 * MILLISECOND;
        assert!(at < 120 * MILLISECOND, "it waited for the upload");
    }
    let executions = ran.hub.ledger.executions();
    let read = executions.iter().filter(|execution| execution.body_ended).count();
    // Either side may give up the rest.
    assert!((5..20).contains(&read), "{read}");
    let kept = executions.iter().filter(|execution| execution.stream > 1).count();
    assert!(kept > 0 && kept <= read, "{kept} of {read}");
}

#[test]
fn an_early_answer_may_refuse_an_expectation() {
    let expecting = |id: u32| {
        let at_us = u64::from(id) * 2_000_000;
        let mut request = RequestPlan { at_us, early_response: true, ..upload(id) };
        request.wire.expects = true;
        request
    };
    let ran = run(plan((1..20).map(expecting).collect()));
    ran.check_no_faults();
    (1..20).for_each(|id| ran.check_complete(id));
    let sent = |id: &u32| ran.execution(*id).body.length > 0;
    let sent = (1..20).filter(sent).count();
    assert!((3..16).contains(&sent), "some clients send the body all the same: {sent}");
}

#[test]
fn the_same_plan_gives_the_same_ledger() {
    let requests = || (1..30).map(|id| if id % 2 == 0 { upload(id) } else { request(id) });
    let ran = || run(plan(requests().collect())).hub.ledger.received();
    assert_eq!(ran(), ran());
}
