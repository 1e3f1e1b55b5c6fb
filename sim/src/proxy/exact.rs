//! Simulated time to the nanosecond.
//!
//! Tokio's timers fire at whole milliseconds, so everything that happens within one would happen at
//! once. The runtime of [`run_with`] advances its paused clock to each entry of an agenda of its
//! own instead, whenever all tasks are idle. Tokio's own timers fire as usual, at whole
//! milliseconds since the start, before what is due here at the same instant.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::agenda::{Agenda, Place};
use crate::draw::Draws;
use crate::plan::Ties;

/// The distance of the instants at which tokio's timers fire, in nanoseconds.
const TICK: u64 = 1_000_000;

/// The time of the run on this thread.
struct Time {
    start: Instant,
    sleepers: Agenda<Waker>,
    /// Keeps tokio from advancing the clock beyond the millisecond of the first entry.
    barrier: Option<(u64, Pin<Box<tokio::time::Sleep>>)>,
}

thread_local! {
    static TIME: RefCell<Option<Time>> = const { RefCell::new(None) };
    /// The time since the start in nanoseconds, once a task has asked for it. Reading tokio's clock
    /// takes a lock, and time stands still while tasks run.
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs a future, and the local tasks that it spawns, in a runtime of its own with exact time.
///
/// # Panics
/// If such a runtime is running on this thread.
#[cfg(test)]
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    run_with(|_| (), future)
}

/// The same with a runtime that `prepare` changes before it is built.
///
/// # Panics
/// As [`run_with`].
pub(crate) fn run_with<F: Future>(prepare: impl FnOnce(&mut Builder), future: F) -> F::Output {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).on_thread_park(idle);
    prepare(&mut builder);
    let runtime = builder.build();
    let runtime = runtime.expect("a runtime without an event queue needs nothing of the system");
    // Not a local runtime: there, tasks of a set within it would outlive that set, and a worker
    // whose set is dropped would go on.
    // Time ends after the tasks, also if one panics: what they drop may look at it.
    let _ends = Ends;
    let _context = runtime.enter();
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, async {
        let sleepers = Agenda::new(Ties::Fifo, Draws::new(0), 1);
        let time = Time { start: now(), sleepers, barrier: None };
        let before = TIME.replace(Some(time));
        assert!(before.is_none(), "one run at a time on a thread");
        future.await
    });
    drop(tasks);
    result
}

struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        drop(TIME.take());
        NOW.set(None);
    }
}

/// Runs a task of its own on this thread.
#[expect(clippy::disallowed_methods, reason = "the one way to spawn in the simulator")]
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(future)
}

/// True within [`run_with`].
pub(crate) fn is_exact() -> bool {
    TIME.with_borrow(Option::is_some)
}

/// Orders what is due at the same instant in this way.
pub(crate) fn order(ties: Ties, draws: Draws) {
    TIME.with_borrow_mut(|time| {
        if let Some(time) = time {
            time.sleepers.order(ties, draws);
        }
    });
}

/// The number of sleepers, alarms included.
#[cfg(test)]
pub(crate) fn waiting() -> usize {
    TIME.with_borrow(|time| time.as_ref().map_or(0, |time| time.sleepers.len()))
}

/// Runs whenever no task can make progress: advances the clock to the next entry.
fn idle() {
    let due = TIME.with_borrow_mut(|time| time.as_mut().map(Time::advance));
    NOW.set(None);
    for waker in due.into_iter().flatten() {
        waker.wake();
    }
}

impl Time {
    fn now(&self) -> u64 {
        if let Some(now) = NOW.get() {
            return now;
        }
        let now = now().duration_since(self.start).as_nanos() as u64;
        NOW.set(Some(now));
        now
    }

    /// Advances the clock towards the first entry as far as no timer of tokio can be due before.
    /// Returns the sleepers that are due.
    fn advance(&mut self) -> Vec<Waker> {
        let Some(first) = self.sleepers.first() else {
            self.barrier = None;
            return Vec::new();
        };
        let mut now = self.now();
        let next_tick = (now / TICK + 1) * TICK;
        if first > now && first < next_tick {
            advance_clock(first - now);
            now = first;
        }
        if first <= now {
            return std::iter::from_fn(|| self.sleepers.pop_due(now)).collect();
        }
        // The clock stays on whole milliseconds, as tokio advances it by whole ones.
        if !now.is_multiple_of(TICK) {
            advance_clock(next_tick - now);
        }
        self.set_barrier(first / TICK * TICK);
        Vec::new()
    }

