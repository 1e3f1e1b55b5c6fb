//! What an operator does, backends that are unlucky, and both at once.

use super::*;

fn token(world: &World, index: u16) -> BackendToken {
    world.pool.backend(BackendId(index)).expect("there is one").token
}
const FAULT: StreamFailure = StreamFailure::Reset { code: 2 };

fn shares(world: &mut World, requests: usize) -> [usize; 4] {
    let mut shares = [0; 4];
    for _ in 0..requests {
        world.get();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            shares[usize::from(stream.connection.backend.0)] += 1;
            world.opened(stream);
            world.answer(stream);
        }
    }
    shares
}

#[test]
fn another_strategy_begins_with_equal_turns() {
    let mut config = config(2);
    config.strategy = Strategy::LeastLoaded;
    let mut world = World::new(config);
    // Backend gets two long requests so it is busier.
    let mut held = Vec::new();
    shares(&mut world, 8);
    // hold 3 requests on whichever is chosen for backend 0
    while held.len() < 2 {
        world.get();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 {
                held.push(stream);
            } else {
                world.answer(stream);
            }
        }
    }
    let before = shares(&mut world, 2000);
    for stream in held {
        world.answer(stream);
    }
    world.done(Input::SettingChanged { setting: Setting::Strategy(Strategy::RoundRobin) });
    let after = shares(&mut world, 200);
    assert!(after[0] <= 110 && after[1] <= 110, "before {before:?} after {after:?}");
}

#[test]
fn turns_that_nobody_picked_by_are_no_debt() {
    let mut config = config(2);
    config.strategy = Strategy::Random;
    let mut world = World::new(config);
    let before = shares(&mut world, 2_000);
    world.done(Input::SettingChanged { setting: Setting::Strategy(Strategy::RoundRobin) });
    let after = shares(&mut world, 100);
    assert!(after[0] <= 55 && after[1] <= 55, "before {before:?} after {after:?}");
}

#[test]
fn a_dial_to_a_backend_that_went_down_covers_nobody() {
    let mut config = config(2);
    config.probing = Probing::Told;
    config.timeouts.silence = SECOND * 10;
    let mut world = World::new(config);
    for _ in 0..2 {
        world.get();
    }
    let dials = world.dials();
    assert_eq!(dials.len(), 1);
    let dialled = dials[0].backend;
    let backend = token(&world, dialled.0);
    for _ in 0..3 {
        world.done(Input::ProbeFinished { backend, number: 0, passed: false });
    }
    assert!(!world.pool.may_be_used(dialled));
    world.pass(SECOND * 2);
    let more = world.dials();
    assert!(
        !more.is_empty(),
        "waiting {}, nobody dials the healthy one",
        world.pool.stats().waiting
    );
}

#[test]
fn a_long_upload_does_not_keep_its_backend_on_trial() {
    let mut world = World::new(config(3));
    // eject 0
    let mut fails = 0;
    while fails < 3 {
        world.post();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 {
                world.fail(stream, FAULT);
                fails += 1;
            } else {
                world.answer(stream);
            }
        }
    }
    world.pass(SECOND * 5);
    // Uploads until one is on 0.
    let mut probe = None;
    while probe.is_none() {
        world.post();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 {
                probe = Some(stream);
            } else {
                world.answer(stream);
            }
        }
    }
    let stream = probe.unwrap();
    for _ in 0..400 {
        world.pass(SECOND);
        let _ = world.tell(Input::FrameReceived { connection: stream.connection });
        let _ = world.tell(Input::BodyProgressed { stream, bytes: 1_000_000 });
    }
    let got = shares(&mut world, 30);
    assert!(got[0] > 0, "an hour later {got:?} {:?}", world.pool.backend(BackendId(0)));
}

#[test]
fn drained_and_wanted_back_a_backend_goes_on_with_its_connections() {
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
        let backend = token(&world, 0);
        world.done(Input::DrainRequested { backend, within: SECOND * 3600 });
        world.done(Input::DrainCancelled { backend });
    }
    assert_eq!(world.pool.stats().counters.dials, 1);
}

#[test]
fn a_drain_that_was_cancelled_cuts_nothing() {
    let mut world = World::new(config(1));
    let request = world.get();
    world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    let backend = token(&world, 0);
    world.done(Input::DrainRequested { backend, within: SECOND * 10 });
    world.pass(SECOND * 2);
    world.done(Input::DrainCancelled { backend });
    for _ in 0..20 {
        world.pass(SECOND);
        let _ = world.tell(Input::FrameReceived { connection: stream.connection });
        let _ = world.tell(Input::BodyProgressed { stream, bytes: 1000 });
    }
    assert_eq!(world.outcome(request), None, "{:?}", world.closes());
}

