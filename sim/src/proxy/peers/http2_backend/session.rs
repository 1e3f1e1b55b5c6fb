//! A connection of an HTTP/2 backend that writes its own frames: what its streams and the task that
//! reads share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::output::{Output, Receipt, Written};
use crate::draw::Domain;
use crate::ping_rule::PingRule;
use crate::plan::{Code, LastId};
use crate::proxy::peers::conduct::{Conduct, Side};
use crate::proxy::peers::exchange::Exchange;
use crate::proxy::peers::frames::{
    Fault, Fields, Frame, FrameWriter, GREATEST, LARGEST_PAYLOAD, WINDOW, setting,
};
use crate::proxy::peers::sending::crumbs;
use crate::proxy::peers::service::Service;

/// A stream that was read.
pub(crate) struct Stream {
    pub(crate) exchange: Rc<Exchange>,
    /// The task that answers.
    pub(crate) answer: Option<AbortHandle>,
    /// True once the backend has nothing more to do with it: it is answered, reset or disowned.
    pub(crate) done: bool,
    /// The answer does not continue until faults stop.
    pub(crate) never_finishes: bool,
    /// The body is not read until then, in nanoseconds since the start.
    pub(crate) starved_until: u64,
    /// The parts of the request that arrived in the meantime.
    pub(crate) unread: Vec<Unread>,
    /// Bytes that were read and are not yet granted again.
    consumed: u32,
}

/// A part of a request that waits to be read.
pub(crate) enum Unread {
    Data { data: Bytes, counted: u32 },
    End(Option<Fields>),
}

impl Stream {
    pub(crate) fn new(exchange: Rc<Exchange>) -> Self {
        Self {
            exchange,
            answer: None,
            done: false,
            never_finishes: false,
            starved_until: 0,
            unread: Vec::new(),
            consumed: 0,
        }
    }
}

/// The state that a connection's tasks share.
pub(crate) struct Session {
    pub(crate) service: Rc<Service>,
    pub(crate) connection: u32,
    pub(crate) output: Rc<Output>,
    pub(crate) conduct: RefCell<Conduct>,
    pub(crate) streams: RefCell<BTreeMap<u32, Stream>>,
    writer: RefCell<FrameWriter>,
    /// Wakes streams: windows, and the end of faults.
    pub(crate) changed: Notify,
    /// Wakes the task that reads: a stream has finished.
    pub(crate) settled: Notify,
    /// The number of streams that it allows.
    pub(crate) allowed: Cell<u32>,
    /// The highest stream that was read.
    pub(crate) highest_read: Cell<u32>,
    /// The lowest last id of its GOAWAYs.
    pub(crate) go_away_last: Cell<Option<u32>>,
    pub(crate) ping_rule: RefCell<PingRule>,
    pings_sent: Cell<u64>,
    consumed: Cell<u32>,
}

impl Session {
    pub(crate) fn new(service: &Rc<Service>, connection: u32) -> Self {
        Self {
            service: Rc::clone(service),
            connection,
            output: Rc::new(Output::new()),
            conduct: RefCell::new(Conduct::new(Side::Client)),
            streams: RefCell::default(),
            writer: RefCell::new(FrameWriter::new()),
            changed: Notify::new(),
            settled: Notify::new(),
            allowed: Cell::new(service.plan.max_streams.unwrap_or(u32::MAX)),
            highest_read: Cell::new(0),
            go_away_last: Cell::new(None),
            ping_rule: RefCell::default(),
            pings_sent: Cell::new(0),
            consumed: Cell::new(0),
        }
    }

    /// The key of its draws.
    pub(crate) fn key(&self) -> u64 {
        u64::from(self.service.backend) << 32 | u64::from(self.connection)
    }

    fn write(&self, receipt: Option<Receipt>, write: impl FnOnce(&mut FrameWriter)) {
        let bytes = {
            let mut writer = self.writer.borrow_mut();
            write(&mut writer);
            writer.take()
        };
        self.output.push(bytes, receipt);
    }

