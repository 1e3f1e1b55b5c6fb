//! One direction of a connection: the bytes between the end that writes and the end that reads,
//! with the buffers of both systems.
//!
//! ```text
//!    read        delivered          sent            written
//!     | unread      | on the wire     | unsent          |
//!     | receive buffer                | send buffer     |
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::{Context, Waker};

use bytes::{Buf, BytesMut};

use super::cutter::Cutter;
use super::records::Records;
use crate::proxy::agenda::Place;

/// The end of time.
pub(crate) const NEVER: u64 = u64::MAX;
/// Bytes that the reader's system keeps for it.
pub(crate) const WINDOW_BYTES: u64 = 128 * 1024;
/// Bytes that the writer's system takes before it can send them. It is the limit that the proxy
/// sets on its sockets.
pub(crate) const UNSENT_BYTES_MAX: u64 = baton::proxy::limits::TCP_UNSENT_BYTES_MAX as u64;
/// Bytes that are sent at once.
const SEGMENT_BYTES_MAX: u64 = 16 * 1024;
/// Pieces that are cut for one effect. Each costs the work of a frame.
const PIECES_MAX: u32 = 300;
/// The least time between two pieces that arrive apart, in nanoseconds.
pub(crate) const PIECE_GAP: u64 = 1_000;

/// The load of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Bytes,
    End,
    Reset,
}

/// A segment on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// The place behind its last byte.
    pub(crate) end: u64,
    pub(crate) arrives: u64,
    pub(crate) load: Load,
}

/// The reader's system says what it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) arrives: u64,
    /// Bytes that it has received, and one more for the end.
    pub(crate) received: u64,
    /// Bytes that the reader has read, which make room.
    pub(crate) read: u64,
}

/// How bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// As they come.
    None,
    /// Into pieces of this size.
    Size(u64),
    /// At frame boundaries, and within frame headers.
    AtFrames,
}

/// The present effects of the network on a direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effects {
    pub(crate) pieces: Pieces,
    /// Pieces that are still cut.
    pub(crate) pieces_left: u32,
    pub(crate) delay: u64,
    pub(crate) stalled_until: u64,
    pub(crate) room: Option<u64>,
    /// Writing fails at this place.
    pub(crate) error_at: Option<u64>,
    /// Nothing that is sent arrives.
    pub(crate) vanishes: bool,
    /// The network has reset the connection: nothing is sent any more.
    pub(crate) severed: bool,
    pub(crate) asleep_until: u64,
    /// The next close is not announced to TLS.
    pub(crate) hides_alert: bool,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The bytes from `read` to `written`.
    buffer: BytesMut,
    pub(crate) read: u64,
    pub(crate) delivered: u64,
    pub(crate) sent: u64,
    pub(crate) written: u64,
    /// No more bytes are written.
    pub(crate) ended: bool,
    pub(crate) end_sent: bool,
    pub(crate) end_delivered: bool,
    pub(crate) flying: VecDeque<Segment>,
    /// When the last segment arrives; the next ones do not arrive earlier.
    pub(crate) busy_until: u64,
    /// The number of segments that were sent, and of acknowledgements.
    pub(crate) segments: u64,
    pub(crate) acknowledgements_sent: u64,
    pub(crate) acknowledgements: VecDeque<Acknowledgement>,
    /// Bytes that arrived, as far as the writer's system knows.
    pub(crate) acknowledged: u64,
    pub(crate) known_read: u64,
    /// Bytes read according to the last acknowledgement on its way.
    pub(crate) advertised: u64,
    /// The writer's system has waited for an acknowledgement since then.
    pub(crate) waiting_since: Option<u64>,
    pub(crate) effects: Effects,
    pub(crate) cutter: Cutter,
    /// The TLS records that were written, if TLS is used.
    pub(crate) records: Option<Records>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) delivery: Option<Place>,
    pub(crate) acknowledging: Option<Place>,
    pub(crate) awaking: Option<Place>,
}

impl Lane {
    pub(crate) fn new(tls: bool) -> Self {
        Self {
            buffer: BytesMut::new(),
            read: 0,
            delivered: 0,
            sent: 0,
            written: 0,
            ended: false,
            end_sent: false,
            end_delivered: false,
            flying: VecDeque::new(),
            busy_until: 0,
            segments: 0,
            acknowledgements_sent: 0,
            acknowledgements: VecDeque::new(),
            acknowledged: 0,
            known_read: 0,
            advertised: 0,
            waiting_since: None,
            effects: Effects {
                pieces: Pieces::None,
                pieces_left: 0,
                delay: 0,
                stalled_until: 0,
                room: None,
                error_at: None,
                vanishes: false,
                severed: false,
                asleep_until: 0,
                hides_alert: false,
            },
            cutter: Cutter::new(),
            records: tls.then(Records::default),
            reader: None,
            writer: None,
            delivery: None,
            acknowledging: None,
            awaking: None,
        }
    }

    pub(crate) fn unread(&self) -> u64 {
        self.delivered - self.read
    }

    pub(crate) fn unsent(&self) -> u64 {
        self.written - self.sent
    }

