//! A connection of an HTTP/2 backend that the `h2` library serves. It obeys RFC 9113, so of the
//! acts it does only what the library lets a server do: each GOAWAY has the truth as its last id,
//! and the limit of streams stays as it was.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::AbortHandle;

use self::application::Stream;
use self::wire::{Awaited, Facts, Wire};
use super::exchange::Exchange;
use super::fate::{self, Started};
use super::frames::{Fault, WINDOW, error};
use super::service::{Command, Incoming, NEVER, Service};
use crate::ping_rule;
use crate::plan::{Act, Code, Moment};
use crate::proxy::exact::sleep;
use crate::proxy::exact::spawn;
use crate::proxy::hub::{Order, Target};
use crate::proxy::ledger::request_of;

mod application;
#[cfg(test)]
mod tests;
mod wire;

/// The library forgets a stream that was reset after so many others, and never by its own clock.
const RESET_STREAMS_MAX: usize = 1 << 20;
/// The codes by which the library states that its peer violates the RFC.
const VIOLATIONS: [u32; 5] = [
    error::PROTOCOL_ERROR,
    error::FLOW_CONTROL_ERROR,
    error::STREAM_CLOSED,
    error::FRAME_SIZE_ERROR,
    error::COMPRESSION_ERROR,
];

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// It is gone.
    Gone,
    /// The backend breaks it.
    Breaks,
}

/// The backend's side of a connection.
struct Served {
    service: Rc<Service>,
    connection: u32,
    facts: Rc<Facts>,
    orders: UnboundedReceiver<Order>,
    commands: UnboundedReceiver<Command>,
    /// Orders about streams that were not read yet, by their number.
    early: BTreeMap<u32, Vec<Act>>,
    /// Streams by their number, and their tasks. Health checks have numbers above all others.
    streams: BTreeMap<u32, (Rc<Stream>, AbortHandle)>,
    /// Requests that were read, and those of them that are in the plan.
    read: u32,
    requests: u32,
    /// Nothing is read, or written, until then, in nanoseconds since the start.
    reads_from: u64,
    writes_from: u64,
    /// How the connection is to be closed.
    closes: Option<Code>,
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
    let facts = Rc::new(Facts::new(&service.hub));
    let late = service.plan.settings_late_us.unwrap_or(0);
    let mut served = Served {
        writes_from: service.hub.now() + late * 1_000,
        service,
        connection: number,
        facts: Rc::clone(&facts),
        orders,
        commands,
        early: BTreeMap::new(),
        streams: BTreeMap::new(),
        read: 0,
        requests: 0,
        reads_from: 0,
        closes: None,
    };
    let over = served.run(Wire::new(io, read, &facts), early).await;
    for (_, task) in std::mem::take(&mut served.streams).into_values() {
        task.abort();
    }
    if over == Over::Breaks {
        reset.into_iter().for_each(|reset| reset());
    }
}

