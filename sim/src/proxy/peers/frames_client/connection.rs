//! One connection of a client that writes its own frames.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::super::arrivals::Arrivals;
use super::super::frames::{
    Frame, FrameReader, FrameWriter, LARGEST_PAYLOAD, ReadError, TABLE, WINDOW, error, flag, kind,
    setting,
};
use super::habits::{Granting, Habits};

/// A stream's window grows to this, so that a body takes few turns even if the first is tiny.
const WINDOW_WANTED: i64 = 65_535;
/// Window updates of one byte for a DATA frame. The proxy tolerates ten updates for each.
const SINGLE_BYTES: i64 = 4;
/// Streams of a connection before the proxy's limit is known.
const STREAMS: u32 = 100;
/// Frames without payload, and SETTINGS after the first, that one connection sends at most: fewer
/// than what the proxy takes for an attack.
const EMPTY_FRAMES: u32 = 50;
const SETTINGS: u32 = 20;

/// A connection, for its requests.
pub(super) struct Connection {
    pub(super) state: RefCell<State>,
    out: UnboundedSender<Out>,
    changed: Notify,
}

/// The next thing to write.
enum Out {
    Bytes(Bytes),
    Pause(Duration),
    /// This side of the connection ends.
    End,
}

/// The window in which the proxy may send on a stream.
struct Window {
    granted: i64,
    taken: i64,
    granting: Granting,
    /// True while the client does not read.
    stopped: bool,
}

/// Limits for the reader, as an acknowledged SETTINGS sets them.
#[derive(Clone, Copy)]
struct Limits {
    payload: usize,
    table: usize,
}

pub(super) struct State {
    pub(super) arrivals: Arrivals,
    pub(super) writer: FrameWriter,
    habits: Habits,
    next: u32,
    windows: BTreeMap<u32, Window>,
    /// The initial window that was announced last.
    initial: i64,
    unacknowledged: VecDeque<Limits>,
    last_limits: Limits,
    requests: u32,
    /// True once the proxy's SETTINGS have arrived.
    greeted: bool,
    /// True once no further stream may be opened.
    leaving: bool,
    ended: bool,
    closed: bool,
    empty_frames: u32,
    settings: u32,
}

impl Connection {
    /// Greets the proxy. The returned futures read and write the connection until it ends.
    pub(super) fn open<S>(
        io: S,
        habits: Habits,
        arrivals: Arrivals,
    ) -> (Rc<Self>, impl Future<Output = ()>, impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (out, queue) = unbounded_channel();
        let limits = Limits { payload: LARGEST_PAYLOAD, table: TABLE };
        let mut state = State {
            arrivals,
            writer: FrameWriter::new(),
            next: 1,
            windows: BTreeMap::new(),
            initial: WINDOW.into(),
            unacknowledged: VecDeque::new(),
            last_limits: limits,
            requests: 0,
            greeted: false,
            leaving: false,
            ended: false,
            closed: false,
            empty_frames: EMPTY_FRAMES,
            settings: SETTINGS + 1,
            habits,
        };
        state.writer.preface();
        let settings = state.habits.settings.clone();
        state.change_settings(&settings);
        let wider_by = state.habits.wider_by;
        if wider_by > 0 {
            state.grant(0, wider_by.into(), Granting::AtOnce);
        }
        let connection = Rc::new(Self { state: RefCell::new(state), out, changed: Notify::new() });
        connection.send(None);
        let (io, into) = tokio::io::split(io);
        let reading = Rc::clone(&connection).read(FrameReader::new(io));
        (connection, reading, write(into, queue))
    }

    /// Sends what the state's writer has written, the first permille of it earlier than the rest if
    /// there is a pause.
    pub(super) fn send(&self, pause: Option<(Duration, u64)>) {
        let mut bytes = self.state.borrow_mut().writer.take();
        let Some((pause, permille)) = pause else { return self.queue(Out::Bytes(bytes)) };
        let first = bytes.len() * permille as usize / 1_000;
        self.queue(Out::Bytes(bytes.split_to(first)));
        self.queue(Out::Pause(pause));
        self.queue(Out::Bytes(bytes));
    }

    fn queue(&self, out: Out) {
        // A connection that is broken takes nothing: its reader reports that.
        let _ = self.out.send(out);
    }

