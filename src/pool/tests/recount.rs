//! Recounts: a consistent pool has no mismatch, and the recount names each planted miscount.

use super::*;
use crate::pool::timer::Timer;

impl Pool {
    /// Counts a retry that does not exist, as a bug could.
    pub(crate) fn miscount(&mut self) {
        self.retrying += 1;
    }
}

/// A pool of two backends with requests waiting, sent and responding.
fn busy() -> World {
    let mut world = World::new(config(2));
    for _ in 0..10 {
        world.get();
    }
    let connection = world.dials()[0];
    world.connected(connection, 2);
    let stream = world.opens()[0].0;
    world.opened(stream);
    world.done(Input::ResponseStarted { stream, status: 200 });
    world
}

/// A pool whose first backend is half-open, with its trial request in flight.
fn half_open() -> World {
    let mut world = World::new(config(2));
    while world.pool.is_healthy(BackendId(0)) {
        world.round(|world| world.arrive(false, false), only_on(0, Fate::Failed));
    }
    while world.pool.backend(BackendId(0)).expect("there is one").state == BackendState::Ejected {
        world.pass(SECOND);
    }
    while world.pool.backends[0].health.trial_request().is_none() {
        world.get();
        world.connect_all();
    }
    world
}

/// A pool that finishes what it accepted.
fn shutting_down() -> World {
    let mut world = busy();
    world.done(SHUTDOWN);
    world
}

/// A pool, a bug in it, and the name of the mismatch that the recount must find.
type Case = (fn() -> World, fn(&mut Pool), &'static str);

const CASES: [Case; 8] = [
    (
        busy,
        |pool| {
            let slot = pool.slots.dialled().find(|slot| pool.slots.connection(*slot).load() == 2);
            let connection = pool.slots.connection_mut(slot.expect("two streams are in use"));
            // The slot is in use before and after: its state is no mismatch.
            connection.limit = 1;
            connection.apply(connection::Event::Released).expect("it has a load");
        },
        "load of a slot",
    ),
    (
        busy,
        |pool| {
            let (_, index) = pool.waiting.peek().expect("one waits");
            assert!(pool.waiting.remove(index));
        },
        "a request is queued if and only if it waits",
    ),
    (busy, Pool::miscount, "requests on a retry"),
    (
        busy,
        |pool| {
            let index = pool.requests.next_live(0).expect("one is live");
            pool.timers.disarm(Timer::Request(index));
        },
        "a request has a deadline",
    ),
    (busy, |pool| pool.healthy += 1, "healthy backends"),
    (
        busy,
        |pool| {
            let loaded = u16::from(pool.balancer.load(BackendId(0)) == 0);
            pool.balancer.request_unbound(BackendId(loaded));
            pool.balancer.request_bound(BackendId(1 - loaded));
        },
        "requests that count for a backend",
    ),
    (
        half_open,
        |pool| {
            let health = &mut pool.backends[0].health;
            let request = health.trial_request().expect("it is in flight");
            assert!(health.unbound(request) && health.bound(u32::MAX));
        },
        "trial request of a half-open backend",
    ),
    (shutting_down, |pool| pool.timers.disarm(Timer::Shutdown), "a shutdown has a deadline"),
];

#[test]
fn each_miscount_is_found_by_its_name() {
    for (build, miscount, what) in CASES {
        let mut pool = build().pool;
        assert_eq!(pool.recount(), Ok(()), "before {what}");
        miscount(&mut pool);
        assert_eq!(pool.recount().map_err(|mismatch| mismatch.what), Err(what));
    }
}

#[test]
#[should_panic = "the pool is inconsistent: requests on a retry"]
fn a_pool_under_test_recounts_itself_after_every_fact() {
    let mut world = busy();
    world.pool.miscount();
    let _ = world.tell(Input::Timeout);
}
