//! The output of an HTTP/2 backend: frames wait in a queue, a task writes them, and what was handed
//! to the network is recorded then and not before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::draw::{Domain, Draws};
use crate::proxy::peers::exchange::Exchange;

/// Bytes that are written at once: a TLS record, so that they arrive together or not at all.
const BATCH: usize = 16_384;

/// The record to make once bytes are written.
#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) exchange: Rc<Exchange>,
    pub(crate) written: Written,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The final head.
    Head { status: u16, trailers: bool, end: bool },
    /// Bytes of the body.
    Data { length: u64, end: bool },
    /// Trailers.
    Trailers,
}

impl Receipt {
    fn record(&self) {
        let end = match self.written {
            Written::Head { status, trailers, end } => {
                self.exchange.wrote_head(status, trailers);
                end
            }
            Written::Data { length, end } => {
                self.exchange.wrote(length);
                end
            }
            Written::Trailers => true,
        };
        if end {
            self.exchange.wrote_end();
        }
    }
}

/// Frames that are written at once.
struct Batch {
    bytes: Bytes,
    /// The records to make, each once this many of the bytes are written.
    receipts: VecDeque<(usize, Option<Receipt>)>,
}

/// The frames that wait to be written.
pub(crate) struct Output {
    queue: RefCell<VecDeque<(Bytes, Option<Receipt>)>>,
    /// Frames wait until SETTINGS are written, which must be the first.
    open: Cell<bool>,
    /// Nothing follows what is in the queue.
    closing: Cell<bool>,
    more: Notify,
    /// How often something was recorded, for those who wait for it.
    pub(crate) recorded: Notify,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            queue: RefCell::default(),
            open: Cell::new(false),
            closing: Cell::new(false),
            more: Notify::new(),
            recorded: Notify::new(),
        }
    }

    /// Queues frames.
    pub(crate) fn push(&self, bytes: Bytes, receipt: Option<Receipt>) {
        self.queue.borrow_mut().push_back((bytes, receipt));
        self.more.notify_one();
    }

    /// Writes the first SETTINGS, and from then on everything.
    pub(crate) fn open_with(&self, settings: Bytes) {
        self.queue.borrow_mut().push_front((settings, None));
        self.open.set(true);
        self.more.notify_one();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Closes the sending side once the queue is empty.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.more.notify_one();
    }

    /// Takes what is written at once; `None` if nothing is to be written.
    fn take(&self, together: bool) -> Option<Batch> {
        let mut queue = self.queue.borrow_mut();
        if !self.open.get() || queue.is_empty() {
            return None;
        }
        let mut bytes = BytesMut::new();
        let mut receipts = VecDeque::new();
        while let Some((next, _)) = queue.front() {
            let alone = bytes.is_empty();
            if !alone && (!together || bytes.len() + next.len() > BATCH) {
                break;
            }
            let Some((next, receipt)) = queue.pop_front() else { break };
            bytes.extend_from_slice(&next);
            receipts.push_back((bytes.len(), receipt));
        }
        Some(Batch { bytes: bytes.freeze(), receipts })
    }

    /// Writes until the queue is empty and closed.
    pub(crate) async fn write_all(
        self: Rc<Self>,
        mut io: impl AsyncWrite + Unpin,
        draws: Draws,
        key: u64,
    ) -> io::Result<()> {
        for ordinal in 0.. {
            let together = draws.between(Domain::Http2Writes, key, ordinal, 0, 1) == 1;
            let Batch { bytes, mut receipts } = loop {
                if let Some(taken) = self.take(together) {
                    break taken;
                }
                if self.closing.get() && self.open.get() {
                    return io.shutdown().await;
                }
                self.more.notified().await;
            };
            let mut done = 0;
            while done < bytes.len() {
                let written = io.write(&bytes[done..]).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done += written;
                // Behind TLS only what is flushed is in the network.
                io.flush().await?;
                while receipts.front().is_some_and(|(end, _)| *end <= done) {
                    if let Some((_, Some(receipt))) = receipts.pop_front() {
                        receipt.record();
                    }
                }
                self.recorded.notify_waiters();
            }
        }
        Ok(())
    }
}
