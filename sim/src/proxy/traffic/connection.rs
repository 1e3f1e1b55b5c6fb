//! A connection as it is on the wire.

use std::collections::VecDeque;

use super::exchange::{Exchange, Way};
use super::reader::{Part, Reader, Sender};
use crate::coverage::{Phase, Phases};
use crate::plan::Direction;
use crate::proxy::ledger::request_of;
use crate::proxy::network::Key;
use crate::proxy::peers::frames::Frame;

/// A part and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// When it was written.
    pub(crate) at: u64,
    /// The number of bytes of its direction up to its end.
    pub(crate) end: u64,
    pub(crate) part: Part,
    /// The request that it is of, if it is of one and that is named.
    pub(crate) request: Option<u32>,
}

/// One direction.
struct Lane {
    reader: Reader,
    arrived: u64,
    has_ended: bool,
    /// The parts that have not arrived.
    flying: VecDeque<Placed>,
}

/// A connection.
pub(super) struct Connection {
    /// The direction of requests.
    requests: Direction,
    lanes: [Lane; 2],
    exchanges: Vec<Exchange>,
    /// Methods of requests over HTTP/1.1 that are not answered.
    methods: VecDeque<String>,
    /// The exchange that the next answer over HTTP/1.1 is of.
    answers: usize,
    pub(super) is_up: bool,
    pub(super) is_closed: bool,
}

