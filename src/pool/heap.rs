//! A priority queue over a fixed range of indices, in which each index occurs at most once. Timers,
//! waiting requests and the sets of backends use it.

use alloc::vec;
use alloc::vec::Vec;

use super::mismatch::{Mismatch, expect, same};

/// Position of an index that is not a member. It is zero, and positions start at 1, so that a table
/// of them takes no memory pages before it is used.
const ABSENT: u32 = 0;
/// Children of an entry. Four fit in one cache line, and the heap is half as deep as with two.
const CHILDREN: usize = 4;

/// A member: the key in the high bits and the index in the low bits, so that one comparison orders
/// by key and then by index.
type Entry = u128;

fn entry(key: u64, index: u32) -> Entry {
    Entry::from(key) << u32::BITS | Entry::from(index)
}

fn key(entry: Entry) -> u64 {
    (entry >> u32::BITS) as u64
}

fn index(entry: Entry) -> u32 {
    entry as u32
}

/// A heap that knows the position of every index, so that any member can be moved or removed in
/// O(log n). The lower index wins ties, so that runs are reproducible. The backing array is also a
/// dense list of the members, for random choice.
#[derive(Clone, Debug)]
pub(crate) struct IndexedHeap {
    entries: Vec<Entry>,
    positions: Vec<u32>,
}

impl IndexedHeap {
    /// Returns an empty heap for the indices below `capacity`. It never allocates again.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity < u32::MAX as usize);
        Self { entries: Vec::with_capacity(capacity), positions: vec![ABSENT; capacity] }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        self.positions[index as usize] != ABSENT
    }

    /// Returns the key of a member.
    pub(crate) fn key(&self, index: u32) -> Option<u64> {
        self.place(index).map(|place| key(self.entries[place]))
    }

    /// Returns all members, in no particular order.
    pub(crate) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| index(*entry))
    }

    /// Returns the least key and its index.
    pub(crate) fn peek(&self) -> Option<(u64, u32)> {
        self.entries.first().map(|entry| (key(*entry), index(*entry)))
    }

    /// Returns the least key, and its index, among all members but one.
    pub(crate) fn peek_except(&self, excluded: u32) -> Option<(u64, u32)> {
        let first = self.peek()?;
        if first.1 != excluded {
            return Some(first);
        }
        let rest = self.entries.iter().skip(1).take(CHILDREN);
        rest.min().map(|entry| (key(*entry), index(*entry)))
    }

    /// Returns the member at a position of the dense list, which is in no particular order.
    pub(crate) fn member(&self, place: usize) -> u32 {
        index(self.entries[place])
    }

    /// Returns the position of a member in the dense list.
    pub(crate) fn place(&self, index: u32) -> Option<usize> {
        (self.positions[index as usize] as usize).checked_sub(1)
    }

    /// Inserts an index, or changes its key.
    pub(crate) fn set(&mut self, index: u32, key: u64) {
        let entry = entry(key, index);
        match self.place(index) {
            Some(position) => self.restore(position, entry),
            None => {
                assert!(self.entries.len() < self.positions.len(), "an index occurs at most once");
                self.entries.push(entry);
                self.rise(self.entries.len() - 1, entry);
            }
        }
    }

    /// Removes an index. Returns false if it was not a member.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let Some(position) = self.place(index) else {
            return false;
        };
        self.positions[index as usize] = ABSENT;
        let last = self.entries.pop().expect("the index has a position");
        if position < self.entries.len() {
            self.restore(position, last);
        }
        true
    }

    /// Moves an entry to its position. The entry at `position` is overwritten.
    fn restore(&mut self, position: usize, entry: Entry) {
        if position > 0 && entry < self.entries[(position - 1) / CHILDREN] {
            self.rise(position, entry);
        } else {
            self.sink(position, entry);
        }
    }

    fn rise(&mut self, mut position: usize, entry: Entry) {
        while position > 0 {
            let parent = (position - 1) / CHILDREN;
            let above = self.entries[parent];
            if above <= entry {
                break;
            }
            self.put(position, above);
            position = parent;
        }
        self.put(position, entry);
    }

    fn sink(&mut self, mut position: usize, entry: Entry) {
        while let Some((child, below)) = self.least_child(position) {
            if entry <= below {
                break;
            }
            self.put(position, below);
            position = child;
        }
        self.put(position, entry);
    }

    /// Returns the least child of an entry, with its position.
    fn least_child(&self, position: usize) -> Option<(usize, Entry)> {
        let first = CHILDREN * position + 1;
        let children = self.entries.get(first..)?;
        let lesser = |one: (usize, Entry), other: (usize, Entry)| {
            if other.1 < one.1 { other } else { one }
        };
        let at = |place: usize| (first + place, children[place]);
        // With four children: two independent comparisons and a third.
        match children.len() {
            0 => None,
            1 => Some(at(0)),
            2 => Some(lesser(at(0), at(1))),
            3 => Some(lesser(lesser(at(0), at(1)), at(2))),
            _ => Some(lesser(lesser(at(0), at(1)), lesser(at(2), at(3)))),
        }
    }

    fn put(&mut self, position: usize, entry: Entry) {
        self.entries[position] = entry;
        self.positions[index(entry) as usize] = position as u32 + 1;
    }

    /// Checks that order and positions agree.
    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        for (place, entry) in self.entries.iter().enumerate() {
            let position = self.place(index(*entry));
            same(position, Some(place), "position in a heap", place)?;
            let in_order = place == 0 || self.entries[(place - 1) / CHILDREN] <= *entry;
            expect(in_order, "order of a heap", place)?;
        }
        let present = self.positions.iter().filter(|position| **position != ABSENT).count();
        same(present, self.entries.len(), "members of a heap", 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_members_in_order_of_key_then_index() {
        let mut heap = IndexedHeap::new(8);
        for (index, key) in [(3, 5), (1, 5), (0, 9), (7, 1)] {
            heap.set(index, key);
        }
        let mut order = Vec::new();
        while let Some((_, index)) = heap.peek() {
            order.push(index);
            assert!(heap.remove(index));
            assert_eq!(heap.recount(), Ok(()));
        }
        assert_eq!(order, [7, 1, 3, 0]);
    }

    #[test]
    fn moves_and_removes_anywhere() {
        let mut heap = IndexedHeap::new(64);
        for step in 0..4_000_u64 {
            let index = (step * 37 % 64) as u32;
            match step % 3 {
                0 => heap.set(index, step * 7919 % 101),
                1 => heap.set(index, step % 13),
                _ => assert_eq!(heap.contains(index), heap.remove(index)),
            }
            assert_eq!(heap.recount(), Ok(()));
            let least = (0..64).filter_map(|index| Some((heap.key(index)?, index))).min();
            assert_eq!(heap.peek(), least);
            let except = (0..64).filter_map(|index| Some((heap.key(index)?, index)));
            let except = except.filter(|entry| entry.1 != index).min();
            assert_eq!(heap.peek_except(index), except);
        }
    }
}
