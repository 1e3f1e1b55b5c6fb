//! The memory that the proxy of a run has allocated.
//!
//! A block belongs to the run whose proxy is at work when it is allocated, and is taken off
//! whenever it is freed. The proxy is at work while its tasks are polled, except while they use the
//! simulated system: what the network, the checker and the log keep is not the proxy's.
//!
//! `allocator` is the allocator of every program that contains this crate.

mod allocator;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The number of a run, which its blocks bear. 0 is for blocks of no run.
type Number = u64;

const NONE: Number = 0;

/// The account of the run on a thread. Of cells without destructors, so that the allocator can use
/// it at any time of a thread's life.
struct Account {
    run: Cell<Number>,
    /// The owner of blocks that are allocated now.
    owner: Cell<Number>,
    live: Cell<i64>,
    peak: Cell<i64>,
}

thread_local! {
    static ACCOUNT: Account = const {
        Account {
            run: Cell::new(NONE),
            owner: Cell::new(NONE),
            live: Cell::new(0),
            peak: Cell::new(0),
        }
    };
}

impl Account {
    /// A block of this size is allocated. Returns its owner.
    fn allocated(&self, size: usize) -> Number {
        let owner = self.owner.get();
        if owner != NONE {
            self.add(size as i64);
        }
        owner
    }

    /// The size of a block has changed by this much, as that of a block that is freed does.
    fn resized(&self, owner: Number, by: i64) {
        if owner != NONE && owner == self.run.get() {
            self.add(by);
        }
    }

    fn add(&self, bytes: i64) {
        let live = self.live.get() + bytes;
        self.live.set(live);
        self.peak.set(self.peak.get().max(live));
    }
}

/// The account of a run on this thread.
#[derive(Debug)]
pub(crate) struct Charged(());

impl Charged {
    /// Begins at zero.
    pub(crate) fn begin() -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(NONE);
        ACCOUNT.with(|account| {
            assert!(account.run.get() == NONE, "a thread has one run at a time");
            account.run.set(RUNS.fetch_add(1, Ordering::Relaxed) + 1);
            account.live.set(0);
            account.peak.set(0);
        });
        Self(())
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        ACCOUNT.with(|account| {
            account.run.set(NONE);
            account.owner.set(NONE);
        });
    }
}

/// Bytes in the blocks of the run on this thread that are not freed.
pub(crate) fn live() -> u64 {
    ACCOUNT.with(|account| account.live.get().max(0) as u64)
}

/// The most that there was at once since the last call.
pub(crate) fn take_peak() -> u64 {
    ACCOUNT.with(|account| account.peak.replace(account.live.get()).max(0) as u64)
}

/// Restores the owner of blocks.
struct Restore(Number);

impl Drop for Restore {
    fn drop(&mut self) {
        ACCOUNT.with(|account| account.owner.set(self.0));
    }
}

/// Does what is not the proxy's work, although it may be within a poll of its tasks.
pub(crate) fn uncharged<T>(work: impl FnOnce() -> T) -> T {
    let _restore = Restore(ACCOUNT.with(|account| account.owner.replace(NONE)));
    work()
}

/// The work of the proxy of the run on this thread.
pub(crate) struct Work<F, L> {
    future: Pin<Box<F>>,
    look: L,
}

impl<F, L: Fn() + Unpin> Work<F, L> {
    /// A future whose polls are the work. `look` is called after each.
    pub(crate) fn new(future: F, look: L) -> Self {
        Self { future: Box::pin(future), look }
    }
}

impl<F: Future, L: Fn() + Unpin> Future for Work<F, L> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let restore = Restore(ACCOUNT.with(|account| account.owner.replace(account.run.get())));
        let polled = self.future.as_mut().poll(context);
        drop(restore);
        (self.look)();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::task::Waker;

    fn poll<T>(work: &mut Work<impl Future<Output = T>, impl Fn() + Unpin>) -> Poll<T> {
        Pin::new(work).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn done<T>(future: impl Future<Output = T>) -> T {
        match poll(&mut Work::new(future, || ())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it is ready"),
        }
    }

    #[test]
    fn blocks_belong_to_the_work_that_allocates_them_even_if_another_frees_them() {
        let _charged = Charged::begin();
        let before = vec![0_u8; 100];
        let own = done(async { vec![0_u8; 1_000] });
        assert_eq!(live(), 1_000);
        done(async { drop(before) });
        assert_eq!(live(), 1_000, "it was not the work's");
        drop(own);
        assert_eq!(live(), 0);
        assert_eq!((take_peak(), take_peak()), (1_000, 0));
    }

    #[test]
    fn blocks_that_grow_and_shrink_are_counted_by_their_size() {
        let _charged = Charged::begin();
        let mut block = done(async { Vec::<u8>::with_capacity(100) });
        block.reserve_exact(5_000);
        assert_eq!(live(), 5_000);
        block.extend_from_slice(&[7; 50]);
        block.shrink_to_fit();
        assert_eq!((live(), block.iter().all(|byte| *byte == 7)), (50, true));
        assert_eq!((take_peak(), block.len()), (5_000, 50));
    }

    #[test]
    fn what_the_system_keeps_is_not_counted() {
        let _charged = Charged::begin();
        let mut work = Work::new(
            async {
                let systems = uncharged(|| vec![0_u8; 10_000]);
                let own = vec![0_u8; 300];
                pending::<()>().await;
                drop((systems, own));
            },
            || (),
        );
        assert!(poll(&mut work).is_pending());
        assert_eq!(live(), 300);
        drop(work);
        assert_eq!(live(), 0);
    }

    #[test]
    fn a_block_of_an_earlier_run_is_not_taken_off() {
        let earlier = {
            let _charged = Charged::begin();
            done(async { vec![0_u8; 500] })
        };
        let _charged = Charged::begin();
        let own = done(async { vec![0_u8; 70] });
        drop(earlier);
        assert_eq!(live(), 70);
        drop(own);
        assert_eq!(live(), 0);
    }
}
