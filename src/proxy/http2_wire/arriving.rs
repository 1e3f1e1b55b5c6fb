//! Requests whose head has arrived and that `h2` has not handed over. It never will if it answers
//! or resets one by itself, or if the client takes one back.

use std::collections::VecDeque;

/// The way in which a request ended that was never handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// Reset by `h2`: too many streams were open.
    Refused,
    /// Reset by `h2`: the head is malformed, or another rule was broken.
    Malformed,
    /// Answered by `h2`: the head is too large.
    Answered,
    /// Reset by the client.
    TakenBack,
}

/// The requests of one connection that were not handed over yet.
#[derive(Debug, Default)]
pub struct Arriving {
    /// The stream whose first header block is open.
    opening: Option<u32>,
    /// Streams whose first header block has arrived whole. Identifiers only grow (RFC 9113, 5.1.1),
    /// so they are in order.
    waiting: VecDeque<u32>,
    /// Those that have ended, in the order of their ends.
    ended: VecDeque<(u32, NotServed)>,
    /// True once nothing more is to be noted.
    is_closed: bool,
}

impl Arriving {
    /// Notes that the first header block of a stream has begun; `None` for another header block.
    pub(super) fn begin(&mut self, stream_id: Option<u32>) {
        self.opening = stream_id.filter(|_| !self.is_closed);
    }

    /// Notes that the open header block is complete.
    pub(super) fn complete(&mut self) {
        self.waiting.extend(self.opening.take());
    }

    /// Notes that a frame has ended a stream, or answered it. That matters only if the request was
    /// not handed over.
    pub(super) fn end(&mut self, stream_id: u32, how: NotServed) {
        if self.opening == Some(stream_id) {
            self.opening = None;
            self.ended.push_back((stream_id, how));
        } else if self.leave(stream_id) {
            self.ended.push_back((stream_id, how));
        }
    }

    /// Notes that `h2` has handed over a request.
    pub fn serve(&mut self, stream_id: u32) {
        if !self.leave(stream_id) {
            self.ended.retain(|(ended, _)| *ended != stream_id);
        }
    }

    /// Returns true if the request waited. It does no longer.
    fn leave(&mut self, stream_id: u32) -> bool {
        let place = self.waiting.binary_search(&stream_id);
        place.is_ok_and(|place| self.waiting.remove(place).is_some())
    }

    /// True if `h2` may still hand over a request whose head has arrived.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.ended.is_empty()
    }

    /// Takes the next request that has ended without being handed over.
    pub fn take_ended(&mut self) -> Option<NotServed> {
        self.ended.pop_front().map(|(_, how)| how)
    }

    /// Forgets all requests, and notes no more: the connection is about to end with an error.
    pub fn close(&mut self) {
        *self = Self { is_closed: true, ..Self::default() };
    }

    /// Takes the request whose head is incomplete, because the connection is over. Returns true if
    /// there was one.
    pub fn take_opening(&mut self) -> bool {
        self.opening.take().is_some()
    }

    /// Takes the requests that still wait, because the connection is over: the client has left with
    /// them. Returns their number.
    pub fn take_waiting(&mut self) -> usize {
        std::mem::take(&mut self.waiting).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams whose heads have arrived.
    fn arrived(streams: &[u32]) -> Arriving {
        let mut arriving = Arriving::default();
        for stream in streams {
            arriving.begin(Some(*stream));
            arriving.complete();
        }
        arriving
    }

    #[test]
    fn only_requests_that_were_not_handed_over_end_unserved() {
        let mut arriving = arrived(&[1, 3, 5, 7]);
        arriving.serve(1);
        arriving.end(1, NotServed::Answered);
        arriving.end(5, NotServed::Malformed);
        arriving.end(5, NotServed::Answered);
        arriving.serve(3);
        assert_eq!(arriving.take_ended(), Some(NotServed::Malformed));
        assert_eq!(arriving.take_ended(), None);
        assert_eq!((arriving.take_waiting(), arriving.take_waiting()), (1, 0));
    }

    #[test]
    fn a_request_that_ends_and_is_handed_over_after_that_is_served() {
        let mut arriving = arrived(&[1]);
        arriving.end(1, NotServed::TakenBack);
        arriving.serve(1);
        assert_eq!((arriving.take_ended(), arriving.take_waiting()), (None, 0));
    }

    #[test]
    fn a_request_may_end_before_its_head_is_complete() {
        let mut arriving = Arriving::default();
        arriving.begin(Some(1));
        arriving.end(1, NotServed::Malformed);
        arriving.complete();
        arriving.begin(None);
        arriving.complete();
        assert_eq!(arriving.take_ended(), Some(NotServed::Malformed));
        assert_eq!(arriving.take_waiting(), 0);
    }
}
