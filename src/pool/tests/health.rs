//! Passive health, tested on a whole pool.

use super::*;
use crate::pool::input::code;

/// Fails every attempt on `bad` backends and answers the others; returns the backend of each
/// attempt.
fn serve(world: &mut World, requests: usize, bad: &[u16]) -> Vec<u16> {
    let mut attempts = Vec::new();
    for _ in 0..requests {
        world.arrive(false, false);
        loop {
            world.connect_all();
            let opens = world.opens();
            if opens.is_empty() {
                break;
            }
            for (stream, _) in opens {
                let backend = stream.connection.backend.0;
                attempts.push(backend);
                world.opened(stream);
                if bad.contains(&backend) {
                    world.fail(stream, FAULT);
                } else {
                    world.answer(stream);
                }
            }
        }
    }
    attempts
}

#[test]
fn three_failures_in_a_row_eject_a_backend_and_two_trial_requests_bring_it_back() {
    let mut world = World::new(config(2));
    let attempts = serve(&mut world, 20, &[0]);
    assert_eq!(attempts.iter().filter(|backend| **backend == 0).count(), 3);
    world.pass(SECOND * 5);
    let attempts = serve(&mut world, 1, &[]).into_iter().chain(serve(&mut world, 20, &[]));
    let back = attempts.filter(|backend| *backend == 0).count();
    assert!(back >= 8, "healthy after two successes: {back}");
}

#[test]
fn a_half_open_backend_gets_one_request_at_a_time() {
    let mut world = World::new(config(2));
    serve(&mut world, 20, &[0]);
    world.pass(SECOND * 5);
    let mut to_half_open = 0;
    for _ in 0..3 {
        world.get();
        world.connect_all();
        let opens = world.opens();
        to_half_open += opens.iter().filter(|(stream, _)| stream.connection.backend.0 == 0).count();
    }
    assert_eq!(to_half_open, 1);
}

#[test]
fn if_all_backends_fail_only_a_share_is_ejected_and_every_request_is_tried() {
    let mut world = World::new(config(2));
    serve(&mut world, 12, &[0, 1]);
    let out = (0..2).filter(|index| !world.pool.is_healthy(BackendId(*index))).count();
    assert_eq!(out, 1, "one backend may always be ejected, and a tenth of two is none");
    assert!(world.pool.stats().counters.ejection_overflow > 0);
    assert_eq!(world.pool.stats().waiting, 0, "requests are tried, and fail");
    let attempts = serve(&mut world, 4, &[]);
    assert_eq!(attempts.len(), 4, "requests are served once a backend works");
}

#[test]
fn the_only_backend_is_tried_however_often_it_failed() {
    let mut world = World::new(config(1));
    let attempts = serve(&mut world, 30, &[0]);
    assert_eq!(attempts.len(), 30);
}

#[test]
fn refused_and_cancelled_streams_are_not_failures() {
    let mut world = World::new(config(1));
    for _ in 0..10 {
        let request = world.get();
        world.connect_all();
        let stream = world.open_one();
        world.done(Input::RequestCancelled { request });
        world.done(Input::ResetSent { stream });
        world.get();
        let stream = world.open_one();
        world.fail(stream, StreamFailure::Reset { code: code::REFUSED_STREAM });
        let stream = world.open_one();
        world.answer(stream);
    }
    world.check_healthy();
}

impl World {
    fn check_healthy(&self) {
        assert!(matches!(
            self.pool.backends[0].health,
            crate::pool::health::Health::Healthy { .. }
        ));
    }
}

#[test]
fn a_lost_connection_is_one_failure_however_many_streams_it_carried() {
    let mut world = World::new(config(1));
    for _ in 0..4 {
        world.post();
    }
    let connection = world.connect_one(4);
    let streams = world.opens();
    for (stream, _) in &streams {
        world.opened(*stream);
    }
    world.done(Input::ConnectionClosed { connection, sent_through: 99 });
    for (stream, _) in streams {
        world.fail(stream, StreamFailure::ConnectionLost);
    }
    world.check_healthy();
}

/// Answers requests, with this status on one backend; returns the number that went to it.
fn answer_with(world: &mut World, requests: usize, status: u16, only: u16) -> usize {
    let mut to_first = 0;
    for _ in 0..requests {
        world.get();
        world.connect_all();
        for (stream, _) in world.opens() {
            world.opened(stream);
            let first = stream.connection.backend.0 == only;
            to_first += usize::from(first);
            let status = if first { status } else { 200 };
            world.done(Input::ResponseStarted { stream, status });
            world.done(Input::ResponseEnded { stream });
        }
    }
    to_first
}

#[test]
fn five_gateway_failures_in_a_row_eject_and_other_statuses_do_not() {
    for (status, most) in [(502, 5), (503, 5), (504, 5), (500, 20), (404, 20)] {
        let mut world = World::new(config(2));
        let to_first = answer_with(&mut world, 40, status, 0);
        assert!((most..=most + 1).contains(&to_first), "{status}: {to_first}");
    }
}

#[test]
fn with_fewer_than_half_healthy_the_pool_fails_open() {
    let mut config = config(3);
    config.health_checking = HealthChecking::Reported;
    let mut world = World::new(config);
    let reported = |world: &mut World, index: u16, passed| {
        let backend = world.token(index);
        for _ in 0..3 {
            world.done(Input::HealthCheckFinished { backend, number: 0, passed });
        }
    };
    reported(&mut world, 0, false);
    assert!(!world.pool.is_fail_open(), "two of three healthy backends are enough");
    assert!(!world.pool.may_be_used(BackendId(0)));
    reported(&mut world, 1, false);
    assert!(world.pool.is_fail_open());
    let all = (0..3).all(|index| world.pool.may_be_used(BackendId(index)));
    assert!(all, "one of three would be overloaded");
    reported(&mut world, 0, true);
    assert!(!world.pool.is_fail_open());
    assert!(!world.pool.may_be_used(BackendId(1)), "it is still down");
}
