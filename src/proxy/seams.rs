//! Access to tasks, connections, time, files, signals, threads and entropy. The shell has no other
//! access to them. `clippy.toml` bans the other ways to tasks, connections and time, and a run of
//! the simulator fails if it finds one to the rest.
//!
//! So every connection has the socket options that it needs, every task runs on its worker's thread
//! and sees one time during a poll, and there is one module to replace for the simulator: `sockets`
//! is the operating system, and `simulated` takes its place in the package `baton-simulated`.

#![expect(clippy::disallowed_methods, reason = "this is the one module that the bans point to")]

mod answers;
#[cfg(feature = "simulation")]
pub mod simulated;
#[cfg(not(feature = "simulation"))]
mod sockets;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::AbortHandle;

pub use answers::{FileStamp, Point, Signal};
#[cfg(feature = "simulation")]
use simulated as system;
#[cfg(not(feature = "simulation"))]
use sockets as system;

pub use system::{
    DrivenPool, Listener, ListeningSocket, NetworkStream, Signals, WorkerThread, accept, adopt,
    buggify, certificate_clock, check_unused, close_listener, connect, crypto_provider, drive,
    entropy, file_stamp, listen, name_next, read_file, reset_on_close, resolve, start_worker,
    unanswered, wall_clock,
};

use crate::pool::Instant;

/// A task of this worker. Dropping it ends the task.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a task on this thread until it ends.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(InMoments { future: system::task(future) });
}

/// Runs a task on this thread until it ends or its handle is dropped.
pub fn spawn_bound(future: impl Future<Output = ()> + 'static) -> Task {
    let task = tokio::task::spawn_local(InMoments { future: system::task(future) });
    Task(task.abort_handle())
}

/// The present time of a task, read from the clock at most once per poll.
#[derive(Clone, Copy)]
enum Moment {
    /// No task is polled: every reader reads the clock.
    None,
    /// A task is polled and has not read the clock yet.
    Begun,
    /// A task is polled and has read this time from the clock with this epoch.
    At { epoch: tokio::time::Instant, since_start: Instant },
}

thread_local! {
    static MOMENT: Cell<Moment> = const { Cell::new(Moment::None) };
}

pin_project! {
    /// A task with a constant time during each poll. A poll takes microseconds, and reading the
    /// clock costs as much time as one fact in the pool.
    struct InMoments<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InMoments<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        MOMENT.set(Moment::Begun);
        let polled = self.project().future.poll(context);
        MOMENT.set(Moment::None);
        polled
    }
}

/// A clock for the pool: the time since the worker started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: tokio::time::Instant,
}

impl Clock {
    /// Starts a clock at the present time.
    #[must_use]
    pub fn start() -> Self {
        Self { epoch: tokio::time::Instant::now() }
    }

    /// The present time. It is the same during one poll of a task.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Instant {
        match MOMENT.get() {
            Moment::At { epoch, since_start } if epoch == self.epoch => since_start,
            other => self.read(other),
        }
    }

    /// The present time, unless this clock was read before during the poll.
    #[cold]
    fn read(&self, moment: Moment) -> Instant {
        match moment {
            // The time was read from another clock, which is rare: convert it.
            Moment::At { epoch, since_start } => {
                self.since_start(epoch + Duration::from_nanos(since_start.0))
            }
            Moment::None => self.look(),
            Moment::Begun => {
                let since_start = self.look();
                MOMENT.set(Moment::At { epoch: self.epoch, since_start });
                since_start
            }
        }
    }

    /// The present time, read from the system even during a poll, to measure a task's own duration.
    #[must_use]
    pub fn look(&self) -> Instant {
        self.since_start(tokio::time::Instant::now())
    }

    fn since_start(&self, now: tokio::time::Instant) -> Instant {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        Instant(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Waits until a time; returns at once if it is past.
    pub async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(self.epoch + Duration::from_nanos(at.0)).await;
    }
}

/// Waits for a duration.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Limits the time to wait for a future.
///
/// # Errors
/// If the time is over first.
pub async fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(duration, future).await
}
