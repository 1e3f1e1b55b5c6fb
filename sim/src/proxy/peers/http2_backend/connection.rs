//! A connection of an HTTP/2 backend that writes its own frames: the task that reads it and obeys
//! orders.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::answer::answer;
use super::session::{Session, Stream, Unread};
use crate::ping_rule;
use crate::plan::{Act, Code, LastId, Moment};
use crate::proxy::exact::sleep;
use crate::proxy::exact::spawn;
use crate::proxy::hub::{Order, Target};
use crate::proxy::ledger::request_of;
use crate::proxy::peers::exchange::Exchange;
use crate::proxy::peers::fate::{self, Started};
use crate::proxy::peers::frames::{Fault, Fields, Frame, FrameReader, ReadError};
use crate::proxy::peers::service::{Command, Incoming, LINGER, NEVER, Service};

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// It is gone.
    Gone,
    /// The backend breaks it.
    Breaks,
    /// The backend closes it once everything is written.
    Closes,
}

struct Connection<Io> {
    session: Rc<Session>,
    reader: FrameReader<ReadHalf<Io>>,
    orders: UnboundedReceiver<Order>,
    commands: UnboundedReceiver<Command>,
    /// Orders about streams that were not read yet, by their number.
    early: BTreeMap<u32, Vec<Act>>,
    /// The ids of streams by their number.
    ids: BTreeMap<u32, u32>,
    /// The highest id that was opened, and the streams that the backend did not ignore.
    opened: u32,
    read: u32,
    /// Nothing is read until then, in nanoseconds since the start.
    reads_from: u64,
    /// The first SETTINGS are sent then.
    settings_at: Option<u64>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<Io>(
    service: Rc<Service>,
    incoming: Incoming<Io>,
    mut commands: UnboundedReceiver<Command>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Incoming { io, number, mut orders, reset } = incoming;
    let (io, read, early) = match fate::start(&service, io, &mut orders, &mut commands).await {
        Started::Up { io, read, early } => (io, read, early),
        Started::Breaks => return reset.into_iter().for_each(|reset| reset()),
        Started::Gone => return,
        Started::Fault(fault) => return service.fault(number, &fault),
    };
    let (read_half, write_half) = split(io);
    let session = Rc::new(Session::new(&service, number));
    let connection = Connection {
        session: Rc::clone(&session),
        reader: FrameReader::with_read(read_half, read),
        orders,
        commands,
        early: BTreeMap::new(),
        ids: BTreeMap::new(),
        opened: 0,
        read: 0,
        reads_from: 0,
        settings_at: None,
    };
    let over = connection.run(early, write_half).await;
    for (_, stream) in std::mem::take(&mut *session.streams.borrow_mut()) {
        stream.answer.into_iter().for_each(|answer| answer.abort());
    }
    if over == Over::Breaks {
        reset.into_iter().for_each(|reset| reset());
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + 'static> Connection<Io> {
    async fn run(mut self, early: Vec<Order>, write_half: WriteHalf<Io>) -> Over {
        let session = Rc::clone(&self.session);
        match session.service.plan.settings_late_us {
            Some(late) => self.settings_at = Some(session.service.hub.now() + late * 1_000),
            None => session.send_settings(),
        }
        let (draws, key) = (session.service.hub.draws, session.key());
        let mut writes = pin!(Rc::clone(&session.output).write_all(write_half, draws, key));
        if self.reader.preface().await.is_err() {
            return Over::Gone;
        }
        let broken = early.into_iter().find_map(|order| self.obey(order));
        if let Some(over) = broken {
            return over;
        }
        let over = loop {
            if session.is_drained() && session.output.is_open() {
                break Over::Closes;
            }
            tokio::select! {
                biased;
                _ = &mut writes => break Over::Gone,
                step = self.step() => if let Some(over) = step {
                    break over;
                },
            }
        };
        if over != Over::Closes {
            return over;
        }
        session.output.close();
        let written = timeout(LINGER, writes).await;
        let Ok(Ok(())) = written else { return Over::Breaks };
        match timeout(LINGER, self.reader.discard()).await {
            Ok(()) => Over::Gone,
            Err(_) => Over::Breaks,
        }
    }

    /// Waits for one thing, and handles it. Returns why the connection ends, if it does.
    async fn step(&mut self) -> Option<Over> {
        let session = Rc::clone(&self.session);
        let now = session.service.hub.now();
        let due = self.due(now);
        let wait = due.map_or(Duration::ZERO, |due| Duration::from_nanos(due.saturating_sub(now)));
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => self.obey(order),
            Some(command) = self.commands.recv() => self.command(command),
            () = session.settled.notified() => None,
            () = sleep(wait), if due.is_some() => {
                self.wake(session.service.hub.now());
                None
            }
            frame = self.reader.next(), if now >= self.reads_from => match frame {
                Ok(Some(frame)) => match session.judge(&frame) {
                    Ok(()) => self.read(frame),
                    Err(fault) => Some(self.fault(&fault)),
                },
                Err(ReadError::Fault(fault)) => Some(self.fault(&fault)),
                Ok(None) | Err(ReadError::Broken | ReadError::EndedInside) => Some(Over::Gone),
            },
        }
    }

    /// When something becomes due.
    fn due(&self, now: u64) -> Option<u64> {
        let streams = self.session.streams.borrow();
        let starved = streams.values().filter(|stream| !stream.unread.is_empty());
        let starved = starved.map(|stream| stream.starved_until);
        let reads = Some(self.reads_from).filter(|from| *from > now);
        starved.chain(reads).chain(self.settings_at).filter(|due| *due != NEVER).min()
    }

    /// Does what is due.
    fn wake(&mut self, now: u64) {
        if self.settings_at.is_some_and(|at| at <= now) {
            self.settings_at = None;
            self.session.allow_as_planned();
        }
        let fed: Vec<u32> = {
            let streams = self.session.streams.borrow();
            let fed = streams
                .iter()
                .filter(|(_, stream)| !stream.unread.is_empty() && stream.starved_until <= now);
            fed.map(|(id, _)| *id).collect()
        };
        for id in fed {
            let unread = {
                let mut streams = self.session.streams.borrow_mut();
                streams.get_mut(&id).map(|stream| std::mem::take(&mut stream.unread))
            };
            unread.into_iter().flatten().for_each(|part| self.feed(id, part));
        }
    }

    /// The proxy did what RFC 9113 forbids.
    fn fault(&self, fault: &Fault) -> Over {
        self.session.service.fault(self.session.connection, fault);
        self.session.send_go_away(self.session.highest_read.get(), fault.code);
        if !self.session.output.is_open() {
            self.session.send_settings();
        }
        Over::Closes
    }

    fn read(&mut self, frame: Frame) -> Option<Over> {
        let session = Rc::clone(&self.session);
        match frame {
            Frame::Settings(settings) => session.obey(&settings),
            Frame::WindowUpdate { .. } => session.changed.notify_waiters(),
            Frame::Ping(content) => self.read_ping(content),
            Frame::Reset { stream, .. } => session.finish(stream),
            Frame::Headers { stream, fields, end } if stream > self.opened => {
                self.opened = stream;
                return self.read_head(stream, &fields, end);
            }
            Frame::Headers { stream, fields, .. } => {
                self.receive(stream, Unread::End(Some(fields)));
            }
            Frame::Data { stream, data, counted, end } => {
                self.receive(stream, Unread::Data { data, counted });
                if end {
                    self.receive(stream, Unread::End(None));
                }
            }
            Frame::SettingsAck
            | Frame::Pong(_)
            | Frame::GoAway { .. }
            | Frame::Priority { .. }
            | Frame::PushPromise { .. }
            | Frame::Unknown { .. } => {}
        }
        None
    }

    fn read_ping(&self, content: [u8; 8]) {
        let session = &self.session;
        let strikes = session.ping_rule.borrow_mut().ping(session.service.hub.now());
        if let Some(violation) = ping_rule::violation(strikes) {
            session.service.fault(session.connection, &Fault::new(0xb, violation));
        }
        if session.service.plan.ping_strikes.is_some_and(|most| strikes >= most) {
            session.ping_rule.take();
            session.go_away(LastId::Read, Code::EnhanceYourCalm);
            return;
        }
        session.send_pong(content);
    }

    /// A request begins.
    fn read_head(&mut self, id: u32, fields: &Fields, end: bool) -> Option<Over> {
        let session = Rc::clone(&self.session);
        let service = &session.service;
        let path = fields.get(":path").unwrap_or_default();
        let head = (fields.get(":method").unwrap_or_default(), path);
        let number = if request_of(path).is_some() {
            let number = self.ids.len() as u32 + 1;
            self.ids.insert(number, id);
            number
        } else {
            0
        };
        // RFC 9113, 6.8: streams above the last id are ignored.
        if session.go_away_last.get().is_some_and(|last| id > last) {
            session.conduct.borrow_mut().reset(id);
            return None;
        }
        session.highest_read.set(id);
        self.read += 1;
        if session.conduct.borrow().open_streams() > session.allowed.get() {
            session.send_reset(id, Code::Refused.number());
            self.go_away_when_spent();
            return None;
        }
        let exchange = Rc::new(Exchange::new(service, session.connection, number, head));
        session.streams.borrow_mut().insert(id, Stream::new(Rc::clone(&exchange)));
        for act in self.early.remove(&number).unwrap_or_default() {
            // A stream that was not read cannot be reset.
            if !matches!(act, Act::Reset { .. }) {
                self.act_on_stream(id, act);
            }
        }
        exchange.reached(Moment::Written);
        exchange.reached(Moment::Read);
        // What a directive orders at this moment comes before the application.
        while let Ok(order) = self.orders.try_recv() {
            if let Some(over) = self.obey(order) {
                return Some(over);
            }
        }
        let done = session.streams.borrow()[&id].done;
        if !done {
            exchange.execute();
            if fields.get("expect").is_some() && !end && !exchange.answers_early() {
                let goes_on = Fields::new().with(":status", "100");
                session.send_head(id, &goes_on, false, false);
            }
            if end {
                self.receive(id, Unread::End(None));
            } else if exchange.answers_early() {
                self.start_answer(id);
            }
        }
        self.go_away_when_spent();
        None
    }

    fn go_away_when_spent(&self) {
        if self.session.service.plan.streams_per_connection == Some(self.read) {
            self.session.go_away(LastId::Read, Code::NoError);
        }
    }

    fn start_answer(&self, id: u32) {
        if let Some(stream) = self.session.streams.borrow_mut().get_mut(&id)
            && stream.answer.is_none()
            && !stream.done
        {
            let exchange = Rc::clone(&stream.exchange);
            let task = spawn(answer(Rc::clone(&self.session), id, exchange));
            stream.answer = Some(task.abort_handle());
        }
    }

    /// Part of a request arrives. The application reads it unless the upload is starved.
    fn receive(&self, id: u32, part: Unread) {
        let now = self.session.service.hub.now();
        if let Some(stream) = self.session.streams.borrow_mut().get_mut(&id)
            && !stream.done
            && (stream.starved_until > now || !stream.unread.is_empty())
        {
            stream.unread.push(part);
            return;
        }
        self.feed(id, part);
    }

    /// The application reads a part of a request.
    fn feed(&self, id: u32, part: Unread) {
        let open = {
            let streams = self.session.streams.borrow();
            streams.get(&id).filter(|stream| !stream.done).map(|stream| Rc::clone(&stream.exchange))
        };
        match (part, open) {
            (Unread::Data { data, counted }, Some(exchange)) => {
                exchange.read(&data);
                self.session.consume(id, counted);
            }
            (Unread::Data { counted, .. }, None) => self.session.consume_connection(counted),
            (Unread::End(trailers), Some(exchange)) => {
                exchange.read_end(trailers.as_ref());
                if self.session.has_answered(id) {
                    self.session.finish(id);
                } else {
                    self.start_answer(id);
                }
            }
            (Unread::End(_), None) => {}
        }
    }

    /// Carries out an order. Returns why the connection ends, if it does.
    fn obey(&mut self, order: Order) -> Option<Over> {
        let hub = &self.session.service.hub;
        match order.act {
            Act::Break => return Some(Over::Breaks),
            Act::Settings { max_streams } => {
                self.session.allowed.set(max_streams);
                self.session.send_settings();
            }
            Act::GoAway { last, code } => self.session.go_away(last, code),
            Act::StopReading { for_us } => {
                let until = for_us.map_or(NEVER, |time| hub.now().saturating_add(time * 1_000));
                self.reads_from = self.reads_from.max(until);
            }
            Act::Reset { .. }
            | Act::NeverFinish
            | Act::Status { .. }
            | Act::StarveUpload { .. } => {
                if let Some(number) = self.number_of(order.target) {
                    match self.ids.get(&number) {
                        Some(id) => self.act_on_stream(*id, order.act),
                        None => self.early.entry(number).or_default().push(order.act),
                    }
                }
            }
            Act::Cancel | Act::ClientStopsReading { .. } => {
                if let Some(request) = self.request_of(order.target) {
                    hub.pass_on(Target::Request(request), order);
                }
            }
            // These concern only the beginning of a connection.
            Act::BreakAtPreface | Act::FailDial { .. } | Act::StallDial { .. } => {}
            _ => hub.pass_on(Target::Process, order),
        }
        None
    }

    /// The number of the stream that an order is about: the last one, if it names a request.
    fn number_of(&self, target: Target) -> Option<u32> {
        let streams = self.session.streams.borrow();
        match target {
            Target::Stream(_, _, number) => Some(number),
            Target::Request(request) => {
                let exchanges = streams.values().rev().map(|stream| &stream.exchange);
                let mut same = exchanges.filter(|exchange| exchange.request() == Some(request));
                same.next().map(|exchange| exchange.number())
            }
            Target::Backend(..) | Target::Client(..) | Target::Process => None,
        }
    }

    fn request_of(&self, target: Target) -> Option<u32> {
        let number = self.number_of(target)?;
        let streams = self.session.streams.borrow();
        streams.get(self.ids.get(&number)?)?.exchange.request()
    }

    fn act_on_stream(&self, id: u32, act: Act) {
        if let Act::Reset { code } = act {
            self.session.reset(id, code.number());
            return;
        }
        let mut streams = self.session.streams.borrow_mut();
        let Some(stream) = streams.get_mut(&id) else { return };
        match act {
            Act::NeverFinish => stream.never_finishes = true,
            Act::Status { status } => stream.exchange.set_status(status),
            Act::StarveUpload { for_us } => {
                let now = self.session.service.hub.now();
                let until = for_us.map_or(NEVER, |time| now.saturating_add(time * 1_000));
                stream.starved_until = stream.starved_until.max(until);
            }
            _ => {}
        }
    }

    fn command(&mut self, command: Command) -> Option<Over> {
        match command {
            Command::GoAway(code) => self.session.go_away(LastId::Read, code),
            Command::Break => return Some(Over::Breaks),
            Command::ResetAll(code) => {
                let open: Vec<u32> = self.session.streams.borrow().keys().copied().collect();
                open.into_iter().for_each(|id| self.session.reset(id, code.number()));
            }
            Command::Heal { well } => {
                for stream in self.session.streams.borrow_mut().values_mut() {
                    stream.never_finishes = false;
                    stream.starved_until = 0;
                }
                self.session.changed.notify_waiters();
                self.wake(self.session.service.hub.now());
                if well {
                    self.reads_from = 0;
                    self.settings_at = None;
                    self.session.allow_as_planned();
                }
            }
        }
        None
    }
}
