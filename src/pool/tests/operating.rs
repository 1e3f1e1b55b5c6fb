//! Changes by an operator, backends with failures, and both at once.

use super::*;
use crate::pool::health::Health;

/// Sends requests until one is on this backend, and holds its stream.
fn hold_on(world: &mut World, request: fn(&mut World) -> RequestId, index: u16) -> StreamToken {
    for _ in 0..100 {
        let held = world.round(request, only_on(index, Fate::Held));
        if let [stream] = held[..] {
            return stream;
        }
    }
    panic!("a backend in use gets one of a hundred requests");
}

/// Sends requests until three in a row have failed on this backend, which ejects it.
fn fail_on(world: &mut World, index: u16) {
    let mut failures = 0;
    for _ in 0..100 {
        if failures == 3 {
            return;
        }
        world.round(World::post, |stream| {
            let fate = only_on(index, Fate::Failed)(stream);
            failures += usize::from(matches!(fate, Fate::Failed));
            fate
        });
    }
    panic!("a backend in use gets three of a hundred requests");
}

/// Lets one second pass in which a body makes progress. The facts are stale if the stream ended.
fn go_on(world: &mut World, stream: StreamToken, bytes: u32) {
    world.pass(SECOND);
    let _ =
        world.tell(Input::FrameReceived { connection: stream.connection, carries_message: false });
    let _ = world.tell(Input::BodyProgressed { stream, bytes });
}

#[test]
fn a_new_strategy_starts_with_equal_virtual_times() {
    let mut config = config(2);
    config.strategy = Strategy::LeastLoaded;
    let mut world = World::new(config);
    world.shares(8);
    // The first backend has more load than the other, so it gets fewer of the next requests.
    let held = [hold_on(&mut world, World::get, 0), hold_on(&mut world, World::get, 0)];
    let before = world.shares(2_000);
    for stream in held {
        world.answer(stream);
    }
    world.done(Input::SettingChanged { setting: Setting::Strategy(Strategy::RoundRobin) });
    let after = world.shares(200);
    assert!(after[0] <= 110 && after[1] <= 110, "before {before:?} after {after:?}");
}

#[test]
fn a_random_strategy_leaves_no_debt_of_turns() {
    let mut config = config(2);
    config.strategy = Strategy::Random;
    let mut world = World::new(config);
    let before = world.shares(2_000);
    world.done(Input::SettingChanged { setting: Setting::Strategy(Strategy::RoundRobin) });
    let after = world.shares(100);
    assert!(after[0] <= 55 && after[1] <= 55, "before {before:?} after {after:?}");
}

#[test]
fn no_request_counts_on_a_dial_to_a_backend_that_went_down() {
    let mut config = config(2);
    config.health_checking = HealthChecking::Reported;
    config.timeouts.silence = SECOND * 10;
    let mut world = World::new(config);
    for _ in 0..2 {
        world.get();
    }
    let dials = world.dials();
    assert_eq!(dials.len(), 1);
    let dialled = dials[0].backend;
    world.take_down(dialled.0);
    assert!(!world.pool.may_be_used(dialled));
    world.pass(SECOND * 2);
    let more = world.dials();
    assert!(
        !more.is_empty(),
        "{} requests wait, and the healthy backend is not dialled",
        world.pool.stats().waiting
    );
}

#[test]
fn a_long_upload_does_not_keep_its_backend_half_open() {
    let mut world = World::new(config(3));
    fail_on(&mut world, 0);
    world.pass(SECOND * 5);
    let upload = hold_on(&mut world, World::post, 0);
    for _ in 0..400 {
        go_on(&mut world, upload, 1_000_000);
    }
    let got = world.shares(30);
    assert!(got[0] > 0, "after minutes: {got:?} {:?}", world.pool.backend(BackendId(0)));
}

#[test]
fn after_a_cancelled_drain_a_backend_keeps_its_connections() {
    let mut config = config(1);
    config.limits.connections_per_backend = 1;
    let mut world = World::new(config);
    world.get();
    world.connect_one(4);
    for round in 0..3 {
        if round > 0 {
            world.get();
        }
        let stream = world.open_one();
        world.done(Input::ResponseStarted { stream, status: 200 });
        let backend = world.token(0);
        world.done(Input::DrainRequested { backend, within: Some(SECOND * 3600) });
        world.done(Input::DrainCancelled { backend });
    }
    assert_eq!(world.dialled(), 1);
}

#[test]
fn a_cancelled_drain_cuts_no_response_short() {
    let mut world = World::new(config(1));
    let (request, stream) = world.begin();
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 10) });
    world.pass(SECOND * 2);
    world.done(Input::DrainCancelled { backend });
    for _ in 0..20 {
        go_on(&mut world, stream, 1_000);
    }
    assert_eq!(world.outcome(request), None, "{:?}", world.closes());
}

