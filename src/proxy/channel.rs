//! A channel between tasks of one thread. What sets it apart from those of libraries is that a sender can
//! leave the receiver asleep, when something else will wake it: a request's task has nothing to do between
//! the opening of its stream and the response, and to wake it costs as much as the pool takes for a fact.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Shared<T> {
    items: VecDeque<T>,
    /// Of the task that waits for the next one.
    waiting: Option<Waker>,
    senders: usize,
    has_receiver: bool,
}

/// Where items go in. The channel ends with the last of these.
pub struct Sender<T>(Rc<RefCell<Shared<T>>>);

/// Where items come out, in their order.
pub struct Receiver<T>(Rc<RefCell<Shared<T>>>);

/// An empty channel.
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

    /// Sends an item that the receiver finds when something else has woken it. Without a receiver the
    /// item is dropped.
    pub fn send_quietly(&self, item: T) {
        let mut shared = self.0.borrow_mut();
        if shared.has_receiver {
            shared.items.push_back(item);
        }
    }

    /// What wakes the task that has waited for an item, if it was not woken since.
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
    /// The next item, if it is there.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    /// The next item, or none if there is none and no sender either.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = self.0.borrow_mut();
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

    /// Waits for the next item; none if there is none and no sender either.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.has_receiver = false;
        shared.waiting = None;
        // What they hold may lead back here.
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
    fn items_come_in_order_and_only_loud_ones_wake() {
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
    fn the_last_sender_wakes_and_what_it_sent_comes_first() {
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
    fn without_a_receiver_items_are_dropped_even_those_that_hold_the_sender() {
        #[expect(dead_code, reason = "what it holds is only dropped")]
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
