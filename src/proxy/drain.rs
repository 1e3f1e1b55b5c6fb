//! The order to drain, which any number of tasks of a worker wait for.
//!
//! `tokio::sync::watch` does not fit: it wakes its receivers in a random order, and a simulated run
//! must not depend on that.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// An order that is given once. Clones stand for the same order.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<State>);

#[derive(Debug, Default)]
struct State {
    ordered: Cell<bool>,
    waiting: Notify,
}

impl Drain {
    /// Gives the order. Those who wait are woken in the order in which they began to wait.
    pub fn order(&self) {
        self.0.ordered.set(true);
        self.0.waiting.notify_waiters();
    }

    /// True once the order was given.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.0.ordered.get()
    }

    /// Waits until the order is given; returns at once if it was given before.
    pub async fn ordered(&self) {
        // Made before the look, because it notices an order from then on.
        let ordered = self.0.waiting.notified();
        if !self.is_ordered() {
            ordered.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn an_order_reaches_those_who_wait_and_those_who_come_later() {
        let drain = Drain::default();
        let clone = drain.clone();
        let mut waiting = pin!(clone.ordered());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        assert!(!clone.is_ordered());
        drain.order();
        assert!(clone.is_ordered());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(pin!(clone.ordered()).poll(&mut context), Poll::Ready(()));
    }
}