#[test]
fn a_cancelled_drain_cuts_no_connection_that_drains_for_another_cause() {
    let go_away = |connection| Input::GoAwayReceived { connection, last_stream_id: 9, code: 0 };
    let closed = |connection| Input::ConnectionClosed { connection, sent_through: 9 };
    for (fact, drains_before) in [(go_away as fn(_) -> _, true), (go_away, false), (closed, true)] {
        let mut world = World::new(config(1));
        let (request, stream) = world.begin();
        let backend = world.token(0);
        if drains_before {
            world.done(fact(stream.connection));
        }
        world.done(Input::DrainRequested { backend, within: Some(SECOND * 10) });
        if !drains_before {
            world.done(fact(stream.connection));
        }
        world.done(Input::DrainCancelled { backend });
        world.pass(SECOND * 29);
        assert_eq!(world.outcome(request), None, "{:?}", world.closes());
        world.pass(SECOND * 2);
        assert!(world.outcome(request).is_some(), "the connection is silent for too long");
    }
}

#[test]
fn a_connection_that_begins_to_drain_for_itself_has_its_own_time_from_then_on() {
    let mut config = config(1);
    config.timeouts.drain = SECOND;
    config.timeouts.response_stall = SECOND * 600;
    let mut world = World::new(config);
    let (request, stream) = world.begin();
    let (connection, backend) = (stream.connection, world.token(0));
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 60) });
    world.pass(SECOND * 25);
    world.done(Input::GoAwayReceived { connection, last_stream_id: 9, code: 0 });
    world.done(Input::FrameReceived { connection, carries_message: false });
    world.done(Input::DrainCancelled { backend });
    world.pass(SECOND / 2);
    assert_eq!(world.outcome(request), None, "{:?}", world.closes());
    world.pass(SECOND);
    assert!(world.outcome(request).is_some(), "it is silent for too long");
}

#[test]
fn a_new_backend_does_not_inherit_the_turn_of_the_one_before() {
    let mut config = config(2);
    config.strategy = Strategy::Weighted;
    config.backends[0].weight = 1;
    config.backends[1].weight = 1000;
    let mut world = World::new(config);
    world.shares(3);
    let backend = world.token(0);
    world.done(Input::BackendRemoved { backend });
    let Handled::Added(new) = world.tell(Input::BackendAdded { weight: 1000, exclusive: false })
    else {
        panic!("there is room");
    };
    let got = world.shares(500);
    assert!(got[usize::from(new.backend.0)] > 200, "{new:?} {got:?}");
}

#[test]
fn a_raised_weight_applies_at_once() {
    let mut config = config(2);
    config.strategy = Strategy::Weighted;
    config.backends[0].weight = 1;
    config.backends[1].weight = 1000;
    let mut world = World::new(config);
    world.shares(3);
    let backend = world.token(0);
    world.done(Input::WeightChanged { backend, weight: 1000 });
    let got = world.shares(500);
    assert!(got[0] > 200, "{got:?}");
}

#[test]
fn after_a_cancelled_drain_a_backend_is_healthy_until_it_fails_again() {
    let mut config = config(2);
    config.health.fail_open_percent = 0;
    let mut world = World::new(config);
    fail_on(&mut world, 0);
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND) });
    fail_on(&mut world, 1);
    world.done(Input::DrainCancelled { backend });
    let usable = (0..2).filter(|index| world.pool.may_be_used(BackendId(*index))).count();
    assert!(
        usable > 0,
        "{:?} {:?}",
        world.pool.backend(BackendId(0)),
        world.pool.backend(BackendId(1))
    );
}

#[test]
fn a_failure_from_before_the_ejection_does_not_end_half_open() {
    let mut world = World::new(config(2));
    // Two requests on the first backend stay open while the others there fail.
    let mut old = Vec::new();
    for _ in 0..6 {
        let fate = if old.len() < 2 { Fate::Held } else { Fate::Failed };
        old.extend(world.round(World::post, only_on(0, fate)));
    }
    for _ in 0..50 {
        if !world.pool.is_healthy(BackendId(0)) {
            break;
        }
        world.round(World::post, only_on(0, Fate::Failed));
    }
    assert!(!world.pool.is_healthy(BackendId(0)));
    world.pass(SECOND * 5);
    for stream in old {
        // The fact is stale if the pool has already given up the stream.
        let _ = world.tell(Input::StreamFailed { stream, failure: FAULT });
    }
    let backend = world.pool.backend(BackendId(0)).expect("it is configured");
    assert_eq!(backend.state, BackendState::HalfOpen, "{backend:?}");
}

#[test]
fn the_recount_finds_a_shutdown_without_a_deadline() {
    let mut world = World::new(config(1));
    world.get();
    world.done(SHUTDOWN);
    world.pool.timers.disarm(timer::Timer::Shutdown);
    assert!(world.pool.recount().is_err());
}

