//! Retries by evidence on a whole pool; the table itself is tested in `retry`.

use super::*;
use crate::pool::input::code;

/// Returns a pool of two backends, and a request on its first attempt.
fn sent(idempotent: bool, has_body: bool) -> (World, RequestId, StreamToken) {
    let mut world = World::new(config(2));
    let request = world.arrive(idempotent, has_body);
    world.connect_one(4);
    let stream = world.open_one();
    (world, request, stream)
}

/// Returns true if a request with this failure is retried.
fn retried(idempotent: bool, failure: StreamFailure) -> bool {
    let (mut world, request, stream) = sent(idempotent, false);
    world.fail(stream, failure);
    match world.outcome(request) {
        None => true,
        Some(Outcome::Rejected(Rejection::AttemptFailed)) => false,
        Some(other) => panic!("unexpected outcome {other:?}"),
    }
}

#[test]
fn every_reset_code_before_a_response() {
    for code in 0..=0xe {
        let failure = StreamFailure::Reset { code };
        assert!(retried(true, failure), "idempotent, code {code}");
        assert_eq!(retried(false, failure), code == code::REFUSED_STREAM, "code {code}");
    }
}

#[test]
fn unsent_and_unprocessed_are_retried_for_any_method_and_unknown_is_not() {
    assert!(retried(false, StreamFailure::NotSent));
    assert!(retried(false, StreamFailure::Unprocessed));
    assert!(!retried(false, StreamFailure::ConnectionLost));
    assert!(!retried(false, StreamFailure::Malformed));
    assert!(retried(true, StreamFailure::ConnectionLost));
}

#[test]
fn every_reset_code_after_a_response_byte_cuts_short() {
    for code in 0..=0xe {
        let (mut world, request, stream) = sent(true, false);
        world.done(Input::ResponseStarted { stream, status: 200 });
        world.fail(stream, StreamFailure::Reset { code });
        let end = (Outcome::CutShort, 1, Some(Evidence::Responding));
        assert_eq!(world.outcomes[&request], end, "code {code}");
    }
}

#[test]
fn a_retry_goes_to_another_backend() {
    let (mut world, request, stream) = sent(false, false);
    world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    let elsewhere = world.dials();
    assert_eq!(elsewhere.len(), 1, "another backend is dialled for it");
    assert_ne!(elsewhere[0].backend, stream.connection.backend);
    let again = world.open_one();
    assert_eq!(again.connection, stream.connection, "the only stream free at the moment");
    world.answer(again);
    let end = (Outcome::Completed, 2, None);
    assert_eq!(world.outcomes[&request], end);
}

#[test]
fn a_request_gets_at_most_three_attempts() {
    let (mut world, request, mut stream) = sent(true, false);
    for _ in 0..2 {
        world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
        world.connect_all();
        stream = world.open_one();
    }
    world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&request], (outcome, 3, Some(Evidence::Refused)));
    assert_eq!(Rejection::AttemptFailed.status(), 502);
}

#[test]
fn a_body_beyond_the_replay_buffer_is_not_retried() {
    let (mut world, request, stream) = sent(true, true);
    world.done(Input::ReplayBufferExceeded { request, stream });
    world.fail(stream, StreamFailure::Unprocessed);
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&request], (outcome, 1, Some(Evidence::Unprocessed)));
}

#[test]
fn a_body_that_outgrows_the_buffer_during_its_retry_ends_the_request() {
    let (mut world, request, stream) = sent(true, true);
    world.fail(stream, StreamFailure::Unprocessed);
    assert_eq!(world.outcome(request), None, "it is retried");
    // The upload of the first attempt went on meanwhile, so its buffered part is gone.
    world.done(Input::ReplayBufferExceeded { request, stream });
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcome(request), Some(outcome));
}

#[test]
fn the_retry_budget_limits_retries() {
    let mut config = config(1);
    config.limits.streams_per_connection = 30;
    config.limits.waiting = 30;
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    for _ in 0..30 {
        world.get();
    }
    world.connect_one(30);
    for (stream, _) in world.opens() {
        world.opened(stream);
        world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
    }
    let failed = world.outcomes.values().filter(|end| end.1 == 1).count();
    assert_eq!(failed, 20, "ten retries are the floor of the budget, the others fail");
}

#[test]
fn streams_not_yet_written_when_the_connection_closed_are_retried() {
    let mut world = World::new(config(2));
    let requests: Vec<_> = (0..3).map(|_| world.post()).collect();
    let dials = world.dials();
    world.connected(dials[0], 4);
    let streams: Vec<_> = world.opens().iter().map(|(stream, _)| *stream).collect();
    world.opened(streams[0]);
    world.opened(streams[1]);
    world.done(Input::ConnectionClosed { connection: dials[0], sent_through: 1 });
    assert_eq!(world.pool.stats().retrying, 2, "identifier 3, and the one never opened");
    world.fail(streams[0], StreamFailure::ConnectionLost);
    let outcome = Outcome::Rejected(Rejection::AttemptFailed);
    assert_eq!(world.outcomes[&requests[0]], (outcome, 1, Some(Evidence::Unknown)));
    assert_eq!(world.pool.slot_state(dials[0].backend, 0), Some(SlotState::Empty));
}

#[test]
fn a_response_that_was_received_before_the_connection_closed_is_delivered() {
    let (mut world, request, stream) = sent(false, false);
    let connection = stream.connection;
    world.done(Input::ConnectionClosed { connection, sent_through: 1 });
    assert_eq!(world.outcome(request), None, "its owner may still hold the response");
    let again = Input::ConnectionClosed { connection, sent_through: 1 };
    assert_eq!(world.tell(again), Handled::Refused);
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.done(Input::ResponseEnded { stream });
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    assert!(world.closes().is_empty(), "there is nothing left to close");
}

#[test]
fn a_lost_connection_whose_streams_never_report_ends_at_the_drain_deadline() {
    let (mut world, request, stream) = sent(false, false);
    let connection = stream.connection;
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.done(Input::ConnectionClosed { connection, sent_through: 1 });
    world.pass(SECOND * 30);
    assert_eq!(world.outcome(request), Some(Outcome::CutShort));
    assert!(
        world.closes().iter().all(|(closed, _)| *closed != connection),
        "it was closed already"
    );
}

#[test]
fn a_connection_takes_no_streams_after_too_many_malformed_responses() {
    let mut world = World::new(config(1));
    for number in 1..=limits::MALFORMED_PER_CONNECTION_MAX {
        world.post();
        if number == 1 {
            world.connect_one(100);
        }
        let stream = world.open_one();
        world.done(Input::StreamFailed { stream, failure: StreamFailure::Malformed });
        let is_in_use = world.pool.is_current(stream.connection);
        assert_eq!(is_in_use, number < limits::MALFORMED_PER_CONNECTION_MAX, "after {number}");
    }
}
