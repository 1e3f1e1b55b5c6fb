//! Blame for failed attempts: backends that fail requests, and requests that every
//! backend fails.

use super::*;

/// The peer says that the request is at fault.
const ACCUSED: StreamFailure = StreamFailure::Reset { code: 0xb };

/// Connects to every backend and has each answer once; returns the pool a while later.
fn warm(backends: usize) -> World {
    let mut world = World::new(config(backends));
    let requests: Vec<_> = (0..backends).map(|_| world.get()).collect();
    world.connect_all();
    for (stream, _) in world.opens() {
        world.opened(stream);
        world.answer(stream);
    }
    assert!(requests.iter().all(|request| world.outcome(*request) == Some(Outcome::Completed)));
    world.connect_all();
    world.pass(5 * SECOND);
    world
}

/// Serves a request whose attempts on all backends fail; returns how many there were.
fn poisoned(
    world: &mut World,
    request: impl FnOnce(&mut World) -> RequestId,
    failure: StreamFailure,
) -> u8 {
    let request = request(world);
    while world.outcome(request).is_none() {
        world.connect_all();
        let Some((stream, _)) = world.opens().pop() else {
            // The next dial waits.
            world.pass(100 * MILLISECOND);
            continue;
        };
        world.opened(stream);
        if failure == StreamFailure::ConnectionLost {
            let connection = stream.connection;
            world.done(Input::ConnectionClosed { connection, sent_through: u32::MAX });
        }
        world.fail(stream, failure);
    }
    let (outcome, attempts, _) = world.outcomes[&request];
    assert_eq!(outcome, Outcome::Rejected(Rejection::AttemptFailed));
    attempts
}

fn ejections(world: &World) -> u64 {
    world.pool.stats().counters.ejections
}

#[test]
fn a_request_that_two_backends_fail_is_not_repeated_on_a_third_and_ejects_none() {
    for failure in [FAULT, ACCUSED, StreamFailure::Malformed] {
        let mut world = warm(3);
        for _ in 0..20 {
            assert_eq!(poisoned(&mut world, World::get, failure), 2, "{failure:?}");
            world.pass(SECOND);
        }
        assert_eq!(ejections(&world), 0, "{failure:?}");
    }
}

#[test]
fn a_request_that_costs_every_connection_ejects_no_backend() {
    let mut world = warm(3);
    for _ in 0..20 {
        let attempts = poisoned(&mut world, World::get, StreamFailure::ConnectionLost);
        assert_eq!(attempts, 3);
        world.pass(SECOND);
    }
    assert_eq!(ejections(&world), 0);
}

/// Serves requests that the first backend fails and the others answer with this status.
fn failed_by_the_first(world: &mut World, failure: StreamFailure, status: u16) {
    for _ in 0..20 {
        world.get();
        world.connect_all();
        while let Some((stream, _)) = world.opens().first().copied() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 {
                world.fail(stream, failure);
                world.connect_all();
            } else {
                world.done(Input::ResponseStarted { stream, status });
                world.done(Input::ResponseEnded { stream });
            }
        }
    }
}

#[test]
fn a_backend_whose_requests_another_one_answers_is_ejected() {
    for failure in [FAULT, ACCUSED, StreamFailure::Malformed] {
        let mut world = warm(2);
        failed_by_the_first(&mut world, failure, 200);
        assert_eq!(ejections(&world), 1, "{failure:?}");
        assert!(!world.pool.is_healthy(BackendId(0)), "{failure:?}");
    }
}

#[test]
fn a_post_that_a_backend_accuses_says_nothing_about_the_backend() {
    let mut world = warm(1);
    for _ in 0..20 {
        assert_eq!(poisoned(&mut world, World::post, ACCUSED), 1);
        world.pass(2 * SECOND);
    }
    assert_eq!(ejections(&world), 0);
}

