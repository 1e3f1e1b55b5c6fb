//! Silent and suspect connections.

use super::*;
use crate::pool::input::code;

fn one_request() -> (World, ConnectionToken, StreamToken) {
    let mut world = World::new(config(1));
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    (world, connection, stream)
}

fn state(world: &World) -> SlotState {
    world.pool.slot_state(BackendId(0), 0).expect("slot 0 exists")
}

#[test]
fn silence_with_work_outstanding_sends_one_ping_and_takes_no_new_stream() {
    let (mut world, connection, _stream) = one_request();
    world.pass(MILLISECOND * 999);
    assert_eq!(state(&world), SlotState::Available);
    world.pass(MILLISECOND);
    assert_eq!(state(&world), SlotState::Suspect);
    assert_eq!(world.pings(), [connection]);
    world.get();
    assert!(world.opens().is_empty());
    assert_eq!(world.dials().len(), 1, "a successor is dialled for the new request");
    world.pass(SECOND);
    assert!(world.pings().is_empty(), "one PING at most");
}

/// A client that waits only for a moment for each of its requests.
fn give_up_after(world: &mut World, time: Duration) {
    let request = world.get();
    let stream = world.open_one();
    world.pass(time);
    world.done(Input::RequestCancelled { request });
    world.done(Input::ResetSent { stream });
}

#[test]
fn short_requests_do_not_hide_a_dead_connection() {
    let (mut world, connection, stream) = one_request();
    world.answer(stream);
    for _ in 0..3 {
        give_up_after(&mut world, MILLISECOND * 300);
        world.pass(SECOND * 10);
    }
    assert!(world.pings().is_empty(), "it was silent for 0.9 s with requests on it");
    world.get();
    world.pass(MILLISECOND * 99);
    assert!(world.pings().is_empty());
    world.pass(MILLISECOND);
    assert_eq!(world.pings(), [connection]);
    world.pass(SECOND * 5);
    assert_eq!(world.closes(), [(connection, CloseReason::Silent)]);
}

#[test]
fn a_response_whose_end_waits_for_its_client_is_no_silence_for_the_next_request() {
    let (mut world, connection, stream) = one_request();
    world.done(Input::ResponseStarted { stream, status: 200 });
    world.pass(MILLISECOND * 900);
    world.done(Input::ResponseEnded { stream });
    world.get();
    world.pass(MILLISECOND * 999);
    assert!(world.pings().is_empty());
    world.pass(MILLISECOND);
    assert_eq!(world.pings(), [connection]);
}

#[test]
fn a_frame_while_a_connection_is_idle_ends_its_silence() {
    let (mut world, connection, stream) = one_request();
    world.answer(stream);
    give_up_after(&mut world, MILLISECOND * 900);
    world.done(Input::FrameReceived { connection, carries_message: false });
    give_up_after(&mut world, MILLISECOND * 900);
    assert!(world.pings().is_empty());
    world.get();
    world.pass(MILLISECOND * 100);
    assert_eq!(world.pings(), [connection]);
}

#[test]
fn an_idle_connection_is_never_suspected() {
    let (mut world, _connection, stream) = one_request();
    world.answer(stream);
    world.pass(SECOND * 59);
    assert!(world.pings().is_empty());
}

