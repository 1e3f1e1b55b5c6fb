//! A channel between tasks of one thread. Unlike those of libraries, a sender can leave the
//! receiver asleep if something else will wake it: a request's task has nothing to do between the
//! opening of its stream and the response, and a wake-up costs as much time as one fact in the
//! pool.
//!
//! Sending never waits, so the queue has no bound of its own; the pool bounds what is sent. A
//! connection's queue holds an open and a reset for each stream that counts as load, one PING and
//! one close; a request's holds a stream and a failure for each attempt, and one end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::seams::{self, Point};

struct Shared<T> {
    items: VecDeque<T>,
    /// The waker of the task that waits for the next item.
    waiting: Option<Waker>,
    senders: usize,
    has_receiver: bool,
}

/// Sends items. The channel closes when the last sender is dropped.
pub struct Sender<T>(Rc<RefCell<Shared<T>>>);

/// Receives items, in order.
pub struct Receiver<T>(Rc<RefCell<Shared<T>>>);

/// Creates an empty channel.
#[must_use]
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Shared { items: VecDeque::new(), waiting: None, senders: 1, has_receiver: true };
    let shared = Rc::new(RefCell::new(shared));
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends an item and wakes the receiver. Without a receiver the item is dropped.
    pub fn send(&self, item: T) {
        self.send_quietly(item);
        self.wake();
    }

    /// Sends an item without waking the receiver, which finds it at its next wake-up. Without a
    /// receiver the item is dropped.
    pub fn send_quietly(&self, item: T) {
        let mut shared = self.0.borrow_mut();
        if shared.has_receiver {
            shared.items.push_back(item);
        }
    }

    /// The waker of the task that waits for an item, unless it was woken since.
    #[must_use]
    pub fn waiting(&self) -> Option<Waker> {
        self.0.borrow().waiting.clone()
    }

    fn wake(&self) {
        let waiting = self.0.borrow_mut().waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.borrow_mut().senders += 1;
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.senders -= 1;
        let last = shared.senders == 0;
        drop(shared);
        if last {
            self.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// Returns the next item, if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    /// Polls for the next item; `None` if the channel is empty and closed.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = self.0.borrow_mut();
        if !shared.items.is_empty() && seams::buggify(Point::LateItem) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(item) = shared.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if shared.senders == 0 {
            return Poll::Ready(None);
        }
        match &mut shared.waiting {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for the next item; `None` if the channel is empty and closed.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.has_receiver = false;
        shared.waiting = None;
        // The items may own senders of this channel, so they are dropped after the borrow.
        let items = std::mem::take(&mut shared.items);
        drop(shared);
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn items_are_in_order_and_only_send_wakes() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let count = || woken.0.load(Ordering::Relaxed);
        let mut context = Context::from_waker(&waker);
        let (sender, mut receiver) = channel();
        assert!(sender.waiting().is_none());
        assert!(receiver.poll_recv(&mut context).is_pending());
        assert!(sender.waiting().expect("it waits").will_wake(&waker));
        sender.send_quietly(1);
        assert_eq!(count(), 0);
        sender.send(2);
        assert_eq!(count(), 1);
        assert!(sender.waiting().is_none(), "it was woken, and has not waited since");
        assert_eq!(receiver.poll_recv(&mut context), Poll::Ready(Some(1)));
        assert_eq!(receiver.try_recv(), Some(2));
        assert_eq!(receiver.try_recv(), None);
    }

    #[test]
    fn the_last_sender_wakes_and_its_items_are_received_first() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let (sender, mut receiver) = channel();
        let other = sender.clone();
        assert!(receiver.poll_recv(&mut context).is_pending());
        drop(sender);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "there is another one");
        other.send_quietly(3);
        drop(other);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(receiver.poll_recv(&mut context), Poll::Ready(Some(3)));
        assert_eq!(receiver.poll_recv(&mut context), Poll::Ready(None));
    }

    #[test]
    fn without_a_receiver_items_are_dropped_even_if_they_own_senders() {
        #[expect(dead_code, reason = "the fields are only dropped")]
        struct Item(Sender<Self>, Rc<()>);
        let (sender, receiver) = channel();
        let held = Rc::new(());
        sender.send_quietly(Item(sender.clone(), Rc::clone(&held)));
        drop(receiver);
        sender.send(Item(sender.clone(), Rc::clone(&held)));
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(sender.waiting().is_none());
    }
}
