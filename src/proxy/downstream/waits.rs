//! Waits for the drain order and for deadlines of a client's connection. Both are rare, and the
//! connection wakes several times for each request, so each has its own waker and is polled only
//! after a wake-up.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::deadlines::Expired;
use crate::proxy::drain::Drain;

/// The event that ended a wait.
pub(super) enum Waited {
    /// The drain order.
    Drain,
    /// A deadline passed.
    Expired(Expired),
}

/// The events of one connection.
pub(super) struct Waits<'a>(FuturesUnordered<Pin<Box<dyn Future<Output = Waited> + 'a>>>);

impl<'a> Waits<'a> {
    /// Waits for `draining`, unless `known` says that it has been reported before, and for a
    /// deadline.
    pub(super) fn new(
        draining: Drain,
        known: bool,
        expired: impl Future<Output = Expired> + 'a,
    ) -> Self {
        let waits: FuturesUnordered<Pin<Box<dyn Future<Output = Waited> + 'a>>> =
            FuturesUnordered::new();
        if !known {
            waits.push(Box::pin(async move {
                draining.ordered().await;
                Waited::Drain
            }));
        }
        waits.push(Box::pin(async { Waited::Expired(expired.await) }));
        Self(waits)
    }

    /// Waits for the next event. If both are due, the other one stays due.
    pub(super) async fn next(&mut self) -> Waited {
        self.0.next().await.expect("a deadline is always waited for")
    }
}