    /// Waits until a check of the state has a result.
    pub(super) async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(result) = check(&mut self.state.borrow_mut()) {
                return result;
            }
            changed.await;
        }
    }

    /// Waits until the proxy is done with a stream.
    pub(super) async fn over(&self, stream: u32) {
        let over = |state: &mut State| state.closed || state.arrivals.is_over(stream);
        self.until(|state| over(state).then_some(())).await;
    }

    /// Stops reading a stream: its window is not widened.
    pub(super) fn stop(&self, stream: u32) {
        if let Some(window) = self.state.borrow_mut().windows.get_mut(&stream) {
            window.stopped = true;
        }
    }

    /// Reads a stream on.
    pub(super) fn resume(&self, stream: u32) {
        let mut state = self.state.borrow_mut();
        let Some(window) = state.windows.get_mut(&stream).filter(|window| window.stopped) else {
            return;
        };
        window.stopped = false;
        state.widen(stream);
        drop(state);
        self.send(None);
    }

    /// The requests of a stream and its response are over.
    pub(super) fn leave(&self, stream: u32) {
        self.state.borrow_mut().windows.remove(&stream);
        self.changed.notify_waiters();
        self.end_if_done();
    }

    /// Ends a connection that takes no more requests and has none.
    fn end_if_done(&self) {
        let state = self.state.borrow();
        if state.is_leaving() && state.windows.is_empty() {
            drop(state);
            self.end();
        }
    }

    /// Ends this side of the connection.
    pub(super) fn end(&self) {
        let mut state = self.state.borrow_mut();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        if state.habits.says_goaway && !state.leaving {
            state.writer.go_away(0, 0);
        }
        state.leaving = true;
        drop(state);
        self.send(None);
        self.queue(Out::End);
    }

    /// Reads frames until the connection ends.
    async fn read<R: AsyncRead + Unpin>(self: Rc<Self>, mut reader: FrameReader<R>) {
        loop {
            match reader.next().await {
                Ok(Some(frame)) => {
                    if let Some(limits) = self.state.borrow_mut().read(&frame) {
                        reader.allow(limits.payload, limits.table);
                    }
                    self.send(None);
                }
                Ok(None) | Err(ReadError::Broken | ReadError::EndedInside) => break,
                Err(ReadError::Fault(fault)) => {
                    let mut state = self.state.borrow_mut();
                    state.arrivals.fault(&fault);
                    state.writer.go_away(0, fault.code);
                    break;
                }
            }
            self.changed.notify_waiters();
            self.end_if_done();
        }
        self.state.borrow_mut().closed = true;
        self.changed.notify_waiters();
        self.end();
    }
}

/// Writes until this side of the connection ends, or until it breaks.
async fn write<W: AsyncWrite + Unpin>(mut io: W, mut queue: UnboundedReceiver<Out>) {
    while let Some(out) = queue.recv().await {
        let written = match out {
            Out::Bytes(bytes) => match io.write_all(&bytes).await {
                Ok(()) => io.flush().await,
                Err(error) => Err(error),
            },
            Out::Pause(pause) => {
                sleep(pause).await;
                Ok(())
            }
            Out::End => {
                let _ = io.shutdown().await;
                return;
            }
        };
        // What breaks is noticed where the connection is read.
        if written.is_err() {
            return;
        }
    }
}