#[test]
fn a_new_backend_does_not_inherit_the_turn_of_the_one_before() {
    let mut config = config(2);
    config.strategy = Strategy::Weighted;
    config.backends[0].weight = 1;
    config.backends[1].weight = 1000;
    let mut world = World::new(config);
    shares(&mut world, 3);
    let backend = token(&world, 0);
    world.done(Input::BackendRemoved { backend });
    let Handled::Added(new) = world.tell(Input::BackendAdded { weight: 1000, exclusive: false })
    else {
        panic!()
    };
    let got = shares(&mut world, 500);
    assert!(got[usize::from(new.backend.0)] > 200, "{new:?} {got:?}");
}

#[test]
fn a_raised_weight_counts_at_once() {
    let mut config = config(2);
    config.strategy = Strategy::Weighted;
    config.backends[0].weight = 1;
    config.backends[1].weight = 1000;
    let mut world = World::new(config);
    shares(&mut world, 3);
    let backend = token(&world, 0);
    world.done(Input::WeightChanged { backend, weight: 1000 });
    let got = shares(&mut world, 500);
    assert!(got[0] > 200, "{got:?}");
}

#[test]
fn a_backend_that_is_wanted_back_is_healthy_until_it_fails_again() {
    let mut config = config(2);
    config.health.panic_percent = 0;
    let mut world = World::new(config);
    let fail_on = |world: &mut World, bad: u16| {
        let mut fails = 0;
        for _ in 0..100 {
            if fails >= 3 {
                break;
            }
            world.post();
            for connection in world.dials() {
                world.connected(connection, 4);
            }
            for (stream, _) in world.opens() {
                world.opened(stream);
                if stream.connection.backend.0 == bad {
                    world.fail(stream, FAULT);
                    fails += 1;
                } else {
                    world.answer(stream);
                }
            }
        }
    };
    fail_on(&mut world, 0);
    let backend = token(&world, 0);
    world.done(Input::DrainRequested { backend, within: SECOND });
    fail_on(&mut world, 1);
    world.done(Input::DrainCancelled { backend });
    let usable = (0..2).filter(|i| world.pool.may_be_used(BackendId(*i))).count();
    assert!(
        usable > 0,
        "{:?} {:?}",
        world.pool.backend(BackendId(0)),
        world.pool.backend(BackendId(1))
    );
}

#[test]
fn a_failure_from_before_the_ejection_does_not_end_the_trial() {
    let mut world = World::new(config(2));
    // 4 hanging requests on backend 0 (and 4 on 1)
    let mut old = Vec::new();
    for _ in 0..6 {
        world.post();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 && old.len() < 2 {
                old.push(stream);
            } else if stream.connection.backend.0 == 0 {
                world.fail(stream, FAULT);
            } else {
                world.answer(stream);
            }
        }
    }
    let mut n = 0;
    while world.pool.is_healthy(BackendId(0)) && n < 50 {
        n += 1;
        world.post();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        for (stream, _) in world.opens() {
            world.opened(stream);
            if stream.connection.backend.0 == 0 {
                world.fail(stream, FAULT);
            } else {
                world.answer(stream);
            }
        }
    }
    assert!(!world.pool.is_healthy(BackendId(0)));
    world.pass(SECOND * 5);
    for s in old {
        let _ = world.tell(Input::StreamFailed { stream: s, failure: FAULT });
    }
    let v = world.pool.backend(BackendId(0)).unwrap();
    assert_eq!(v.state, BackendState::OnTrial, "{v:?}");
}

#[test]
fn the_recount_sees_a_shutdown_without_a_deadline() {
    let mut world = World::new(config(1));
    world.get();
    world.done(Input::ShutdownRequested);
    world.pool.timers.disarm(timer::Timer::Shutdown);
    assert!(world.pool.recount().is_err());
}