#[test]
fn failed_posts_count_only_while_the_backend_answers_no_others() {
    for (answers, ejected) in [(true, 0), (false, 1)] {
        let mut world = warm(1);
        for _ in 0..3 {
            if answers {
                world.round(World::get, |_| Fate::Answered);
            }
            for _ in 0..4 {
                assert_eq!(poisoned(&mut world, World::post, FAULT), 1);
            }
        }
        assert_eq!(ejections(&world), ejected, "with answers: {answers}");
    }
}

#[test]
fn slow_responses_count_only_if_the_backend_has_answered_no_others_meanwhile() {
    for (answers, ejected) in [(true, 0), (false, 1)] {
        let mut world = warm(1);
        for _ in 0..3 {
            world.round(World::get, |_| Fate::Held);
        }
        for _ in 0..31 {
            if answers {
                world.round(World::get, |_| Fate::Answered);
            }
            for connection in world.pings() {
                world.done(Input::Pong { connection });
            }
            world.pass(SECOND);
        }
        assert_eq!(ejections(&world), ejected, "with answers: {answers}");
    }
}

#[test]
fn a_failed_trial_request_ejects_at_once() {
    let mut world = warm(1);
    for _ in 0..3 {
        poisoned(&mut world, World::post, FAULT);
    }
    assert_eq!(ejections(&world), 1);
    world.pass(6 * SECOND);
    world.round(World::post, |_| Fate::Failed);
    assert_eq!(ejections(&world), 2);
}

#[test]
fn an_answer_that_is_an_error_confirms_no_doubt() {
    for (status, ejected) in [(400, 0), (431, 0), (500, 0), (503, 0), (404, 1), (200, 1)] {
        let mut config = config(2);
        config.health.gateway_failures = 0;
        let mut world = World::new(config);
        failed_by_the_first(&mut world, FAULT, status);
        assert_eq!(ejections(&world), ejected, "{status}");
    }
}

#[test]
fn a_backend_that_closes_every_new_connection_is_ejected_whatever_the_pace() {
    for pause in [200 * MILLISECOND, SECOND, 4 * SECOND] {
        let mut world = World::new(config(2));
        for _ in 0..60 {
            world.get();
            for _ in 0..4 {
                world.connect_all();
                for (stream, _) in world.opens() {
                    world.opened(stream);
                    if stream.connection.backend.0 == 0 {
                        let connection = stream.connection;
                        world.done(Input::ConnectionClosed { connection, sent_through: 9999 });
                        world.fail(stream, StreamFailure::ConnectionLost);
                    } else {
                        world.answer(stream);
                    }
                }
            }
            world.pass(pause);
        }
        assert!(ejections(&world) >= 1, "{pause:?}");
    }
}

#[test]
fn a_backend_that_was_removed_is_not_blamed_later() {
    let mut world = warm(2);
    world.get();
    let stream = world.open_one();
    let doubted = world.token(stream.connection.backend.0);
    world.fail(stream, FAULT);
    world.done(Input::BackendRemoved { backend: doubted });
    world.connect_all();
    let stream = world.open_one();
    assert_ne!(stream.connection.backend, doubted.backend);
    world.answer(stream);
    assert_eq!(ejections(&world), 0);
}

#[test]
fn connections_that_fail_with_the_first_request_back_off_and_count_once() {
    let mut config = config(1);
    config.backends[0].exclusive = true;
    let mut world = World::new(config);
    let requests = [world.post(), world.post()];
    let dials = world.dials();
    for connection in &dials {
        world.connected(*connection, 1);
    }
    let streams = world.opens();
    for (stream, _) in &streams {
        world.opened(*stream);
    }
    for (stream, _) in &streams {
        let connection = stream.connection;
        world.done(Input::ConnectionClosed { connection, sent_through: u32::MAX });
        world.fail(*stream, StreamFailure::ConnectionLost);
    }
    assert!(requests.iter().all(|request| world.outcome(*request).is_some()));
    world.get();
    assert_eq!(world.dials(), [], "the next dial waits");
    world.pass(SECOND);
    assert_eq!(world.dials().len(), 1);
    assert_eq!(ejections(&world), 0, "two of three failures would be four");
}