#[test]
fn the_recount_finds_a_request_counted_for_another_backend() {
    let mut world = World::new(config(2));
    world.get();
    world.connect_one(4);
    let (stream, _) = world.opens()[0];
    let backend = stream.connection.backend;
    world.pool.balancer.request_unbound(backend);
    world.pool.balancer.request_bound(BackendId(1 - backend.0));
    assert!(world.pool.recount().is_err());
}

#[test]
fn the_recount_finds_a_trial_request_that_is_not_live() {
    let mut world = World::new(config(2));
    world.pool.backends[0].health =
        Health::HalfOpen { times: 1, successes: 0, trial_request: Some(39) };
    world.pool.refresh(BackendId(0));
    world.pool.report_state(world.now, BackendId(0), StateCause::Failures);
    world.pool.outputs.clear();
    assert!(world.pool.recount().is_err());
}

#[test]
fn a_backend_that_was_down_starts_slowly_when_health_checks_end() {
    let mut config = config(2);
    config.health_checking = HealthChecking::Reported;
    config.timeouts.slow_start = SECOND * 100;
    let mut world = World::new(config);
    world.take_down(0);
    world.done(Input::SettingChanged { setting: Setting::HealthChecking(HealthChecking::Off) });
    assert!(world.pool.share(BackendId(0), world.now) < 100);
}

#[test]
fn a_drain_deadline_can_be_brought_forward() {
    let mut world = World::new(config(1));
    let (request, _) = world.begin();
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 600) });
    world.done(Input::DrainRequested { backend, within: Some(SECOND) });
    for within in [Some(SECOND * 600), Some(SECOND), None] {
        assert_eq!(world.tell(Input::DrainRequested { backend, within }), Handled::Refused);
    }
    let deadline = world.pool.backend(BackendId(0)).and_then(|view| view.drain_deadline);
    assert_eq!(deadline, Some(world.now.after(SECOND)));
    world.pass(SECOND);
    assert_eq!(world.outcome(request), Some(Outcome::CutShort), "the earliest deadline counts");
}

#[test]
fn a_lost_connection_ends_at_the_drain_deadline_of_its_backend() {
    let mut world = World::new(config(1));
    let (_, stream) = world.begin();
    let connection = stream.connection;
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 2) });
    world.pass(SECOND);
    world.done(Input::ConnectionClosed { connection, sent_through: 9 });
    world.pass(SECOND * 2);
    assert_eq!(world.pool.slot_state(BackendId(0), 0), Some(SlotState::Empty));
}

#[test]
fn a_long_trial_request_does_not_keep_others_from_being_ejected() {
    let mut world = World::new(config(3));
    for _ in 0..12 {
        world.round(World::post, only_on(0, Fate::Failed));
        // Completes the dials that the failure caused.
        world.connect_all();
    }
    assert!(!world.pool.is_healthy(BackendId(0)));
    world.pass(SECOND * 5);
    let upload = hold_on(&mut world, World::post, 0);
    for _ in 0..600 {
        go_on(&mut world, upload, 1_000_000);
        world.round(World::post, only_on(1, Fate::Failed));
        world.connect_all();
    }
    let state = |index| world.pool.backend(BackendId(index)).expect("it is configured").state;
    assert_eq!(
        state(1),
        BackendState::Ejected,
        "ten minutes of failures: {:?} {:?} overflow {}",
        state(0),
        state(1),
        world.pool.stats().counters.ejection_overflow
    );
}

#[test]
fn while_failing_open_unhealthy_backends_do_not_keep_healthy_ones_from_being_dialled() {
    let mut config = config(3);
    config.health_checking = HealthChecking::Reported;
    config.max_requests_per_connection = Some(1);
    let mut world = World::new(config);
    for index in [0, 1] {
        world.take_down(index);
    }
    let mut failed = 0;
    for _ in 0..40 {
        let request = world.get();
        for _ in 0..40 {
            // Only the healthy backend answers a dial.
            for connection in world.dials() {
                if connection.backend.0 == 2 {
                    world.connected(connection, 4);
                }
            }
            for (stream, _) in world.opens() {
                world.opened(stream);
                world.answer(stream);
            }
            if world.outcome(request).is_some() {
                break;
            }
            world.pass(MILLISECOND * 100);
        }
        failed += usize::from(world.outcome(request) != Some(Outcome::Completed));
        world.pass(SECOND * 10);
    }
    assert_eq!(failed, 0, "of 40");
}

#[test]
fn each_setting_has_a_sentence_of_its_own_for_help() {
    let sentences: Vec<_> = Config::SETTINGS.iter().map(|entry| entry.sentence).collect();
    for sentence in &sentences {
        let others = sentences.iter().filter(|other| *other == sentence).count();
        assert!(others == 1 && sentence.contains(' ') && !sentence.ends_with('.'), "{sentence}");
    }
}
