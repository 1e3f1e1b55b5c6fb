//! The state of an HTTP/2 connection with the proxy, as its peer knows it: streams, windows,
//! settings. It judges each frame of the proxy (RFC 9113, 5 and 6), strictly: what the proxy must
//! have known when it wrote the frame, it must have obeyed. Where only the proxy knows what it had
//! read by then, both are allowed.

use std::collections::{BTreeMap, VecDeque};

use super::frames::fields::Section;
use super::frames::{Fault, Fields, Frame, GREATEST, WINDOW, error, setting};

#[cfg(test)]
mod tests;

/// The side that the proxy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It sends requests: the peer is a backend.
    Client,
    /// It answers them: the peer is a client.
    Server,
}

/// How far a message of the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// No final head was read.
    Awaited,
    /// The head was read.
    Body,
    /// It has ended.
    Ended,
    /// The proxy has reset the stream.
    Reset,
}

#[derive(Debug)]
struct Stream {
    message: Message,
    /// The sum of this peer's WINDOW_UPDATE frames, which the initial window does not include.
    granted: u64,
    /// The sum of the proxy's DATA frames.
    taken: u64,
    /// Bytes of the body, and its stated length.
    body: u64,
    stated: Option<u64>,
    /// True if the proxy answers HEAD.
    without_body: bool,
    /// Bytes that this peer may send. Below zero after a smaller initial window.
    window: i64,
    /// True once this peer has ended its message.
    ended: bool,
    /// True once this peer has reset the stream.
    reset: bool,
}

impl Stream {
    fn is_open(&self) -> bool {
        let ended = self.ended && self.message == Message::Ended;
        !self.reset && self.message != Message::Reset && !ended
    }
}

/// The settings of this peer that bind the proxy.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    window: u32,
    streams: Option<u32>,
    /// True if they were sent after a GOAWAY.
    after_go_away: bool,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Conduct {
    side: Side,
    streams: BTreeMap<u32, Stream>,
    /// The highest stream that the proxy opened.
    highest: u32,
    /// The settings that the proxy has acknowledged.
    bounds: Bounds,
    /// Those that it has not, in order.
    unacknowledged: VecDeque<Bounds>,
    /// PINGs without an answer, and whether they were sent after a GOAWAY.
    pings: Vec<([u8; 8], bool)>,
    /// True once this peer has sent SETTINGS.
    greeted: bool,
    /// True once this peer has sent GOAWAY, and once the proxy knows it.
    go_away_sent: bool,
    go_away_known: bool,
    /// The last id in the proxy's own GOAWAY.
    last_id: Option<u32>,
    /// True once the proxy's first SETTINGS were read.
    settings_read: bool,
    /// Bytes that were granted for the connection, and those that were taken.
    granted: u64,
    taken: u64,
    /// Bytes that this peer may send on the connection.
    window: i64,
    /// The proxy's settings that bind this peer.
    initial_window: u32,
    max_streams: Option<u32>,
}