impl State {
    /// True if no further stream may be opened.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving || self.closed || self.arrivals.conduct.last_id().is_some()
    }

    /// True if a stream can be opened now.
    pub(super) fn has_capacity(&self) -> bool {
        let conduct = &self.arrivals.conduct;
        let streams = conduct.max_streams().unwrap_or(STREAMS);
        (self.greeted || !self.habits.waits) && conduct.open_streams() < streams
    }

    /// The id of the next stream, which is opened now.
    pub(super) fn open_stream(&mut self, method: &str, granting: Granting) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.requests += 1;
        self.arrivals.open(stream, method);
        let window = Window { granted: 0, taken: 0, granting, stopped: false };
        self.windows.insert(stream, window);
        stream
    }

    /// Makes sure that the proxy may send on a stream that was opened.
    pub(super) fn open_window(&mut self, stream: u32) {
        if self.initial == 0 {
            self.widen(stream);
        }
    }

    /// Bytes of DATA that fit into one frame now; the outer `None` if there is no room, the inner
    /// one if the stream takes no more.
    pub(super) fn room(&self, stream: u32) -> Option<Option<usize>> {
        let conduct = &self.arrivals.conduct;
        if self.closed || !conduct.is_open(stream) {
            return Some(None);
        }
        let room = conduct.room(stream).min(self.writer.largest_payload());
        (room > 0).then_some(Some(room))
    }

    /// Writes DATA, which must fit; with this padding if that fits too.
    pub(super) fn data(&mut self, stream: u32, data: &[u8], padding: Option<u8>, end: bool) {
        let flags = if end { flag::END_STREAM } else { 0 };
        let padded = padding.map(|padding| [&[padding], data, &vec![0; padding.into()]].concat());
        let room = self.arrivals.conduct.room(stream).min(self.writer.largest_payload());
        let counted = match padded.filter(|padded| padded.len() <= room) {
            Some(padded) => {
                self.writer.raw(kind::DATA, flags | flag::PADDED, stream, &padded);
                padded.len()
            }
            None => {
                self.writer.raw(kind::DATA, flags, stream, data);
                data.len()
            }
        };
        self.arrivals.conduct.sent_data(stream, counted);
        if end {
            self.arrivals.sent(stream);
        }
    }

    /// Sends GOAWAY if it is time.
    pub(super) fn leave_if_due(&mut self) {
        if self.requests >= self.habits.requests && !self.leaving {
            self.leaving = true;
            self.writer.go_away(0, 0);
        }
    }

    /// The stream that is opened next.
    pub(super) fn next_stream(&self) -> u32 {
        self.next
    }

    /// Writes a frame without payload, unless there were too many.
    pub(super) fn empty_frame(&mut self, stream: u32) {
        if self.empty_frames > 0 {
            self.empty_frames -= 1;
            self.writer.data(stream, &[], false);
        }
    }

    /// Sends SETTINGS, unless there were too many.
    pub(super) fn change_settings(&mut self, settings: &[(u16, u32)]) {
        if self.settings == 0 {
            return;
        }
        self.settings -= 1;
        self.writer.settings(settings);
        self.arrivals.conduct.sent_settings(settings);
        for (identifier, value) in settings {
            match *identifier {
                setting::INITIAL_WINDOW_SIZE => self.initial = (*value).into(),
                setting::MAX_FRAME_SIZE => self.last_limits.payload = *value as usize,
                setting::HEADER_TABLE_SIZE => self.last_limits.table = *value as usize,
                _ => {}
            }
        }
        self.unacknowledged.push_back(self.last_limits);
        self.widen_all();
    }

    /// Sends PING.
    pub(super) fn ping(&mut self, content: [u8; 8]) {
        self.writer.ping(content);
        self.arrivals.conduct.sent_ping(content);
    }

    /// Takes a frame of the proxy. Returns the limits of the reader if they change.
    fn read(&mut self, frame: &Frame) -> Option<Limits> {
        self.arrivals.read(frame);
        match frame {
            Frame::Settings(settings) => {
                self.greeted = true;
                self.writer.obey(settings);
                self.writer.settings_ack();
            }
            Frame::SettingsAck => return self.unacknowledged.pop_front(),
            Frame::Ping(content) => self.writer.pong(*content),
            Frame::Data { stream, counted, end, .. } => {
                self.return_window(*stream, i64::from(*counted), *end);
            }
            Frame::PushPromise { .. } => self.writer.go_away(0, error::PROTOCOL_ERROR),
            _ => {}
        }
        None
    }

    /// Returns what a DATA frame has taken from the windows.
    fn return_window(&mut self, stream: u32, counted: i64, end: bool) {
        if counted == 0 {
            return;
        }
        let Some(window) = self.windows.get_mut(&stream) else {
            // A stream that this client has left.
            return self.grant(0, counted, Granting::AtOnce);
        };
        window.taken += counted;
        let granting = window.granting;
        self.grant(0, counted, granting);
        if !end {
            self.widen(stream);
        }
    }

    /// Widens the window of a stream that is read.
    fn widen(&mut self, stream: u32) {
        let Some(window) = self.windows.get(&stream).filter(|window| !window.stopped) else {
            return;
        };
        let room = self.initial + window.granted - window.taken;
        let late = window.granting == Granting::Late && room > self.initial / 2;
        if room >= WINDOW_WANTED || (late && room > 0) {
            return;
        }
        // It is never closed, and twice as wide at each turn.
        let wider = (1 - room).max(0) + window.taken.clamp(1, WINDOW_WANTED);
        self.grant(stream, wider, window.granting);
    }

    /// Widens every window: the initial window has changed.
    fn widen_all(&mut self) {
        let streams: Vec<u32> = self.windows.keys().copied().collect();
        for stream in streams {
            self.widen(stream);
        }
    }

    /// Sends WINDOW_UPDATE.
    fn grant(&mut self, stream: u32, by: i64, granting: Granting) {
        let single = if granting == Granting::ByteByByte { by.min(SINGLE_BYTES) } else { 0 };
        let parts = std::iter::repeat_n(1, single as usize).chain([by - single]);
        for part in parts.filter(|part| *part > 0) {
            self.writer.window_update(stream, part as u32);
            self.arrivals.conduct.grant(stream, part as u32);
        }
        if let Some(window) = self.windows.get_mut(&stream) {
            window.granted += by;
        }
    }

    /// Writes a head: HEADERS with its padding and priority, and CONTINUATION frames.
    pub(super) fn head(&mut self, stream: u32, block: &[u8], end: bool, form: &HeadForm) {
        let mut flags = if end { flag::END_STREAM } else { 0 };
        let mut payload = Vec::new();
        if let Some(padding) = form.padding {
            flags |= flag::PADDED;
            payload.push(padding);
        }
        if form.prioritised {
            flags |= flag::PRIORITY;
            payload.extend_from_slice(&[0, 0, 0, 0, 15]);
        }
        // The parts after the first may be empty.
        let part = block.len().div_ceil(form.continuations + 1);
        let mut parts = block.chunks(part.max(1));
        payload.extend_from_slice(parts.next().unwrap_or_default());
        payload.extend(std::iter::repeat_n(0, form.padding.unwrap_or(0).into()));
        if form.continuations == 0 {
            flags |= flag::END_HEADERS;
        }
        self.writer.raw(kind::HEADERS, flags, stream, &payload);
        for number in 1..=form.continuations {
            let flags = if number == form.continuations { flag::END_HEADERS } else { 0 };
            self.writer.raw(kind::CONTINUATION, flags, stream, parts.next().unwrap_or_default());
        }
    }
}

/// The form of a head on the wire.
pub(super) struct HeadForm {
    pub(super) padding: Option<u8>,
    pub(super) prioritised: bool,
    pub(super) continuations: usize,
}
