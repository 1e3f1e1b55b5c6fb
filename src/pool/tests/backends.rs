//! Backends added, drained, put back in service, removed and health-checked; settings changed.

use super::*;
use crate::pool::settings::{Number, Timeout};

fn add(world: &mut World) -> Handled {
    world.tell(Input::BackendAdded { weight: 1, exclusive: false })
}

fn states(world: &mut World) -> Vec<(u16, BackendState, StateCause)> {
    world.take(|order| match order {
        Output::BackendChanged { backend, state, cause } => Some((backend.backend.0, state, cause)),
        _ => None,
    })
}

fn gone(world: &mut World) -> Vec<BackendToken> {
    world.take(|order| match order {
        Output::BackendGone { backend } => Some(backend),
        _ => None,
    })
}

#[test]
fn a_backend_that_is_added_serves_and_others_keep_their_connections() {
    let mut world = World::new(config(1));
    assert_eq!(world.shares(4), [4, 0, 0, 0]);
    let dials = world.dialled();
    assert!(matches!(add(&mut world), Handled::Added(_)));
    assert_eq!(states(&mut world), [(1, BackendState::Up, StateCause::Configured)]);
    let after = world.shares(40);
    assert!(after[1] >= 18, "{after:?}");
    assert_eq!(world.dialled(), dials + 1, "the old connection was kept");
}

#[test]
fn backends_can_be_added_up_to_the_limit() {
    let mut world = World::new(config(3));
    assert!(matches!(add(&mut world), Handled::Added(_)));
    assert_eq!(add(&mut world), Handled::Refused);
    let wrong = Input::BackendAdded { weight: 0, exclusive: false };
    assert_eq!(world.tell(wrong), Handled::Refused);
}

#[test]
fn a_removed_backend_finishes_its_streams_and_is_then_gone() {
    let mut world = World::new(config(1));
    let request = world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    let backend = world.token(0);
    world.done(Input::BackendRemoved { backend });
    assert_eq!(
        world.tell(Input::BackendRemoved { backend }),
        Handled::Refused,
        "it was removed before"
    );
    let late = world.get();
    world.pass(SECOND);
    assert_eq!(world.opens(), [], "no new stream");
    assert_eq!(gone(&mut world), []);
    world.answer(stream);
    assert_eq!(world.outcome(request), Some(Outcome::Completed));
    assert_eq!(world.closes(), [(connection, CloseReason::Drained)]);
    assert_eq!(gone(&mut world), [backend]);
    assert_eq!(world.tell(Input::BackendRemoved { backend }), Handled::Stale);
    world.pass(SECOND * 3);
    let rejected = Outcome::Rejected(Rejection::QueueDeadline);
    assert_eq!(world.outcome(late), Some(rejected), "there is no backend any more");
}

#[test]
fn a_dial_to_a_removed_backend_is_given_up_and_the_waiting_request_goes_elsewhere() {
    let mut world = World::new(config(1));
    world.get();
    let dial = world.dials()[0];
    assert!(matches!(add(&mut world), Handled::Added(_)));
    world.done(Input::BackendRemoved { backend: world.token(0) });
    assert_eq!(world.closes(), [(dial, CloseReason::BackendDrained)]);
    let next = world.dials();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].backend, BackendId(1));
}

#[test]
fn if_the_table_is_full_the_backend_removed_first_loses_its_entry() {
    let mut world = World::new(config(4));
    let mut streams = Vec::new();
    for _ in 0..4 {
        world.post();
        for connection in world.dials() {
            world.connected(connection, 1);
        }
        streams.extend(world.opens());
    }
    for (stream, _) in &streams {
        world.opened(*stream);
    }
    let first = streams[0].0.connection.backend;
    let second = streams[1].0.connection.backend;
    let tokens = [first, second].map(|backend| world.token(backend.0));
    world.done(Input::BackendRemoved { backend: tokens[0] });
    world.pass(MILLISECOND);
    world.done(Input::BackendRemoved { backend: tokens[1] });
    let Handled::Added(new) = add(&mut world) else { panic!("a table entry can be freed") };
    assert_eq!(new.backend, first, "the entry of the backend that was removed first");
    assert_eq!(new.generation, tokens[0].generation + 1);
    assert_eq!(gone(&mut world), [tokens[0]]);
    let cut = world.outcome(streams[0].1);
    assert_eq!(cut, Some(Outcome::Rejected(Rejection::AttemptFailed)));
    assert_eq!(world.outcome(streams[1].1), None);
    let late = Input::HealthCheckFinished { backend: tokens[0], number: 1, passed: false };
    assert_eq!(world.tell(late), Handled::Stale);
}