#[test]
fn any_frame_ends_suspicion_and_serves_waiting_requests() {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    world.get();
    let connection = world.connect_one(4);
    world.pass(SECOND);
    world.opens();
    world.get();
    assert!(world.opens().is_empty());
    world.done(Input::FrameReceived { connection, carries_message: false });
    assert_eq!(state(&world), SlotState::Available);
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn five_more_silent_seconds_close_the_connection_and_retry_its_requests() {
    let (mut world, connection, _stream) = one_request();
    world.pass(SECOND * 6);
    assert_eq!(world.closes(), [(connection, CloseReason::Silent)]);
    assert_eq!(world.pool.stats().retrying, 1);
}

#[test]
fn a_busy_backend_keeps_its_requests_and_gets_no_new_ones() {
    let (mut world, connection, stream) = one_request();
    world.host = Host::Leaves(Some(1));
    world.pass(SECOND * 25);
    assert!(world.closes().is_empty());
    assert_eq!(state(&world), SlotState::Suspect);
    world.get();
    assert!(world.opens().is_empty());
    assert_eq!(world.pings(), [connection], "it is asked once");
    world.done(Input::FrameReceived { connection, carries_message: true });
    assert_eq!(world.opens().len(), 1, "it gets requests again");
    world.answer(stream);
    assert_eq!(state(&world), SlotState::Available);
    assert!(world.pool.is_healthy(BackendId(0)));
}

#[test]
fn a_host_that_dies_while_its_backend_is_busy_is_found_at_the_next_check() {
    let (mut world, connection, _stream) = one_request();
    world.host = Host::Leaves(Some(0));
    world.pass(SECOND * 12);
    assert!(world.closes().is_empty());
    world.host = Host::Leaves(Some(2));
    world.pass(SECOND * 5);
    assert_eq!(world.closes(), [(connection, CloseReason::Silent)]);
}

#[test]
fn a_host_is_dead_if_the_system_cannot_tell_or_the_answer_is_missing() {
    for (host, seconds) in [(Host::Leaves(None), 6), (Host::Unanswered, 11)] {
        let (mut world, connection, _stream) = one_request();
        world.host = host;
        world.pass(SECOND * seconds - MILLISECOND);
        assert!(world.closes().is_empty());
        world.pass(MILLISECOND);
        assert_eq!(world.closes(), [(connection, CloseReason::Silent)]);
    }
}

#[test]
fn a_delivery_check_is_answered_once_and_too_late_for_a_connection_that_recovered() {
    let (mut world, connection, _stream) = one_request();
    let dead = Input::DeliveryChecked { connection, unanswered: Some(9) };
    assert_eq!(world.tell(dead), Handled::Refused);
    world.host = Host::Unanswered;
    world.pass(SECOND * 6);
    assert_eq!(world.delivery_checks(), [connection]);
    world.done(Input::FrameReceived { connection, carries_message: false });
    world.done(dead);
    assert_eq!(state(&world), SlotState::Available);
    assert_eq!(world.tell(dead), Handled::Refused);
}

#[test]
fn a_busy_connection_without_requests_is_closed_without_blame() {
    let (mut world, connection, stream) = one_request();
    world.host = Host::Leaves(Some(0));
    world.pass(SECOND * 10);
    let request = world.pool.requests.id(0);
    world.done(Input::RequestCancelled { request });
    world.done(Input::ResetSent { stream });
    world.pass(SECOND);
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
    assert!(world.pool.is_healthy(BackendId(0)));
}

/// A connection that is busy, and its successor: there may be one connection at a time.
fn busy_with_a_successor() -> (World, ConnectionToken, StreamToken, ConnectionToken) {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    world.host = Host::Leaves(Some(0));
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.pass(SECOND * 4);
    world.get();
    assert!(world.dials().is_empty(), "it may still be alive or dead");
    world.pass(SECOND * 2);
    let successor = world.connect_one(4);
    assert_eq!(world.opens().len(), 1);
    (world, connection, stream, successor)
}

#[test]
fn a_busy_connection_leaves_its_place_and_its_requests_go_on() {
    let (mut world, connection, stream, successor) = busy_with_a_successor();
    world.done(Input::FrameReceived { connection, carries_message: false });
    assert_eq!(state(&world), SlotState::Suspect, "there is no place left");
    world.get();
    assert_eq!(world.opens()[0].0.connection, successor);
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: None });
    world.done(Input::DrainCancelled { backend });
    assert_eq!(state(&world), SlotState::Suspect);
    world.get();
    assert_eq!(world.opens()[0].0.connection, successor, "it is not silent");
    world.answer(stream);
    world.pass(SECOND * 5);
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
}

