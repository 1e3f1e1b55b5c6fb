//! Lists of deadlines that come in their order.
//!
//! Deadlines that are armed with the same timeout come in their order, as a rule. Such a deadline
//! is added at the end of a list, and taken out of it, in constant time; no queue is faster. The
//! owner checks the order and keeps what does not fit elsewhere.

use alloc::vec;
use alloc::vec::Vec;

use super::mismatch::{Mismatch, same};

/// The list of deadlines with the same timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Response-head deadlines.
    ResponseHead,
    /// Stall timeouts of responses.
    ResponseStall,
    /// Idle timeouts of connections.
    Idle,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::ResponseHead, Self::ResponseStall, Self::Idle];
}

const COUNT: usize = Lane::ALL.len();

/// Doubly linked rings, one for each lane. The first entries of the table are the heads of the
/// rings; that of number `n` comes `COUNT` entries later.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// The neighbours of each member: the [previous](PREVIOUS) and the [next](NEXT). They are
    /// arrays, because a table of zeros takes no memory pages before a member is linked.
    links: Vec<[u32; 2]>,
}

const PREVIOUS: usize = 0;
const NEXT: usize = 1;

impl Lanes {
    /// Returns empty lists for the numbers below `capacity`.
    pub(super) fn new(capacity: usize) -> Self {
        let mut lanes = Self { links: vec![[0; 2]; capacity + COUNT] };
        for head in 0..COUNT as u32 {
            lanes.link(head, head);
        }
        lanes
    }

    /// Returns the first member of a lane.
    #[inline]
    pub(super) fn first(&self, lane: Lane) -> Option<u32> {
        self.links[lane as usize][NEXT].checked_sub(COUNT as u32)
    }

    /// Returns the last member of a lane.
    #[inline]
    pub(super) fn last(&self, lane: Lane) -> Option<u32> {
        self.links[lane as usize][PREVIOUS].checked_sub(COUNT as u32)
    }

    /// Adds a number, which is in no lane, at the end of one.
    #[inline]
    pub(super) fn append(&mut self, lane: Lane, number: u32) {
        let (head, entry) = (lane as u32, number + COUNT as u32);
        self.link(self.links[head as usize][PREVIOUS], entry);
        self.link(entry, head);
    }

    /// Takes a number, which is in a lane, out of it.
    #[inline]
    pub(super) fn remove(&mut self, number: u32) {
        let [previous, next] = self.links[number as usize + COUNT];
        self.link(previous, next);
    }

    /// Makes two entries neighbours.
    #[inline]
    fn link(&mut self, previous: u32, next: u32) {
        self.links[previous as usize][NEXT] = next;
        self.links[next as usize][PREVIOUS] = previous;
    }

    /// Returns the members of a lane in their order.
    pub(super) fn members(&self, lane: Lane) -> impl Iterator<Item = u32> + '_ {
        let next =
            |member: u32| self.links[member as usize + COUNT][NEXT].checked_sub(COUNT as u32);
        core::iter::successors(self.first(lane), move |member| next(*member))
    }

    /// Checks that the neighbours of each member agree.
    ///
    /// # Errors
    /// The first member that another one follows than precedes it.
    pub(super) fn recount(&self) -> Result<(), Mismatch> {
        for lane in Lane::ALL {
            let mut last = None;
            for member in self.members(lane) {
                let previous =
                    self.links[member as usize + COUNT][PREVIOUS].checked_sub(COUNT as u32);
                same(previous, last, "neighbour in a list of deadlines", member as usize)?;
                last = Some(member);
            }
            same(self.last(lane), last, "last of a list of deadlines", lane as usize)?;
        }
        Ok(())
    }
}