    /// Sends SETTINGS with the number of streams that it allows; the first ones also have the
    /// initial window.
    pub(crate) fn send_settings(&self) {
        let mut settings = Vec::new();
        let allowed = self.allowed.get();
        if allowed != u32::MAX || self.output.is_open() {
            settings.push((setting::MAX_CONCURRENT_STREAMS, allowed));
        }
        if self.output.is_open() {
            self.conduct.borrow_mut().sent_settings(&settings);
            self.write(None, |writer| writer.settings(&settings));
            return;
        }
        let window = self.service.window();
        if window != WINDOW {
            settings.push((setting::INITIAL_WINDOW_SIZE, window));
        }
        // What is queued was written before by this writer; only field blocks depend on the order.
        let mut writer = FrameWriter::new();
        writer.settings(&settings);
        let mut conduct = self.conduct.borrow_mut();
        conduct.sent_settings(&settings);
        if window > WINDOW {
            conduct.grant(0, window - WINDOW);
            writer.window_update(0, window - WINDOW);
        }
        self.output.open_with(writer.take());
    }

    /// Allows as many streams as planned.
    pub(crate) fn allow_as_planned(&self) {
        self.allowed.set(self.service.plan.max_streams.unwrap_or(u32::MAX));
        self.send_settings();
    }

    /// Obeys the proxy's settings, and acknowledges them.
    pub(crate) fn obey(&self, settings: &[(u16, u32)]) {
        self.writer.borrow_mut().obey(settings);
        self.write(None, FrameWriter::settings_ack);
        self.changed.notify_waiters();
    }

    pub(crate) fn send_pong(&self, content: [u8; 8]) {
        self.write(None, |writer| writer.pong(content));
    }

    /// Sends a head. Trailers may follow a final one.
    pub(crate) fn send_head(&self, id: u32, fields: &Fields, trailers: bool, end: bool) {
        let status = fields.status().unwrap_or_default();
        let written = Written::Head { status, trailers, end };
        let receipt = (status >= 200).then(|| self.receipt(id, written)).flatten();
        self.write(receipt, |writer| writer.headers(id, fields, end));
        self.sent(id, end);
    }

    /// Sends DATA, for which there is room, in frames with payloads of at most `crumb` bytes. Each
    /// has its own receipt: a connection may break between two.
    pub(crate) fn send_data(&self, id: u32, data: &[u8], end: bool, crumb: usize) {
        self.conduct.borrow_mut().sent_data(id, data.len());
        for (part, ends) in crumbs(data, crumb) {
            let end = end && ends;
            let receipt = self.receipt(id, Written::Data { length: part.len() as u64, end });
            self.write(receipt, |writer| writer.data(id, part, end));
        }
        self.sent(id, end);
    }

    pub(crate) fn send_trailers(&self, id: u32, fields: &Fields) {
        let receipt = self.receipt(id, Written::Trailers);
        self.write(receipt, |writer| writer.headers(id, fields, true));
        self.sent(id, true);
    }

    fn receipt(&self, id: u32, written: Written) -> Option<Receipt> {
        let streams = self.streams.borrow();
        let exchange = Rc::clone(&streams.get(&id)?.exchange);
        Some(Receipt { exchange, written })
    }

    /// A part of a message was sent.
    fn sent(&self, id: u32, end: bool) {
        self.ping_rule.borrow_mut().message_sent();
        if end {
            self.conduct.borrow_mut().end(id);
            self.settled.notify_one();
        }
    }

    /// True while the answer of a stream does not go on.
    pub(crate) fn never_finishes(&self, id: u32) -> bool {
        self.streams.borrow().get(&id).is_some_and(|stream| stream.never_finishes)
    }

    /// True once the end of the answer is on its way.
    pub(crate) fn has_answered(&self, id: u32) -> bool {
        self.conduct.borrow().has_sent_end(id)
    }

    /// Judges a frame of the proxy.
    pub(crate) fn judge(&self, frame: &Frame) -> Result<(), Fault> {
        self.conduct.borrow_mut().read(frame)
    }

    /// Bytes that may be sent in one DATA frame.
    pub(crate) fn room(&self, id: u32) -> usize {
        let payload = self.writer.borrow().largest_payload().min(LARGEST_PAYLOAD);
        self.conduct.borrow().room(id).min(payload)
    }