    /// Bytes between writer and reader.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> u64 {
        self.written - self.read
    }

    /// True if the writer's system waits for an acknowledgement.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.acknowledged < self.written + u64::from(self.ended)
    }

    /// Bytes that the writer's system takes now.
    pub(crate) fn room(&self) -> u64 {
        let room = UNSENT_BYTES_MAX.saturating_sub(self.unsent());
        match self.effects.room {
            Some(most) => room.min(most.saturating_sub(self.written - self.known_read)),
            None => room,
        }
    }

    /// Takes bytes from the writer, as many as fit `room`.
    pub(crate) fn take(&mut self, slices: &[IoSlice<'_>], room: u64, now: u64) -> &[u8] {
        let before = self.buffer.len();
        let mut left = room as usize;
        for slice in slices {
            let taken = slice.len().min(left);
            self.buffer.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        let taken = &self.buffer[before..];
        self.written += taken.len() as u64;
        if let Some(records) = &mut self.records {
            records.follow(taken);
        }
        self.waiting_since.get_or_insert(now);
        taken
    }

    /// Bytes by their places.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> &[u8] {
        &self.buffer[(from - self.read) as usize..(to - self.read) as usize]
    }

    /// Removes unread bytes.
    pub(crate) fn consume(&mut self, count: u64) {
        self.buffer.advance(count as usize);
        self.read += count;
    }

    /// Removes bytes that were written but not sent, from this place on.
    pub(crate) fn cut_off(&mut self, from: u64) {
        let from = from.max(self.sent);
        self.buffer.truncate((from - self.read) as usize);
        self.written = from;
    }

    /// The place up to which bytes may be sent now.
    fn sendable(&self) -> u64 {
        let window = self.known_read + WINDOW_BYTES;
        let hidden = match &self.records {
            Some(records) if self.effects.hides_alert => records.alert(),
            _ => None,
        };
        self.written.min(window).min(hidden.unwrap_or(NEVER)).max(self.sent)
    }

    /// The end of the next segment, if there is one to be sent.
    pub(crate) fn next_segment(&self) -> Option<(u64, Load)> {
        let to = self.sendable();
        if to > self.sent {
            let most = match self.effects.pieces {
                Pieces::Size(size) => size.min(SEGMENT_BYTES_MAX),
                Pieces::None | Pieces::AtFrames => SEGMENT_BYTES_MAX,
            };
            return Some((to.min(self.sent + most), Load::Bytes));
        }
        (self.ended && !self.end_sent && self.sent == self.written)
            .then_some((self.sent, Load::End))
    }

    /// From now on bytes are cut, until there were [`PIECES_MAX`] pieces.
    pub(crate) fn cut(&mut self, pieces: Pieces) {
        (self.effects.pieces, self.effects.pieces_left) = (pieces, PIECES_MAX);
    }

    /// Puts a segment on the wire; it cannot overtake earlier ones.
    pub(crate) fn launch(&mut self, end: u64, load: Load, arrives: u64) {
        self.sent = end;
        self.end_sent |= load == Load::End;
        if self.effects.vanishes {
            return;
        }
        let apart = self.effects.pieces != Pieces::None;
        if apart {
            self.effects.pieces_left -= 1;
            if self.effects.pieces_left == 0 {
                self.effects.pieces = Pieces::None;
            }
        }
        let earliest = match self.flying.is_empty() {
            false if apart => self.busy_until + PIECE_GAP,
            _ => self.busy_until,
        };
        let arrives = arrives.max(earliest);
        self.busy_until = arrives;
        match self.flying.back_mut() {
            Some(last) if !apart && last.arrives == arrives && (last.load, load) == BOTH_BYTES => {
                last.end = end;
            }
            _ => self.flying.push_back(Segment { end, arrives, load }),
        }
    }

    /// The next segment to arrive, if nothing holds it for ever.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        let arrives = self.flying.front()?.arrives.max(self.effects.stalled_until);
        (arrives != NEVER).then_some(arrives)
    }

    /// True if the reader's system has news for the writer's: more bytes, or much more room.
    pub(crate) fn has_news(&self) -> bool {
        let most = self.effects.room.unwrap_or(WINDOW_BYTES).min(WINDOW_BYTES);
        self.read - self.advertised >= (most / 4).max(1)
    }

    /// Takes the acknowledgements that have arrived. Returns true if there were any.
    pub(crate) fn take_acknowledgements(&mut self, now: u64) -> bool {
        let mut any = false;
        while let Some(first) = self.acknowledgements.front().copied() {
            if first.arrives > now {
                break;
            }
            self.acknowledgements.pop_front();
            any = true;
            if first.received > self.acknowledged {
                self.acknowledged = first.received;
                self.waiting_since = self.is_outstanding().then_some(first.arrives);
            }
            self.known_read = self.known_read.max(first.read);
        }
        any
    }

    /// True if an acknowledgement would let the writer, or its system, continue.
    pub(crate) fn needs_acknowledgement(&self) -> bool {
        self.writer.is_some() || self.unsent() > 0 || self.ended && !self.end_sent
    }
}

const BOTH_BYTES: (Load, Load) = (Load::Bytes, Load::Bytes);

/// Notes who waits.
pub(crate) fn register(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(known) if known.will_wake(context.waker()) => {}
        _ => *slot = Some(context.waker().clone()),
    }
}
