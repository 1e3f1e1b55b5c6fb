//! What a client's connection waits for besides bytes: the order to end, and a time. Neither comes often,
//! and the connection wakes several times for each request, so each has a waker of its own and is looked
//! at only when that was used.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::watch::Expired;

/// What has come.
pub(super) enum Waited {
    /// The order to end.
    Drain,
    /// The end of a time.
    Expired(Expired),
}

/// What is waited for.
pub(super) struct Waits<'a>(FuturesUnordered<Pin<Box<dyn Future<Output = Waited> + 'a>>>);

impl<'a> Waits<'a> {
    /// Waits for `draining` unless that was `known` before, and for a time to expire.
    pub(super) fn new(
        mut draining: watch::Receiver<bool>,
        known: bool,
        expired: impl Future<Output = Expired> + 'a,
    ) -> Self {
        let waits: FuturesUnordered<Pin<Box<dyn Future<Output = Waited> + 'a>>> =
            FuturesUnordered::new();
        if !known {
            waits.push(Box::pin(async move {
                let _ = draining.wait_for(|draining| *draining).await;
                Waited::Drain
            }));
        }
        waits.push(Box::pin(async { Waited::Expired(expired.await) }));
        Self(waits)
    }

    /// What comes first. Of two that have come, either; the other one is still there afterwards.
    pub(super) async fn next(&mut self) -> Waited {
        self.0.next().await.expect("there is always a time that is waited for")
    }
}