    fn set_barrier(&mut self, at: u64) {
        if self.barrier.as_ref().is_some_and(|(barrier, _)| *barrier == at) {
            return;
        }
        let deadline = self.start + Duration::from_nanos(at);
        let barrier = match self.barrier.take() {
            Some((_, mut barrier)) => {
                barrier.as_mut().reset(deadline);
                barrier
            }
            None => Box::pin(tokio::time::sleep_until(deadline)),
        };
        let (_, barrier) = self.barrier.insert((at, barrier));
        // It is registered by the poll. No task needs to wake: after it the runtime is idle again.
        let _ = barrier.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// Advances the paused clock, which the first poll does. The rest lets other tasks run.
fn advance_clock(by: u64) {
    let advancing = pin!(tokio::time::advance(Duration::from_nanos(by)));
    let _ = advancing.poll(&mut Context::from_waker(Waker::noop()));
}

#[expect(clippy::disallowed_methods, reason = "the clock of the simulated runtime")]
fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since the start, if the runtime is that of [`run_with`].
pub(crate) fn exact_now() -> Option<u64> {
    NOW.get().or_else(|| TIME.with_borrow(|time| time.as_ref().map(Time::now)))
}

/// Wakes a task at a time that can be changed.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    set: Option<Place>,
}

impl Alarm {
    /// Sets the alarm to this long from now, or to never.
    ///
    /// # Panics
    /// Outside of [`run_with`].
    pub(crate) fn set(&mut self, after: Option<u64>, waker: &Waker) {
        TIME.with_borrow_mut(|time| {
            let time = time.as_mut().expect("exact time needs the runtime of `exact::run`");
            if let Some(place) = self.set.take() {
                time.sleepers.remove(place);
            }
            if let Some(after) = after {
                let at = time.now().saturating_add(after);
                self.set = Some(time.sleepers.insert(at, waker.clone()));
            }
        });
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(place) = self.set else { return };
        TIME.with_borrow_mut(|time| {
            if let Some(time) = time {
                time.sleepers.remove(place);
            }
        });
    }
}

/// Waits for a duration, exactly. In a runtime other than that of [`run_with`], to the millisecond.
pub(crate) async fn sleep(duration: Duration) {
    if duration.is_zero() {
        return;
    }
    let Some(start) = exact_now() else {
        tokio::time::sleep(duration).await;
        return;
    };
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let end = start.saturating_add(nanoseconds);
    let mut alarm = Alarm::default();
    poll_fn(|context| {
        let left = end.saturating_sub(exact_now().unwrap_or(u64::MAX));
        if left == 0 {
            return Poll::Ready(());
        }
        alarm.set(Some(left), context.waker());
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// The sleepers that woke, with the time in microseconds.
    type Log = Rc<RefCell<Vec<(&'static str, u64)>>>;

    fn note(log: &Log, what: &'static str, start: Instant) {
        log.borrow_mut().push((what, now().duration_since(start).as_micros() as u64));
    }

    fn note_after(log: &Log, what: &'static str, start: Instant, after: impl Future + 'static) {
        let log = Rc::clone(log);
        spawn(async move {
            after.await;
            note(&log, what, start);
        });
    }

    #[test]
    fn sleepers_wake_at_their_nanosecond_and_timers_of_tokio_at_their_millisecond() {
        let log = Log::default();
        run(async {
            let start = now();
            let micros = Duration::from_micros;
            note_after(&log, "a", start, sleep(micros(2_700)));
            note_after(&log, "b", start, sleep(micros(300)));
            note_after(&log, "tokio", start, tokio::time::sleep(micros(1_500)));
            note_after(&log, "c", start, async move {
                sleep(micros(300)).await;
                sleep(micros(1_100)).await;
                sleep(micros(600)).await;
            });
            note_after(&log, "far", start, sleep(micros(5_000_250)));
            note_after(&log, "tokio, far", start, tokio::time::sleep(micros(5_000_000)));
            sleep(micros(6_000_000)).await;
            assert_eq!(waiting(), 0);
        });
        let woken = log.borrow().clone();
        let expected = [
            ("b", 300),
            ("tokio", 2_000),
            ("c", 2_000),
            ("a", 2_700),
            ("tokio, far", 5_000_000),
            ("far", 5_000_250),
        ];
        assert_eq!(woken, expected);
    }

    #[test]
    fn a_sleep_that_is_dropped_leaves_nothing_behind() {
        run(async {
            let sleeping = sleep(Duration::from_secs(5));
            let short = tokio::time::timeout(Duration::from_millis(3), sleeping);
            assert!(short.await.is_err());
            assert_eq!(waiting(), 0);
        });
        assert!(!is_exact());
    }

    #[test]
    fn time_does_not_advance_while_a_task_can_run() {
        run(async {
            let start = now();
            let sleeping = sleep(Duration::from_micros(10));
            let busy = async {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                    assert_eq!(now(), start);
                }
            };
            tokio::join!(sleeping, busy);
            assert_eq!(now().duration_since(start), Duration::from_micros(10));
        });
    }
}