    /// Resets a stream that is not done.
    pub(crate) fn reset(&self, id: u32, code: u32) {
        if self.streams.borrow().get(&id).is_none_or(|stream| stream.done) {
            return;
        }
        if code == Code::Refused.number() {
            self.streams.borrow()[&id].exchange.disown();
        }
        self.send_reset(id, code);
        self.finish(id);
    }

    /// Sends RST_STREAM.
    pub(crate) fn send_reset(&self, id: u32, code: u32) {
        self.conduct.borrow_mut().reset(id);
        self.write(None, |writer| writer.reset(id, code));
        self.settled.notify_one();
    }

    /// Has nothing more to do with a stream.
    pub(crate) fn finish(&self, id: u32) {
        let mut unread = Vec::new();
        if let Some(stream) = self.streams.borrow_mut().get_mut(&id) {
            stream.done = true;
            unread = std::mem::take(&mut stream.unread);
            if let Some(answer) = stream.answer.take() {
                answer.abort();
            }
        }
        for part in unread {
            if let Unread::Data { counted, .. } = part {
                self.consume_connection(counted);
            }
        }
        self.settled.notify_one();
    }

    /// Sends GOAWAY, and ignores the streams above the last id.
    pub(crate) fn go_away(&self, last: LastId, code: Code) {
        let read = self.highest_read.get();
        let last = match last {
            LastId::Greatest => GREATEST,
            LastId::Read => read,
            LastId::Zero => 0,
            LastId::BelowRead => read.saturating_sub(2),
            LastId::AboveRead => read + 2,
        };
        let in_force = self.go_away_last.get().map_or(last, |before| before.min(last));
        self.go_away_last.set(Some(in_force));
        self.send_go_away(last, code.number());
        let above: Vec<u32> =
            self.streams.borrow().range(in_force + 1..).map(|(id, _)| *id).collect();
        for id in above {
            self.streams.borrow()[&id].exchange.disown();
            self.conduct.borrow_mut().reset(id);
            self.finish(id);
        }
        self.settled.notify_one();
    }

    /// Sends GOAWAY, sometimes followed by a PING, whose acknowledgement shows that the proxy has
    /// read it.
    pub(crate) fn send_go_away(&self, last: u32, code: u32) {
        self.write(None, |writer| writer.go_away(last, code));
        self.conduct.borrow_mut().sent_go_away();
        let number = self.pings_sent.get() + 1;
        let draws = self.service.hub.draws;
        if draws.between(Domain::Http2Connections, self.key(), number, 0, 1) == 1 {
            self.pings_sent.set(number);
            self.conduct.borrow_mut().sent_ping(number.to_be_bytes());
            self.write(None, |writer| writer.ping(number.to_be_bytes()));
        }
    }

    /// True if a GOAWAY was sent and all its streams are done.
    pub(crate) fn is_drained(&self) -> bool {
        let last = self.go_away_last.get();
        let never_closes = || self.streams.borrow().values().any(|stream| stream.never_finishes);
        last.is_some_and(|last| last < GREATEST)
            && self.conduct.borrow().open_streams() == 0
            && !never_closes()
    }

    /// Part of a body was read: its room in the windows is granted again, when half of a window is
    /// used up.
    pub(crate) fn consume(&self, id: u32, counted: u32) {
        self.consume_connection(counted);
        let grants = {
            let mut streams = self.streams.borrow_mut();
            let Some(stream) = streams.get_mut(&id).filter(|stream| !stream.done) else { return };
            stream.consumed += counted;
            let due = stream.consumed >= self.service.window().div_ceil(2);
            let ended = stream.exchange.has_ended();
            if due && !ended { std::mem::take(&mut stream.consumed) } else { 0 }
        };
        self.grant(id, grants);
    }

    /// The same for the connection alone.
    pub(crate) fn consume_connection(&self, counted: u32) {
        let consumed = self.consumed.get() + counted;
        let due = consumed >= WINDOW.div_ceil(2);
        self.consumed.set(if due { 0 } else { consumed });
        self.grant(0, if due { consumed } else { 0 });
    }

    /// Sends WINDOW_UPDATE.
    pub(crate) fn grant(&self, id: u32, by: u32) {
        if by > 0 {
            self.conduct.borrow_mut().grant(id, by);
            self.write(None, |writer| writer.window_update(id, by));
        }
    }
}