#[test]
fn a_drained_backend_gets_no_new_streams_until_the_drain_is_cancelled() {
    let mut world = World::new(config(2));
    world.shares(10);
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 60) });
    assert_eq!(world.closes().len(), 1, "its idle connection");
    assert_eq!(world.shares(10), [0, 10, 0, 0]);
    world.done(Input::DrainCancelled { backend });
    assert_eq!(world.tell(Input::DrainCancelled { backend }), Handled::Refused);
    let after = world.shares(20);
    assert!(after[0] >= 9, "{after:?}");
    let reported: Vec<_> = states(&mut world).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(reported, [BackendState::Draining, BackendState::Up]);
}

#[test]
fn the_deadline_of_a_drain_ends_what_is_left_and_not_before() {
    let mut world = World::new(config(1));
    let request = world.get();
    world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    let backend = world.token(0);
    world.done(Input::DrainRequested { backend, within: Some(SECOND * 100) });
    world.pass(SECOND * 99);
    assert_eq!(world.outcome(request), None, "a silence longer than the drain timeout is allowed");
    world.pass(SECOND);
    assert_eq!(world.outcome(request), Some(Outcome::CutShort));
    assert_eq!(world.closes(), [(stream.connection, CloseReason::DrainDeadline)]);
}

#[test]
fn a_changed_weight_applies_at_once() {
    let mut world = World::new(Config { strategy: Strategy::Weighted, ..config(2) });
    world.shares(8);
    let backend = world.token(0);
    world.done(Input::WeightChanged { backend, weight: 9 });
    assert_eq!(world.tell(Input::WeightChanged { backend, weight: 0 }), Handled::Refused);
    let after = world.shares(100);
    assert!((85..=95).contains(&after[0]), "{after:?}");
}

#[test]
fn an_added_backend_starts_slowly() {
    let mut config = config(1);
    config.timeouts.slow_start = SECOND * 100;
    let mut world = World::new(config);
    world.shares(4);
    assert!(matches!(add(&mut world), Handled::Added(_)));
    let early = world.shares(100);
    assert!((5..=20).contains(&early[1]), "{early:?}");
    world.pass(SECOND * 50);
    let later = world.shares(100);
    assert!((25..=45).contains(&later[1]), "{later:?}");
    world.pass(SECOND * 51);
    let full = world.shares(100);
    assert!((48..=52).contains(&full[1]), "{full:?}");
}

fn health_checks(world: &mut World) -> Vec<(BackendToken, u32)> {
    world.take(|order| match order {
        Output::CheckHealth { backend, number } => Some((backend, number)),
        _ => None,
    })
}

/// Waits until both of two backends are checked; their intervals differ by up to a tenth.
fn next_health_checks(world: &mut World) -> Vec<(BackendToken, u32)> {
    let mut out = Vec::new();
    for _ in 0..70 {
        world.pass(MILLISECOND * 100);
        out.extend(health_checks(world));
        if out.len() == 2 {
            break;
        }
    }
    out
}

fn judged(world: &mut World) -> Vec<bool> {
    world.take(|order| match order {
        Output::HealthCheckJudged { passed, .. } => Some(passed),
        _ => None,
    })
}