impl Connection {
    pub(super) fn new(key: Key) -> Self {
        let requests = match key {
            Key::Backend(..) => Direction::Out,
            Key::Client(..) | Key::Other(_) => Direction::In,
        };
        let lane = |direction| Lane {
            reader: Reader::new(if direction == requests {
                Sender::Client
            } else {
                Sender::Server
            }),
            arrived: 0,
            has_ended: false,
            flying: VecDeque::new(),
        };
        Self {
            requests,
            lanes: [lane(Direction::In), lane(Direction::Out)],
            exchanges: Vec::new(),
            methods: VecDeque::new(),
            answers: 0,
            is_up: false,
            is_closed: false,
        }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction as usize]
    }

    /// True if it is a connection of HTTP/2; `None` if that is not known.
    pub(super) fn is_http2(&self) -> Option<bool> {
        let [one, other] = &self.lanes;
        one.reader.is_http2().or_else(|| other.reader.is_http2())
    }

    /// Bytes are written. Shows each part that is whole now.
    pub(super) fn write(
        &mut self,
        direction: Direction,
        at: u64,
        bytes: &[u8],
        mut show: impl FnMut(&Placed),
    ) {
        self.lanes[direction as usize].reader.put(bytes);
        while let Some((end, part)) = self.lanes[direction as usize].reader.take(&mut self.methods)
        {
            self.place(direction, Placed { at, end, part, request: None }, &mut show);
        }
    }

    fn place(&mut self, direction: Direction, mut placed: Placed, show: &mut impl FnMut(&Placed)) {
        let Placed { end, part, .. } = &placed;
        let exchange = if direction == self.requests {
            self.requested(*end, part)
        } else {
            self.answered(*end, part)
        };
        placed.request = exchange.and_then(|place| self.exchanges[place].request);
        show(&placed);
        self.lane(direction).flying.push_back(placed);
    }

    /// The end of a direction is written.
    pub(super) fn end(&mut self, direction: Direction, at: u64, mut show: impl FnMut(&Placed)) {
        if let Some((end, part)) = self.lane(direction).reader.end() {
            self.place(direction, Placed { at, end, part, request: None }, &mut show);
        }
    }

    /// Bytes have arrived. Shows each part that is whole at its receiver now.
    pub(super) fn arrive(
        &mut self,
        direction: Direction,
        bytes: u64,
        mut show: impl FnMut(&Placed),
    ) {
        let lane = self.lane(direction);
        lane.arrived += bytes;
        let arrived = lane.arrived;
        let whole = lane.flying.iter().take_while(|placed| placed.end <= arrived).count();
        lane.flying.drain(..whole).for_each(|placed| show(&placed));
    }

    /// The end of a direction has arrived.
    pub(super) fn ended(&mut self, direction: Direction) {
        self.lane(direction).has_ended = true;
        self.is_closed |= self.lanes.iter().all(|lane| lane.has_ended);
    }

    /// The parts of a direction that have not arrived.
    pub(super) fn flying(&self, direction: Direction) -> impl Iterator<Item = &Placed> {
        self.lanes[direction as usize].flying.iter()
    }

    fn on_stream(&self, stream: u32) -> Option<usize> {
        self.exchanges.iter().rposition(|exchange| exchange.stream == stream)
    }

    /// A part in the direction of requests. Returns the exchange that it is of.
    fn requested(&mut self, end: u64, part: &Part) -> Option<usize> {
        let last = self.exchanges.len().wrapping_sub(1);
        match part {
            Part::Request { target, ends, .. } => {
                let stream = self.exchanges.len() as u32 + 1;
                Some(self.begin(stream, target, end, *ends))
            }
            Part::Content { .. } => {
                self.exchanges[last].up.content(end, false);
                Some(last)
            }
            Part::End { trailers } => {
                self.exchanges[last].up.ends(end, *trailers);
                Some(last)
            }
            Part::Frame(Frame::Headers { stream, fields, end: ends }) => {
                if let Some(place) = self.on_stream(*stream) {
                    self.exchanges[place].up.ends(end, true);
                    return Some(place);
                }
                let target = fields.get(":path").unwrap_or_default();
                Some(self.begin(*stream, target, end, *ends))
            }
            Part::Frame(frame) => self.frame(end, frame, |exchange| &mut exchange.up),
            _ => None,
        }
    }

    fn begin(&mut self, stream: u32, target: &str, end: u64, ends: bool) -> usize {
        let (mut up, down) = (Way::default(), Way::default());
        up.head(end, ends);
        let request = request_of(target);
        self.exchanges.push(Exchange { request, stream, up, down, is_over: false });
        self.exchanges.len() - 1
    }

    /// A part in the direction of answers. Returns the exchange that it is of.
    fn answered(&mut self, end: u64, part: &Part) -> Option<usize> {
        let place = self.answers;
        let current = self.exchanges.get_mut(place);
        match part {
            Part::Response { status, ends } => {
                let exchange = current?;
                if *status >= 200 {
                    exchange.down.head(end, *ends);
                    self.answers += usize::from(*ends);
                }
                Some(place)
            }
            Part::Content { .. } => {
                current?.down.content(end, false);
                Some(place)
            }
            Part::End { trailers } => {
                current?.down.ends(end, *trailers);
                self.answers += 1;
                Some(place)
            }
            Part::Frame(Frame::Headers { stream, fields, end: ends }) => {
                let place = self.on_stream(*stream)?;
                let down = &mut self.exchanges[place].down;
                match fields.status() {
                    Some(100..200) => {}
                    Some(_) => down.head(end, *ends),
                    None => down.ends(end, true),
                }
                Some(place)
            }
            Part::Frame(Frame::GoAway { last, .. }) => {
                for exchange in &mut self.exchanges {
                    exchange.is_over |= exchange.stream > *last;
                }
                None
            }
            Part::Frame(frame) => self.frame(end, frame, |exchange| &mut exchange.down),
            _ => None,
        }
    }

    /// A frame of either direction. Returns the exchange that it is of.
    fn frame(
        &mut self,
        end: u64,
        frame: &Frame,
        way: impl Fn(&mut Exchange) -> &mut Way,
    ) -> Option<usize> {
        match frame {
            Frame::Data { stream, end: ends, .. } => {
                let place = self.on_stream(*stream)?;
                way(&mut self.exchanges[place]).content(end, *ends);
                Some(place)
            }
            Frame::Reset { stream, .. } => {
                let place = self.on_stream(*stream)?;
                self.exchanges[place].is_over = true;
                Some(place)
            }
            Frame::WindowUpdate { stream, .. } => self.on_stream(*stream),
            _ => None,
        }
    }

    /// The phases that its requests are in; idle if none is in any.
    pub(super) fn phases(&self) -> Phases {
        let mut phases = Phases::NONE;
        if self.is_closed {
            return phases;
        }
        if !self.is_up {
            phases.add(Phase::Connecting);
            return phases;
        }
        for place in 0..self.exchanges.len() {
            phases.add_all(self.phases_of(place));
        }
        if self.lanes[self.requests as usize].reader.is_inside_head() {
            phases.add(Phase::Head);
        }
        if phases == Phases::NONE {
            phases.add(Phase::Idle);
        }
        phases
    }

    /// The phases that one of its requests, by its place from 0, is in: none once that is over.
    pub(super) fn phases_of(&self, place: usize) -> Phases {
        let Some(exchange) = self.exchanges.get(place).filter(|_| !self.is_closed) else {
            return Phases::NONE;
        };
        let [arrived_in, arrived_out] = self.lanes.each_ref().map(|lane| lane.arrived);
        match self.requests {
            Direction::In => exchange.phases(arrived_in, arrived_out),
            Direction::Out => exchange.phases(arrived_out, arrived_in),
        }
    }

    /// The place of a request's last exchange.
    pub(super) fn place_of(&self, request: u32) -> Option<usize> {
        self.exchanges.iter().rposition(|exchange| exchange.request == Some(request))
    }
}