#[test]
fn a_busy_connection_that_has_answered_takes_a_place_that_becomes_free() {
    let (mut world, connection, _stream, successor) = busy_with_a_successor();
    world.done(Input::Pong { connection });
    world.done(Input::ConnectionClosed { connection: successor, sent_through: 0 });
    assert_eq!(state(&world), SlotState::Suspect);
    world.dials();
    world.pass(SECOND * 5);
    assert_eq!(state(&world), SlotState::Suspect, "the dial has the place");
}

#[test]
fn a_busy_connection_whose_successor_is_gone_takes_requests_again() {
    let (mut world, connection, _stream, successor) = busy_with_a_successor();
    world.done(Input::ConnectionClosed { connection: successor, sent_through: u32::MAX });
    world.done(Input::FrameReceived { connection, carries_message: false });
    assert_eq!(state(&world), SlotState::Available);
}

#[test]
fn steady_frames_keep_a_connection_from_suspicion() {
    let (mut world, connection, _stream) = one_request();
    for _ in 0..30 {
        world.pass(MILLISECOND * 900);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    assert!(world.pings().is_empty());
}

#[test]
fn the_allowed_silence_grows_with_the_response_time() {
    let (mut world, connection, stream) = one_request();
    for _ in 0..3 {
        world.pass(MILLISECOND * 900);
        world.done(Input::FrameReceived { connection, carries_message: false });
    }
    world.answer(stream);
    world.get();
    world.open_one();
    world.pass(SECOND * 10);
    assert!(world.pings().is_empty(), "four times 2.7 s is 10.8 s");
    world.pass(SECOND);
    assert_eq!(world.pings().len(), 1);
}

#[test]
fn at_most_one_ping_is_unanswered_and_each_answer_doubles_the_silence() {
    let (mut world, connection, _stream) = one_request();
    world.pass(SECOND);
    assert_eq!(world.pings().len(), 1);
    world.done(Input::FrameReceived { connection, carries_message: false });
    world.pass(SECOND);
    assert_eq!(state(&world), SlotState::Suspect);
    assert!(world.pings().is_empty(), "the first PING is still unanswered");
    world.done(Input::Pong { connection });
    assert_eq!(world.tell(Input::Pong { connection }), Handled::Refused);
    world.pass(MILLISECOND * 1_999);
    assert!(world.pings().is_empty());
    world.pass(MILLISECOND);
    assert_eq!(world.pings().len(), 1, "after twice the silence");
}

/// Passes time in steps of a second, answers each PING, and returns the seconds at which they came.
fn seconds_of_pings(world: &mut World, connection: ConnectionToken, most: u64) -> Vec<u64> {
    let mut seconds = Vec::new();
    for second in 1..=most {
        world.pass(SECOND);
        if !world.pings().is_empty() {
            world.done(Input::Pong { connection });
            seconds.push(second);
        }
    }
    seconds
}

/// A stream whose response has begun, and may be silent for as long as it likes.
fn silent_stream() -> (World, ConnectionToken, StreamToken) {
    let mut config = config(1);
    config.timeouts.response_stall = SECOND * 3_600;
    let mut world = World::new(config);
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    (world, connection, stream)
}

#[test]
fn a_silent_stream_gets_two_pings_and_then_one_in_five_minutes() {
    let (mut world, connection, _stream) = silent_stream();
    let seconds = seconds_of_pings(&mut world, connection, 1_000);
    assert_eq!(seconds, [1, 3, 313, 623, 933]);
    assert_eq!(state(&world), SlotState::Available);
}

#[test]
fn a_new_request_on_a_silent_connection_causes_one_more_ping_at_once() {
    let (mut world, connection, _stream) = silent_stream();
    assert_eq!(seconds_of_pings(&mut world, connection, 320), [1, 3, 313]);
    for expected in [&[1][..], &[]] {
        world.get();
        world.open_one();
        assert_eq!(seconds_of_pings(&mut world, connection, 20), expected);
    }
}

#[test]
fn a_connection_that_died_under_a_silent_stream_is_found_with_the_next_request() {
    let (mut world, connection, _stream) = silent_stream();
    assert_eq!(seconds_of_pings(&mut world, connection, 60), [1, 3]);
    world.get();
    world.open_one();
    world.pass(SECOND * 6);
    assert_eq!(world.closes(), [(connection, CloseReason::Silent)]);
    assert_eq!(world.pool.stats().retrying, 1, "the new one is tried again");
}

#[test]
fn a_frame_of_a_message_allows_two_pings_again() {
    let (mut world, connection, _stream) = silent_stream();
    assert_eq!(seconds_of_pings(&mut world, connection, 10), [1, 3]);
    world.done(Input::FrameReceived { connection, carries_message: false });
    assert_eq!(seconds_of_pings(&mut world, connection, 60), [0; 0]);
    world.done(Input::FrameReceived { connection, carries_message: true });
    assert_eq!(seconds_of_pings(&mut world, connection, 400), [1, 3, 313]);
}

#[test]
fn a_progress_that_the_client_makes_allows_no_ping() {
    let (mut world, connection, stream) = silent_stream();
    assert_eq!(seconds_of_pings(&mut world, connection, 10), [1, 3]);
    world.done(Input::BodyProgressed { stream, bytes: 1 });
    assert_eq!(seconds_of_pings(&mut world, connection, 60), [0; 0]);
}

#[test]
fn enhance_your_calm_doubles_the_silence_for_the_backend() {
    let (mut world, connection, _stream) = one_request();
    world.pass(SECOND);
    assert_eq!(world.pings().len(), 1);
    let code = code::ENHANCE_YOUR_CALM;
    world.done(Input::GoAwayReceived { connection, last_stream_id: 1, code });
    world.get();
    world.connect_all();
    world.pass(MILLISECOND * 120);
    world.connect_all();
    assert_eq!(world.opens().len(), 1);
    world.pass(MILLISECOND * 1_800);
    assert!(world.pings().is_empty());
    world.pass(MILLISECOND * 200);
    assert_eq!(world.pings().len(), 1);
}

#[test]
fn enhance_your_calm_after_an_answered_ping_doubles_the_silence_too() {
    let (mut world, connection, _stream) = one_request();
    world.pass(SECOND);
    assert_eq!(world.pings().len(), 1);
    world.done(Input::Pong { connection });
    let code = code::ENHANCE_YOUR_CALM;
    world.done(Input::GoAwayReceived { connection, last_stream_id: 1, code });
    world.get();
    world.connect_all();
    assert_eq!(world.opens().len(), 1);
    world.pass(MILLISECOND * 1_999);
    assert!(world.pings().is_empty());
    world.pass(MILLISECOND);
    assert_eq!(world.pings().len(), 1);
}

#[test]
fn a_backend_that_has_objected_gets_one_ping_and_then_one_in_ten_minutes() {
    let (mut world, connection, _stream) = silent_stream();
    assert_eq!(seconds_of_pings(&mut world, connection, 10), [1, 3]);
    let code = code::ENHANCE_YOUR_CALM;
    world.done(Input::GoAwayReceived { connection, last_stream_id: 1, code });
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    assert_eq!(seconds_of_pings(&mut world, connection, 700), [2, 622]);
}

#[test]
fn http1_connections_have_no_ping_and_are_not_suspected() {
    let mut world = World::new(config(1));
    world.get();
    let connection = world.dials()[0];
    world.done(Input::Connected { connection, protocol: Protocol::Http1, max_streams: None });
    world.pass(SECOND * 20);
    assert!(world.pings().is_empty());
    assert_eq!(state(&world), SlotState::InUse);
}