#[test]
fn the_recount_sees_a_request_that_counts_for_another_backend() {
    let mut world = World::new(config(2));
    world.get();
    for connection in world.dials() {
        world.connected(connection, 4);
    }
    let (s, _) = world.opens()[0];
    let b = s.connection.backend;
    world.pool.balancer.request_unbound(b);
    world.pool.balancer.request_bound(BackendId(1 - b.0));
    assert!(world.pool.recount().is_err());
}
#[test]
fn the_recount_sees_a_probe_that_does_not_live() {
    let mut world = World::new(config(2));
    world.pool.backends[0].health =
        crate::pool::health::Health::HalfOpen { times: 1, successes: 0, probe: Some(39) };
    world.pool.refresh(BackendId(0));
    world.pool.tell_state(world.now, BackendId(0), StateCause::Failures);
    world.pool.outputs.clear();
    assert!(world.pool.recount().is_err());
}

#[test]
fn a_backend_that_was_down_starts_slowly_when_probing_ends() {
    let mut config = config(2);
    config.probing = Probing::Told;
    config.timeouts.slow_start = SECOND * 100;
    let mut world = World::new(config);
    let backend = token(&world, 0);
    for _ in 0..3 {
        world.done(Input::ProbeFinished { backend, number: 0, passed: false });
    }
    world.done(Input::SettingChanged { setting: Setting::Probing(Probing::Off) });
    assert!(world.pool.share(BackendId(0), world.now) < 100);
}

#[test]
fn a_drain_can_be_hastened() {
    let mut world = World::new(config(1));
    let request = world.get();
    world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    let backend = token(&world, 0);
    world.done(Input::DrainRequested { backend, within: SECOND * 600 });
    world.done(Input::DrainRequested { backend, within: SECOND });
    world.done(Input::DrainRequested { backend, within: SECOND * 600 });
    world.pass(SECOND);
    assert_eq!(world.outcome(request), Some(Outcome::CutShort), "the earlier one counts");
}

#[test]
fn a_lost_connection_ends_with_the_drain_of_its_backend() {
    let mut world = World::new(config(1));
    world.get();
    let connection = world.connect_one(4);
    let stream = world.open_one();
    world.done(Input::ResponseStarted { stream, status: 200 });
    let backend = token(&world, 0);
    world.done(Input::DrainRequested { backend, within: SECOND * 2 });
    world.pass(SECOND);
    world.done(Input::ConnectionClosed { connection, sent_through: 9 });
    world.pass(SECOND * 2);
    assert_eq!(world.pool.slot_state(BackendId(0), 0), Some(SlotState::Empty));
}

#[test]
fn a_long_trial_does_not_keep_others_from_being_ejected() {
    let mut world = World::new(config(3));
    let round = |world: &mut World, bad: &[u16], hold: u16| {
        let mut held = None;
        world.post();
        for connection in world.dials() {
            world.connected(connection, 4);
        }
        let mut opens = world.opens();
        while let Some((stream, _)) = opens.pop() {
            world.opened(stream);
            let b = stream.connection.backend.0;
            if b == hold {
                held = Some(stream);
            } else if bad.contains(&b) {
                world.fail(stream, FAULT);
            } else {
                world.answer(stream);
            }
            for connection in world.dials() {
                world.connected(connection, 4);
            }
            opens.extend(world.opens());
        }
        held
    };
    for _ in 0..12 {
        round(&mut world, &[0], 9);
    }
    assert!(!world.pool.is_healthy(BackendId(0)));
    world.pass(SECOND * 5);
    let mut stream = None;
    while stream.is_none() {
        stream = round(&mut world, &[], 0);
    }
    let stream = stream.unwrap();
    for _ in 0..600 {
        world.pass(SECOND);
        let _ = world.tell(Input::FrameReceived { connection: stream.connection });
        let _ = world.tell(Input::BodyProgressed { stream, bytes: 1_000_000 });
        round(&mut world, &[1], 9);
    }
    let v = |i: u16| world.pool.backend(BackendId(i)).unwrap().state;
    assert_eq!(
        v(1),
        BackendState::Ejected,
        "ten minutes of failures: {:?} {:?} spared {}",
        v(0),
        v(1),
        world.pool.stats().counters.spared
    );
}

#[test]
fn with_too_few_healthy_the_dead_do_not_keep_the_well_from_being_dialled() {
    let mut config = config(3);
    config.probing = Probing::Told;
    config.max_requests_per_connection = Some(1);
    let mut world = World::new(config);
    for index in [0, 1] {
        let backend = token(&world, index);
        for _ in 0..3 {
            world.done(Input::ProbeFinished { backend, number: 0, passed: false });
        }
    }
    let mut failed = 0;
    for _ in 0..40 {
        let request = world.get();
        for _ in 0..40 {
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