#[test]
fn health_checks_run_at_intervals_and_three_failures_take_a_backend_down() {
    let mut world = World::new(Config { health_checking: HealthChecking::Ordered, ..config(2) });
    let mut out = Vec::new();
    for round in 0..3 {
        out = next_health_checks(&mut world);
        assert_eq!(out.len(), 2, "round {round}");
        for (backend, number) in &out {
            let passed = backend.backend.0 == 1;
            world.done(Input::HealthCheckFinished { backend: *backend, number: *number, passed });
        }
    }
    assert!(!world.pool.may_be_used(BackendId(0)));
    assert_eq!(judged(&mut world).len(), 6);
    assert_eq!(states(&mut world), [(0, BackendState::Down, StateCause::HealthChecks)]);
    let (backend, number) = out[0];
    let again = Input::HealthCheckFinished { backend, number, passed: true };
    assert_eq!(world.tell(again), Handled::Stale, "that check is finished");
    for _ in 0..2 {
        assert!(!world.pool.may_be_used(BackendId(0)));
        for (backend, number) in next_health_checks(&mut world) {
            world.done(Input::HealthCheckFinished { backend, number, passed: true });
        }
    }
    assert!(world.pool.may_be_used(BackendId(0)));
}

#[test]
fn a_health_check_without_a_report_fails_at_its_deadline_and_its_late_report_is_stale() {
    let mut world = World::new(Config { health_checking: HealthChecking::Ordered, ..config(1) });
    world.pass(SECOND);
    let (backend, number) = health_checks(&mut world)[0];
    world.pass(SECOND * 2);
    assert_eq!(judged(&mut world), [false]);
    let late = Input::HealthCheckFinished { backend, number, passed: true };
    assert_eq!(world.tell(late), Handled::Stale);
    world.done(SHUTDOWN);
    world.pass(SECOND * 20);
    assert_eq!(health_checks(&mut world), [], "no backend is checked after the shutdown");
}

#[test]
fn a_pool_without_health_checks_refuses_results_and_one_that_receives_them_counts_them() {
    let mut world = World::new(config(1));
    let backend = world.token(0);
    let failed = Input::HealthCheckFinished { backend, number: 9, passed: false };
    assert_eq!(world.tell(failed), Handled::Refused);
    world
        .done(Input::SettingChanged { setting: Setting::HealthChecking(HealthChecking::Reported) });
    for _ in 0..3 {
        world.done(failed);
    }
    assert!(!world.pool.is_healthy(BackendId(0)));
    world.done(Input::SettingChanged { setting: Setting::HealthChecking(HealthChecking::Off) });
    assert!(world.pool.is_healthy(BackendId(0)), "without health checks every backend is up");
    world.done(Input::SettingChanged { setting: Setting::HealthChecking(HealthChecking::Ordered) });
    world.pass(MILLISECOND);
    assert_eq!(health_checks(&mut world).len(), 1);
}

#[test]
fn a_changed_setting_applies_to_later_requests() {
    let mut world = World::new(config(1));
    let before = world.get();
    let queue = Setting::Timeout(Timeout::Queue, SECOND * 60);
    world.done(Input::SettingChanged { setting: queue });
    let after = world.get();
    world.pass(SECOND * 4);
    let rejected = Some(Outcome::Rejected(Rejection::QueueDeadline));
    assert_eq!((world.outcome(before), world.outcome(after)), (rejected, None));
    let wrong = Setting::Number(Number::Attempts, 0);
    assert_eq!(world.tell(Input::SettingChanged { setting: wrong }), Handled::Refused);
}

#[test]
fn several_values_change_at_once_as_they_do_one_by_one() {
    let changes = [
        Setting::Timeout(Timeout::SlowStart, SECOND * 20),
        Setting::Number(Number::FailOpenPercent, 0),
        Setting::Strategy(Strategy::Weighted),
        Setting::HealthChecking(HealthChecking::Ordered),
    ];
    let mut one_by_one = World::new(config(2));
    for setting in changes {
        one_by_one.done(Input::SettingChanged { setting });
    }
    let mut at_once = World::new(config(2));
    assert_eq!(at_once.pool.reconfigure(at_once.now, &changes), Handled::Done);
    let orders: Vec<_> = std::iter::from_fn(|| at_once.pool.poll_output()).collect();
    assert_eq!(orders, one_by_one.orders);
    assert_eq!(at_once.pool.config(), one_by_one.pool.config());
    let wrong = [Setting::Number(Number::Fall, 9), Setting::Number(Number::Rise, 0)];
    assert_eq!(at_once.pool.reconfigure(at_once.now, &wrong), Handled::Refused);
    assert_eq!(at_once.pool.config(), one_by_one.pool.config(), "none of them changed");
}
