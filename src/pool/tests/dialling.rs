//! Requests and dials: late binding, few dials for many requests, backoff.

use super::*;

#[test]
fn one_dial_serves_as_many_waiting_requests_as_it_has_expected_streams() {
    let mut world = World::new(config(1));
    for _ in 0..4 {
        world.get();
    }
    assert_eq!(world.dials().len(), 1, "four waiting requests, four expected streams");
    world.get();
    assert_eq!(world.dials().len(), 1, "the fifth needs a second connection");
    for _ in 0..7 {
        world.get();
    }
    assert_eq!(world.dials().len(), 0, "two connections are the limit");
}

#[test]
fn an_exclusive_backend_is_dialled_once_per_waiting_request_up_to_the_limit() {
    let mut config = config(1);
    config.backends[0].exclusive = true;
    let mut world = World::new(config);
    for _ in 0..5 {
        world.get();
    }
    let dials = world.dials();
    assert_eq!(dials.len(), 2);
    let protocol = Protocol::Http1;
    for connection in dials {
        world.done(Input::Connected { connection, protocol, max_streams: None });
    }
    let opens = world.opens();
    assert_eq!(opens.len(), 2, "one request at a time on each");
    world.opened(opens[0].0);
    world.answer(opens[0].0);
    assert_eq!(world.opens().len(), 1, "the next oldest is served");
}

#[test]
fn after_a_fallback_to_http1_each_waiting_request_gets_a_dial() {
    let mut world = World::new(config(1));
    for _ in 0..3 {
        world.get();
    }
    let connection = world.dials()[0];
    world.done(Input::Connected { connection, protocol: Protocol::Http1, max_streams: None });
    assert_eq!(world.opens().len(), 1);
    assert_eq!(world.dials().len(), 1, "the other two wait for one more connection");
}

#[test]
fn a_waiting_request_takes_any_backend_and_is_not_bound_to_a_dial() {
    let mut world = World::new(config(2));
    let mut requests = vec![world.get()];
    let slow = world.dials()[0];
    for _ in 0..4 {
        requests.push(world.get());
    }
    let quick = world.dials()[0];
    assert_ne!(
        slow.backend, quick.backend,
        "the fifth needs a second dial: another backend's turn"
    );
    world.connected(quick, 4);
    let opens = world.opens();
    let served = opens.iter().map(|(_, request)| *request).collect::<Vec<_>>();
    assert_eq!(served, requests[..4], "the oldest, whichever dial they caused");
    assert!(opens.iter().all(|(stream, _)| stream.connection == quick));
}

#[test]
fn repeated_dispatch_does_not_dial_again() {
    let mut world = World::new(config(4));
    world.get();
    assert_eq!(world.dials().len(), 1);
    for _ in 0..5 {
        world.done(Input::Timeout);
        assert_eq!(world.dials().len(), 0, "one dial is enough for one waiting request");
    }
}

#[test]
fn dials_that_fail_together_are_one_failure() {
    let mut config = config(1);
    config.backends[0].exclusive = true;
    config.limits.connections_per_backend = 8;
    let mut world = World::new(config);
    for _ in 0..8 {
        world.get();
    }
    let dials = world.dials();
    assert_eq!(dials.len(), 8);
    for connection in dials {
        world.done(Input::ConnectFailed { connection, reason: ConnectFailure::Tcp });
    }
    world.pass(MILLISECOND * 120);
    assert!(!world.dials().is_empty(), "the first backoff is at most 100 ms and a fifth");
}

#[test]
fn a_slow_dial_is_soon_not_counted_on() {
    let mut world = World::new(config(2));
    world.get();
    let slow_dial = world.dials()[0];
    world.pass(SECOND);
    let dials = world.dials();
    assert_eq!(dials.len(), 1, "another dial after the slow-dial threshold of a second");
    assert_ne!(dials[0].backend, slow_dial.backend);
    world.connected(dials[0], 4);
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn a_backend_with_a_slow_dial_is_dialled_again_only_after_the_others() {
    let mut config = config(2);
    config.strategy = Strategy::Weighted;
    // With this weight, the first backend is also the next one in turn.
    config.backends[0].weight = 100;
    let mut world = World::new(config);
    world.get();
    let mut dialled = Vec::new();
    for _ in 0..3 {
        dialled.extend(world.dials().iter().map(|connection| connection.backend.0));
        world.pass(SECOND);
    }
    assert_eq!(dialled, [0, 1, 0]);
}

#[test]
fn cancelling_the_request_that_caused_a_dial_does_not_end_the_dial() {
    let mut world = World::new(config(1));
    let first = world.get();
    let second = world.get();
    world.done(Input::RequestCancelled { request: first });
    assert!(world.closes().is_empty());
    world.connect_one(4);
    assert_eq!(world.opens()[0].1, second);
    assert_eq!(world.outcome(first), Some(Outcome::Cancelled));
}

#[test]
fn a_dial_has_a_deadline_of_its_own() {
    let mut config = config(1);
    config.timeouts.queue = SECOND * 60;
    let mut world = World::new(config);
    world.get();
    let connection = world.dials()[0];
    world.pass(SECOND * 5);
    assert_eq!(
        world.closes().iter().filter(|(token, _)| *token == connection).collect::<Vec<_>>(),
        [&(connection, CloseReason::ConnectDeadline)]
    );
    assert_eq!(
        world.tell(Input::Connected { connection, protocol: Protocol::Http2, max_streams: None }),
        Handled::Stale,
        "it succeeded too late"
    );
}

#[test]
fn failed_dials_back_off_exponentially_with_jitter() {
    let mut config = config(1);
    config.timeouts.queue = SECOND * 3600;
    let mut world = World::new(config);
    world.get();
    let mut delays = Vec::new();
    for _ in 0..9 {
        let connection = world.dials()[0];
        world.done(Input::ConnectFailed { connection, reason: ConnectFailure::Tcp });
        assert!(world.dials().is_empty(), "not at once");
        let failed_at = world.now;
        while world.dials().is_empty() {
            let (at, _) = world.pool.poll_timeout().expect("the backoff has a timer");
            world.now = at;
            world.done(Input::Timeout);
            if world.orders.iter().any(|order| matches!(order, Output::Connect { .. })) {
                delays.push(world.now.since(failed_at));
                break;
            }
        }
    }
    for (number, delay) in delays.iter().enumerate() {
        let nominal = (MILLISECOND * 100 * (1 << number)).min(SECOND * 10);
        let bounds = (nominal * 4 / 5).max(MILLISECOND * 100)..=(nominal * 6 / 5).min(SECOND * 10);
        assert!(bounds.contains(delay), "delay {number}: {delay:?} not in {bounds:?}");
    }
    assert_eq!(delays.len(), 9);
}

#[test]
fn accept_then_close_backs_off_like_a_failed_dial() {
    let mut world = World::new(config(1));
    let request = world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ConnectionClosed { connection, sent_through: 99 });
    world.fail(stream, StreamFailure::ConnectionLost);
    assert!(world.dials().is_empty(), "the retry waits for the backoff");
    world.pass(MILLISECOND * 120);
    assert_eq!(world.dials().len(), 1);
    assert_eq!(world.outcome(request), None);
}

#[test]
fn requests_spread_over_backends_and_open_one_connection_each() {
    let mut world = World::new(config(2));
    let served = world.shares(20);
    assert!(served[..2].iter().all(|count| (9..=11).contains(count)), "{served:?}");
    assert_eq!(world.dialled(), 2);
}