impl Served {
    async fn run<Io>(&mut self, io: Wire<Io>, early: Vec<Order>) -> Over
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        if early.into_iter().any(|order| self.obey(order) == Some(Over::Breaks)) {
            return Over::Breaks;
        }
        self.hold();
        let window = self.service.window();
        let mut builder = Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(window.max(WINDOW))
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            // The library measures this on the system's clock.
            .reset_stream_duration(Duration::from_secs(u64::from(u32::MAX)));
        if let Some(streams) = self.service.plan.max_streams {
            builder.max_concurrent_streams(streams);
        }
        let mut handshake = std::pin::pin!(builder.handshake(io));
        let mut connection: Connection<Wire<Io>, Bytes> = loop {
            tokio::select! {
                biased;
                over = self.step() => if let Some(over) = over {
                    return over;
                },
                connection = &mut handshake => match connection {
                    Ok(connection) => break connection,
                    Err(_) => return Over::Gone,
                },
            }
        };
        loop {
            match self.closes.take() {
                None => {}
                Some(Code::NoError) => connection.graceful_shutdown(),
                Some(code) => {
                    self.facts.own_code.set(Some(code.number()));
                    connection.abrupt_shutdown(Reason::from(code.number()));
                }
            }
            tokio::select! {
                biased;
                over = self.step() => if let Some(over) = over {
                    return over;
                },
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        if let Some(over) = self.accept(request, respond) {
                            return over;
                        }
                    }
                    Some(Err(_)) | None => {
                        self.judge();
                        return Over::Gone;
                    }
                },
            }
        }
    }

    /// Waits for something other than a request, and handles it.
    async fn step(&mut self) -> Option<Over> {
        let facts = Rc::clone(&self.facts);
        let now = self.service.hub.now();
        let times = [self.reads_from, self.writes_from].into_iter();
        let due = times.filter(|due| *due > now && *due != NEVER).min();
        let wait = due.map_or(Duration::ZERO, |due| Duration::from_nanos(due - now));
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => self.obey(order),
            Some(command) = self.commands.recv() => self.command(command),
            () = facts.counted.notified() => {
                self.judge();
                self.strike();
                None
            }
            () = sleep(wait), if due.is_some() => {
                self.hold();
                None
            }
            else => std::future::pending().await,
        }
    }

    /// Holds back what is to be held back now.
    fn hold(&self) {
        let now = self.service.hub.now();
        self.facts.deaf.set(self.reads_from > now);
        self.facts.mute.set(self.writes_from > now);
        self.facts.wake();
    }

    /// Records the faults of the proxy that the library has found.
    fn judge(&self) {
        for (stream, code) in std::mem::take(&mut *self.facts.verdicts.borrow_mut()) {
            if VIOLATIONS.contains(&code) {
                let reason = Reason::from(code);
                let what = match stream {
                    0 => format!("h2 ends the connection: {reason}"),
                    stream => format!("h2 resets stream {stream}: {reason}"),
                };
                self.service.fault(self.connection, &Fault::new(code, what));
            }
        }
    }

    fn strike(&mut self) {
        let strikes = self.facts.strikes.take();
        if let Some(violation) = ping_rule::violation(strikes) {
            self.service.fault(self.connection, &Fault::new(0xb, violation));
        }
        if self.service.plan.ping_strikes.is_some_and(|most| strikes >= most) {
            self.closes = Some(Code::EnhanceYourCalm);
        }
    }

    /// A request begins.
    fn accept(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Option<Over> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        self.read += 1;
        let number = if request_of(path).is_some() {
            self.requests += 1;
            self.requests
        } else {
            0
        };
        let head_line = (head.method.as_str(), path);
        let exchange = Exchange::new(&self.service, self.connection, number, head_line);
        let awaited = Rc::new(Awaited::new(Rc::new(exchange)));
        let id = respond.stream_id().as_u32();
        self.facts.awaited.borrow_mut().insert(id, Rc::clone(&awaited));
        let stream = Rc::new(Stream::new(&self.service, &awaited));
        for act in self.early.remove(&number).unwrap_or_default() {
            // A stream that was not read cannot be reset.
            if !matches!(act, Act::Reset { .. }) {
                self.act_on_stream(&stream, act);
            }
        }
        let expects = head.headers.contains_key("expect");
        let task = application::serve(Rc::clone(&stream), body, respond, expects);
        let task = spawn(task).abort_handle();
        let key = if number == 0 { u32::MAX - self.read } else { number };
        self.streams.insert(key, (Rc::clone(&stream), task));
        awaited.exchange.reached(Moment::Written);
        awaited.exchange.reached(Moment::Read);
        // What a directive orders at this moment comes before the application.
        while let Ok(order) = self.orders.try_recv() {
            if let Some(over) = self.obey(order) {
                return Some(over);
            }
        }
        if stream.reset.get().is_none() {
            awaited.exchange.execute();
        }
        if self.service.plan.streams_per_connection == Some(self.read) {
            self.closes = Some(Code::NoError);
        }
        None
    }

    /// Carries out an order. Returns why the connection ends, if it does.
    fn obey(&mut self, order: Order) -> Option<Over> {
        let hub = Rc::clone(&self.service.hub);
        match order.act {
            Act::Break => return Some(Over::Breaks),
            Act::GoAway { code, .. } => self.closes = Some(code),
            Act::StopReading { for_us } => {
                let until = for_us.map_or(NEVER, |time| hub.now().saturating_add(time * 1_000));
                self.reads_from = self.reads_from.max(until);
                self.hold();
            }
            Act::Reset { .. }
            | Act::NeverFinish
            | Act::Status { .. }
            | Act::StarveUpload { .. } => {
                if let Some(number) = self.number_of(order.target) {
                    match self.streams.get(&number) {
                        Some((stream, _)) => self.act_on_stream(stream, order.act),
                        None => self.early.entry(number).or_default().push(order.act),
                    }
                }
            }
            Act::Cancel | Act::ClientStopsReading { .. } => {
                if let Some(number) = self.number_of(order.target)
                    && let Some((stream, _)) = self.streams.get(&number)
                    && let Some(request) = stream.awaited.exchange.request()
                {
                    hub.pass_on(Target::Request(request), order);
                }
            }
            // The library has no way to lower its limit, and a dial is over.
            Act::Settings { .. }
            | Act::BreakAtPreface
            | Act::FailDial { .. }
            | Act::StallDial { .. } => {}
            _ => hub.pass_on(Target::Process, order),
        }
        None
    }

    /// The number of the stream that an order is about: the last one, if it names a request.
    fn number_of(&self, target: Target) -> Option<u32> {
        match target {
            Target::Stream(_, _, number) => Some(number),
            Target::Request(request) => {
                let exchanges =
                    self.streams.values().rev().map(|(stream, _)| &stream.awaited.exchange);
                let mut same = exchanges.filter(|exchange| exchange.request() == Some(request));
                same.next().map(|exchange| exchange.number())
            }
            Target::Backend(..) | Target::Client(..) | Target::Process => None,
        }
    }

    fn act_on_stream(&self, stream: &Stream, act: Act) {
        match act {
            Act::Reset { code } if !stream.done.get() => stream.reset.set(Some(code)),
            Act::NeverFinish => stream.never_finishes.set(true),
            Act::Status { status } => stream.awaited.exchange.set_status(status),
            Act::StarveUpload { for_us } => {
                let now = self.service.hub.now();
                let until = for_us.map_or(NEVER, |time| now.saturating_add(time * 1_000));
                stream.starved_until.set(until.max(stream.starved_until.get()));
            }
            _ => {}
        }
        stream.changed.notify_waiters();
    }

    fn command(&mut self, command: Command) -> Option<Over> {
        match command {
            Command::GoAway(code) => self.closes = Some(code),
            Command::Break => return Some(Over::Breaks),
            Command::ResetAll(code) => {
                for (stream, _) in self.streams.values() {
                    self.act_on_stream(stream, Act::Reset { code });
                }
            }
            Command::Heal { well } => {
                for (stream, _) in self.streams.values() {
                    stream.never_finishes.set(false);
                    stream.starved_until.set(0);
                    stream.changed.notify_waiters();
                }
                if well {
                    self.reads_from = 0;
                    self.hold();
                }
            }
        }
        None
    }
}