impl Conduct {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            streams: BTreeMap::new(),
            highest: 0,
            bounds: Bounds { window: WINDOW, streams: None, after_go_away: false },
            unacknowledged: VecDeque::new(),
            pings: Vec::new(),
            greeted: false,
            go_away_sent: false,
            go_away_known: false,
            last_id: None,
            settings_read: false,
            granted: u64::from(WINDOW),
            taken: 0,
            window: i64::from(WINDOW),
            initial_window: WINDOW,
            max_streams: None,
        }
    }

    /// This peer sends SETTINGS.
    pub(crate) fn sent_settings(&mut self, settings: &[(u16, u32)]) {
        let mut bounds = *self.unacknowledged.back().unwrap_or(&self.bounds);
        // The first ones are the first frame, also if a GOAWAY waited for them (RFC 9113, 3.4).
        bounds.after_go_away = self.go_away_sent && self.greeted;
        self.greeted = true;
        for (identifier, value) in settings {
            match *identifier {
                setting::INITIAL_WINDOW_SIZE => bounds.window = *value,
                setting::MAX_CONCURRENT_STREAMS => bounds.streams = Some(*value),
                _ => {}
            }
        }
        self.unacknowledged.push_back(bounds);
    }

    /// This peer sends PING.
    pub(crate) fn sent_ping(&mut self, content: [u8; 8]) {
        self.pings.push((content, self.go_away_sent));
    }

    /// This peer, a backend, sends GOAWAY.
    pub(crate) fn sent_go_away(&mut self) {
        self.go_away_sent = true;
    }

    /// This peer sends WINDOW_UPDATE.
    pub(crate) fn grant(&mut self, stream: u32, by: u32) {
        if stream == 0 {
            self.granted += u64::from(by);
        } else if let Some(stream) = self.streams.get_mut(&stream) {
            stream.granted += u64::from(by);
        }
    }

    /// This peer, a client, sends the head of a request.
    pub(crate) fn open(&mut self, stream: u32, method: &str) {
        let opened = self.new_stream(Message::Awaited);
        self.streams.insert(stream, Stream { without_body: method == "HEAD", ..opened });
    }

    /// This peer sends DATA.
    pub(crate) fn sent_data(&mut self, stream: u32, length: usize) {
        self.window -= length as i64;
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.window -= length as i64;
        }
    }

    /// This peer sends END_STREAM.
    pub(crate) fn end(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.ended = true;
        }
    }

    /// This peer sends RST_STREAM.
    pub(crate) fn reset(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.reset = true;
        }
    }

    /// Bytes of DATA that this peer may send on a stream.
    pub(crate) fn room(&self, stream: u32) -> usize {
        let own = self.streams.get(&stream).map_or(0, |stream| stream.window);
        own.min(self.window).max(0) as usize
    }

    /// Bytes of DATA that the proxy may send on a stream, by its own window.
    #[cfg(test)]
    pub(crate) fn window_of(&self, stream: u32) -> u64 {
        let window = u64::from(self.widest());
        self.streams
            .get(&stream)
            .map_or(window, |stream| (window + stream.granted).saturating_sub(stream.taken))
    }

    /// Bytes of DATA that the proxy may send on the connection.
    #[cfg(test)]
    pub(crate) fn connection_window(&self) -> u64 {
        self.granted.saturating_sub(self.taken)
    }

    /// The number of streams that are open.
    pub(crate) fn open_streams(&self) -> u32 {
        self.streams.values().filter(|stream| stream.is_open()).count() as u32
    }

    /// True until the stream is closed.
    pub(crate) fn is_open(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(Stream::is_open)
    }

    /// True once this peer has sent END_STREAM.
    pub(crate) fn has_sent_end(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|stream| stream.ended)
    }

    /// The limit of streams that the proxy set.
    pub(crate) fn max_streams(&self) -> Option<u32> {
        self.max_streams
    }

    /// The last id in the proxy's GOAWAY.
    pub(crate) fn last_id(&self) -> Option<u32> {
        self.last_id
    }

    /// Judges a frame of the proxy, and remembers it.
    pub(crate) fn read(&mut self, frame: &Frame) -> Result<(), Fault> {
        if !self.settings_read && !matches!(frame, Frame::Settings(_)) {
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        match frame {
            Frame::Data { stream, data, counted, end } => {
                self.read_data(*stream, data.len(), *counted, *end)
            }
            Frame::Headers { stream, fields, end } => match self.side {
                Side::Client => self.read_request(*stream, fields, *end),
                Side::Server => self.read_response(*stream, fields, *end),
            },
            Frame::Reset { stream, .. } => {
                self.known(*stream, "RST_STREAM")?.message = Message::Reset;
                Ok(())
            }
            Frame::Settings(settings) => self.read_settings(settings),
            Frame::SettingsAck => {
                let unacknowledged = self.unacknowledged.pop_front();
                self.bounds = unacknowledged
                    .ok_or_else(|| Fault::protocol("an acknowledgement of no SETTINGS"))?;
                self.go_away_known |= self.bounds.after_go_away;
                Ok(())
            }
            Frame::PushPromise { stream } => {
                Err(Fault::protocol(format!("PUSH_PROMISE on stream {stream}")))
            }
            Frame::Pong(content) => {
                let place = self.pings.iter().position(|(own, _)| own == content);
                let place =
                    place.ok_or_else(|| Fault::protocol("an acknowledgement of no PING"))?;
                self.go_away_known |= self.pings.remove(place).1;
                Ok(())
            }
            Frame::GoAway { last, .. } => {
                let before = self.last_id.replace(*last);
                if before.is_some_and(|before| *last > before) {
                    return Err(Fault::protocol("the last id of a second GOAWAY is higher"));
                }
                Ok(())
            }
            Frame::WindowUpdate { stream, by } => self.read_window_update(*stream, *by),
            Frame::Ping(_) | Frame::Priority { .. } | Frame::Unknown { .. } => Ok(()),
        }
    }

    /// The stream, which must not be idle.
    fn known(&mut self, id: u32, what: &str) -> Result<&mut Stream, Fault> {
        let known = self.streams.get_mut(&id);
        known.ok_or_else(|| Fault::protocol(format!("{what} on stream {id}, which is idle")))
    }

    /// The greatest initial window that the proxy may believe in.
    fn widest(&self) -> u32 {
        let windows = self.unacknowledged.iter().map(|bounds| bounds.window);
        windows.fold(self.bounds.window, u32::max)
    }

    /// The greatest limit of streams that the proxy may believe in.
    fn limit(&self) -> Option<u32> {
        let limits = self.unacknowledged.iter().map(|bounds| bounds.streams);
        limits.fold(self.bounds.streams, |one, other| Some(one?.max(other?)))
    }

    fn new_stream(&self, message: Message) -> Stream {
        Stream {
            message,
            granted: 0,
            taken: 0,
            body: 0,
            stated: None,
            without_body: false,
            window: i64::from(self.initial_window),
            ended: false,
            reset: false,
        }
    }

    fn read_request(&mut self, id: u32, fields: &Fields, end: bool) -> Result<(), Fault> {
        if self.streams.contains_key(&id) {
            return self.read_trailers(id, fields, end);
        }
        if id.is_multiple_of(2) {
            return Err(Fault::protocol(format!("a client opens stream {id}")));
        }
        if id < self.highest {
            let highest = self.highest;
            return Err(Fault::protocol(format!("stream {id} is opened after stream {highest}")));
        }
        if self.go_away_known {
            return Err(Fault::protocol(format!("stream {id} is opened after a GOAWAY")));
        }
        let open = self.open_streams() + 1;
        if let Some(limit) = self.limit().filter(|limit| open > *limit) {
            let what = format!("stream {id} makes {open} open ones, and {limit} are allowed");
            return Err(Fault::protocol(what));
        }
        fields.check(Section::Request).map_err(|fault| on(id, fault))?;
        self.highest = id;
        let stated = fields.content_length()?;
        let opened = self.new_stream(Message::Body);
        self.streams.insert(id, Stream { stated, ..opened });
        if end { self.read_end(id) } else { Ok(()) }
    }

    fn read_response(&mut self, id: u32, fields: &Fields, end: bool) -> Result<(), Fault> {
        if self.last_id.is_some_and(|last| id > last) {
            let what = format!("an answer on stream {id}, above the last id of its GOAWAY");
            return Err(Fault::protocol(what));
        }
        let stream = self.known(id, "HEADERS")?;
        if stream.message != Message::Awaited {
            return self.read_trailers(id, fields, end);
        }
        fields.check(Section::Response).map_err(|fault| on(id, fault))?;
        let status = fields.status().unwrap_or_default();
        if status < 200 {
            let switches = status == 101;
            let what = if end { "ends with a 1xx head" } else { "101 Switching Protocols" };
            let fault = || Fault::protocol(format!("stream {id}: {what}"));
            return if end || switches { Err(fault()) } else { Ok(()) };
        }
        stream.message = Message::Body;
        let without_body = stream.without_body || status == 304;
        stream.stated = fields.content_length()?.filter(|_| !without_body);
        if without_body || status == 204 {
            stream.stated = Some(0);
        }
        if end { self.read_end(id) } else { Ok(()) }
    }

    fn read_trailers(&mut self, id: u32, fields: &Fields, end: bool) -> Result<(), Fault> {
        self.continues(id, "HEADERS")?;
        fields.check(Section::Trailers).map_err(|fault| on(id, fault))?;
        if !end {
            return Err(Fault::protocol(format!("stream {id}: trailers that do not end it")));
        }
        self.read_end(id)
    }

    /// Checks that the body of a message may continue or end.
    fn continues(&mut self, id: u32, what: &str) -> Result<(), Fault> {
        let state = match self.known(id, what)?.message {
            Message::Body => return Ok(()),
            Message::Awaited => "before the head",
            Message::Ended => "after the end",
            Message::Reset => "after RST_STREAM",
        };
        Err(Fault::new(error::STREAM_CLOSED, format!("{what} on stream {id}, {state}")))
    }

    fn read_data(&mut self, id: u32, length: usize, counted: u32, end: bool) -> Result<(), Fault> {
        self.continues(id, "DATA")?;
        self.taken += u64::from(counted);
        let (connection, widest) = (self.granted, u64::from(self.widest()));
        if counted > 0 && self.taken > connection {
            let over = self.taken - connection;
            let what = format!("DATA on stream {id}: {over} bytes beyond the connection's window");
            return Err(Fault::new(error::FLOW_CONTROL_ERROR, what));
        }
        let stream = self.known(id, "DATA")?;
        stream.taken += u64::from(counted);
        stream.body += length as u64;
        let window = widest + stream.granted;
        if counted > 0 && stream.taken > window {
            let what =
                format!("DATA on stream {id}: {} bytes beyond its window", stream.taken - window);
            return Err(Fault::new(error::FLOW_CONTROL_ERROR, what));
        }
        if let Some(stated) = stream.stated.filter(|stated| stream.body > *stated) {
            let what = format!("stream {id}: more than the stated {stated} bytes");
            return Err(Fault::protocol(what));
        }
        if end { self.read_end(id) } else { Ok(()) }
    }

    fn read_end(&mut self, id: u32) -> Result<(), Fault> {
        let stream = self.known(id, "END_STREAM")?;
        stream.message = Message::Ended;
        let body = stream.body;
        match stream.stated.filter(|stated| *stated != body && !stream.without_body) {
            Some(stated) => {
                let what = format!("stream {id}: {body} bytes instead of the stated {stated}");
                Err(Fault::protocol(what))
            }
            None => Ok(()),
        }
    }

    fn read_settings(&mut self, settings: &[(u16, u32)]) -> Result<(), Fault> {
        self.settings_read = true;
        for (identifier, value) in settings {
            let fault = |code| Err(Fault::new(code, format!("setting {identifier} of {value}")));
            match *identifier {
                setting::ENABLE_PUSH if *value > 1 => return fault(error::PROTOCOL_ERROR),
                setting::ENABLE_PUSH if self.side == Side::Server && *value != 0 => {
                    return fault(error::PROTOCOL_ERROR);
                }
                setting::INITIAL_WINDOW_SIZE if *value > GREATEST => {
                    return fault(error::FLOW_CONTROL_ERROR);
                }
                setting::INITIAL_WINDOW_SIZE => {
                    let wider = i64::from(*value) - i64::from(self.initial_window);
                    self.initial_window = *value;
                    for stream in self.streams.values_mut() {
                        stream.window += wider;
                        if stream.window > i64::from(GREATEST) && !stream.reset {
                            return fault(error::FLOW_CONTROL_ERROR);
                        }
                    }
                }
                setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(value) => {
                    return fault(error::PROTOCOL_ERROR);
                }
                setting::MAX_CONCURRENT_STREAMS => self.max_streams = Some(*value),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_window_update(&mut self, id: u32, by: u32) -> Result<(), Fault> {
        if by == 0 {
            return Err(Fault::protocol(format!("WINDOW_UPDATE of 0 on stream {id}")));
        }
        let window =
            if id == 0 { &mut self.window } else { &mut self.known(id, "WINDOW_UPDATE")?.window };
        *window += i64::from(by);
        if *window > i64::from(GREATEST) {
            let what = format!("WINDOW_UPDATE on stream {id}: a window of {window}");
            return Err(Fault::new(error::FLOW_CONTROL_ERROR, what));
        }
        Ok(())
    }
}

fn on(stream: u32, fault: Fault) -> Fault {
    Fault { what: format!("stream {stream}: {}", fault.what), ..fault }
}
