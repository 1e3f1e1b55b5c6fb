//! The bytes of a connection that wait to be written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes, BytesMut};

/// Pieces smaller than this are copied: a piece of its own costs more.
const COPIED_BELOW_BYTES: usize = 1024;

/// The bytes of a connection that wait to be written, in order. Large pieces are not copied.
#[derive(Debug, Default)]
pub struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// Small bytes behind the pieces.
    small: BytesMut,
    length: usize,
    written: u64,
}

impl Outgoing {
    /// The buffer to append small bytes to, such as heads.
    pub fn small(&mut self) -> &mut BytesMut {
        &mut self.small
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.len() < COPIED_BELOW_BYTES {
            return self.small.extend_from_slice(&piece);
        }
        if !self.small.is_empty() {
            self.length += self.small.len();
            self.pieces.push_back(self.small.split().freeze());
        }
        self.length += piece.len();
        self.pieces.push_back(piece);
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length + self.small.len()
    }

    /// Bytes that were removed in total, because they were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `slices` with the first bytes that wait. Returns how many slices were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let small = Some(&self.small[..]).filter(|small| !small.is_empty());
        let waiting = self.pieces.iter().map(|piece| &piece[..]).chain(small);
        slices.iter_mut().zip(waiting).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    /// Removes bytes that were written.
    ///
    /// # Panics
    /// If they are more than those that wait.
    pub fn advance(&mut self, mut written: usize) {
        assert!(written <= self.len(), "only bytes that wait can be written");
        self.written += written as u64;
        while let Some(piece) = self.pieces.front_mut().filter(|_| written > 0) {
            let taken = piece.len().min(written);
            piece.advance(taken);
            written -= taken;
            self.length -= taken;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if written == self.small.len() {
            // Unlike `advance`, this keeps the whole buffer.
            self.small.clear();
        } else {
            self.small.advance(written);
        }
    }

    /// Frees the memory if nothing waits and there is room for more than `most` small bytes.
    pub fn shrink(&mut self, most: usize) {
        if self.is_empty() && self.small.capacity() > most {
            *self = Self { written: self.written, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(out: &mut Outgoing, most: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 2];
        let count = out.slices(&mut slices);
        let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        let taken = all[..all.len().min(most)].to_vec();
        out.advance(taken.len());
        taken
    }

    #[test]
    fn bytes_come_out_in_order_whatever_their_pieces() {
        for most in [1, 2, 7, 1000, 1_000_000] {
            let mut out = Outgoing::default();
            let mut wanted = Vec::new();
            for (index, length) in [3, 5000, 0, 2, 1023, 1024, 1, 1].into_iter().enumerate() {
                let piece = vec![index as u8; length];
                wanted.extend_from_slice(&piece);
                out.push(piece.into());
                out.small().extend_from_slice(b"-");
                wanted.push(b'-');
            }
            assert_eq!(out.len(), wanted.len());
            let mut all = Vec::new();
            while !out.is_empty() {
                all.extend(written(&mut out, most));
            }
            assert_eq!(all, wanted, "at most {most} at once");
            assert_eq!(out.written(), wanted.len() as u64);
            assert_eq!(out.slices(&mut [IoSlice::new(&[])]), 0);
        }
    }

    #[test]
    #[should_panic(expected = "only bytes that wait")]
    fn more_than_waits_cannot_be_written() {
        let mut out = Outgoing::default();
        out.push(Bytes::from_static(b"ab"));
        out.advance(3);
    }
}
