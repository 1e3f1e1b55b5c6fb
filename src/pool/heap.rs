//! A priority queue over a fixed range of indices, each in it at most once: timers, waiting requests
//! and backends in turn are all kept in one of these.

use alloc::vec;
use alloc::vec::Vec;

use super::invariants::{Mismatch, expect, same};

const ABSENT: u32 = u32::MAX;

/// A binary heap of `(key, index)` with the position of every index known, so that any one can be
/// moved or removed in O(log n). Ties go to the lower index, so that runs repeat. The backing array
/// doubles as a dense list of the members, for random choice.
#[derive(Clone, Debug)]
pub(crate) struct IndexedHeap {
    entries: Vec<(u64, u32)>,
    positions: Vec<u32>,
}

impl IndexedHeap {
    /// An empty heap for the indices below `capacity`. It never allocates again.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity < ABSENT as usize);
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

    /// The key of a member.
    pub(crate) fn key(&self, index: u32) -> Option<u64> {
        let position = self.positions[index as usize];
        (position != ABSENT).then(|| self.entries[position as usize].0)
    }

    /// The least key, and whose it is.
    pub(crate) fn peek(&self) -> Option<(u64, u32)> {
        self.entries.first().copied()
    }

    /// The least key among all members but one.
    pub(crate) fn peek_except(&self, excluded: u32) -> Option<(u64, u32)> {
        let first = self.peek()?;
        if first.1 != excluded {
            return Some(first);
        }
        let left = self.entries.get(1).copied();
        let right = self.entries.get(2).copied();
        match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, _) => left,
        }
    }

    /// The member at a place of the dense list, in no particular order.
    pub(crate) fn member(&self, place: usize) -> u32 {
        self.entries[place].1
    }

    /// The place of a member in the dense list.
    pub(crate) fn place(&self, index: u32) -> Option<usize> {
        let position = self.positions[index as usize];
        (position != ABSENT).then_some(position as usize)
    }

    /// Puts an index in, or moves it to another key.
    pub(crate) fn set(&mut self, index: u32, key: u64) {
        let position = self.positions[index as usize];
        if position == ABSENT {
            assert!(self.entries.len() < self.positions.len(), "an index is in at most once");
            self.entries.push((key, index));
            self.positions[index as usize] = place_number(self.entries.len() - 1);
            self.rise(self.entries.len() - 1);
        } else {
            self.entries[position as usize].0 = key;
            self.restore(position as usize);
        }
    }

    /// Takes an index out, if it is in.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let position = self.positions[index as usize];
        if position == ABSENT {
            return false;
        }
        let position = position as usize;
        let last = self.entries.len() - 1;
        self.swap(position, last);
        self.entries.pop();
        self.positions[index as usize] = ABSENT;
        if position < self.entries.len() {
            self.restore(position);
        }
        true
    }

    fn restore(&mut self, position: usize) {
        let risen = self.rise(position);
        self.sink(risen);
    }

    fn rise(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.entries[parent] <= self.entries[position] {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        position
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            if left >= self.entries.len() {
                return;
            }
            let right = left + 1;
            let right_is_less =
                right < self.entries.len() && self.entries[right] < self.entries[left];
            let child = if right_is_less { right } else { left };
            if self.entries[position] <= self.entries[child] {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.entries.swap(one, other);
        self.positions[self.entries[one].1 as usize] = place_number(one);
        self.positions[self.entries[other].1 as usize] = place_number(other);
    }

    /// Takes every index out.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.positions.fill(ABSENT);
    }

    /// Says whether the order and the positions agree.
    pub(crate) fn recount(&self) -> Result<(), Mismatch> {
        for (place, entry) in self.entries.iter().enumerate() {
            let position = self.positions[entry.1 as usize] as usize;
            same(position, place, "position in a heap", place)?;
            let in_order = place == 0 || self.entries[(place - 1) / 2] <= *entry;
            expect(in_order, "order of a heap", place)?;
        }
        let present = self.positions.iter().filter(|position| **position != ABSENT).count();
        same(present, self.entries.len(), "members of a heap", 0)
    }
}

fn place_number(place: usize) -> u32 {
    u32::try_from(place).expect("the capacity was checked to fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_out_in_order_of_key_then_index() {
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
