//! A client of the proxy that writes its own frames, for what the `h2` library never does: heads in
//! several frames, padding, priorities, tiny and changing windows, frames without payload, frames
//! that stay incomplete for a while, settings and GOAWAY while requests are open. It does nothing
//! that RFC 9113 forbids, and nothing often enough to be an attack: it is owed full service.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection::{Connection, HeadForm, State};
use self::habits::{Habits, Manner};
use super::arrivals::Arrivals;
use super::frames::{Fields, kind};
use super::sending::{
    AUTHORITY, CONNECTIONS, Patience, Upload, cancel_code, crumbs, has_large_windows, is_of,
    method, pause_before_trailers, scheme,
};
use crate::plan::{Act, Moment, RequestPlan, When};
use crate::proxy::hub::{Hub, Target};
use crate::proxy::ledger::{self, End};

mod connection;
mod habits;
#[cfg(test)]
mod tests;

/// Time for the proxy to end a connection whose client has ended it.
const CLOSING: Duration = Duration::from_secs(1);
/// A frame type that no RFC defines (RFC 9113, 5.5: it is ignored).
const UNKNOWN_FRAME: u8 = 0xbe;

/// Sends the requests of a client. `connect` opens a connection with the proxy, given its number
/// from 1. Ends once every request has ended and every connection is closed.
pub(crate) async fn run<C, F, S>(hub: Rc<Hub>, index: u8, connect: C)
where
    C: Fn(u32) -> F + 'static,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let client = Rc::new(Client {
        hub,
        index,
        connect,
        current: Mutex::new((0, None)),
        tasks: RefCell::new(JoinSet::new()),
    });
    let mut requests = JoinSet::new();
    for plan in &client.hub.plan.requests {
        if is_of(&client.hub.plan, plan, index) {
            let (client, plan) = (Rc::clone(&client), *plan);
            requests.spawn_local(async move { client.request(plan).await });
        }
    }
    while let Some(request) = requests.join_next().await {
        request.expect("no request panics");
    }
    if let (_, Some(connection)) = &*client.current.lock().await {
        connection.end();
    }
    let mut tasks = client.tasks.take();
    // A connection that the proxy does not end is dropped.
    let _ = timeout(CLOSING, async { while tasks.join_next().await.is_some() {} }).await;
}

struct Client<C> {
    hub: Rc<Hub>,
    index: u8,
    connect: C,
    /// The number of connections so far, and the present one.
    current: Mutex<(u32, Option<Rc<Connection>>)>,
    /// Tasks that read and write connections.
    tasks: RefCell<JoinSet<()>>,
}

impl<C, F, S> Client<C>
where
    C: Fn(u32) -> F + 'static,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    async fn request(&self, plan: RequestPlan) {
        let hub = &self.hub;
        let arrival = Duration::from_micros(plan.at_us);
        sleep(arrival.saturating_sub(Duration::from_nanos(hub.now()))).await;
        let mut orders = hub.mailbox(Target::Request(plan.id));
        let manner = Manner::new(hub.draws, plan.id);
        let Some((connection, stream)) = self.open(&plan, &manner).await else {
            hub.ledger.begin(plan.id, hub.now());
            return hub.ledger.end(plan.id, Arrivals::unprocessed(hub));
        };
        let patience = Patience::new(hub);
        let received = |cancelled| {
            let received = connection.state.borrow().arrivals.received(stream, cancelled);
            let end = received.end;
            hub.ledger.end(plan.id, received);
            end
        };
        let (mut ended, mut sent, mut stopped) = (false, false, false);
        let cancelled = {
            let mut receiving = pin!(connection.over(stream));
            let mut sending = pin!(self.send_body(&plan, &manner, &connection, stream));
            loop {
                tokio::select! {
                    biased;
                    Some(order) = orders.recv() => match order.act {
                        Act::Cancel => break true,
                        Act::ClientStopsReading { for_us } => {
                            patience.stop(for_us);
                            connection.stop(stream);
                            stopped = true;
                        }
                        _ => {}
                    },
                    () = &mut receiving, if !ended => {
                        ended = true;
                        // The rest of a body goes on only after a complete answer.
                        sent |= received(false) != End::Complete;
                    }
                    () = &mut sending, if !sent => sent = true,
                    () = patience.wait(), if stopped => {
                        connection.resume(stream);
                        stopped = false;
                    }
                }
                if ended && sent {
                    break false;
                }
            }
        };
        if cancelled {
            if !ended {
                received(true);
            }
            let mut state = connection.state.borrow_mut();
            if state.arrivals.conduct.is_open(stream) {
                state.arrivals.conduct.reset(stream);
                state.writer.reset(stream, cancel_code(hub.draws, plan.id).number());
            }
            drop(state);
            connection.send(None);
        }
        connection.leave(stream);
    }

    /// Opens a stream for a request, and sends the head. `None` if no connection takes it.
    async fn open(&self, plan: &RequestPlan, manner: &Manner) -> Option<(Rc<Connection>, u32)> {
        let (hub, id) = (&self.hub, plan.id);
        for _ in 0..CONNECTIONS {
            let connection = self.connection().await.ok()?;
            let opened = connection.until(|state| {
                let possible = state.is_leaving() || state.has_capacity();
                possible.then(|| (!state.is_leaving()).then(|| self.send_head(plan, manner, state)))
            });
            // The last request before it takes no more may have been another one.
            let Some(stream) = opened.await else { continue };
            connection.send(manner.head_pause);
            hub.ledger.begin(id, hub.now());
            let number = connection.state.borrow().arrivals.connection();
            hub.carries(id, self.index, number);
            self.send_extras(manner, &connection, stream);
            let moment = |moment| When::Request { request: id, moment };
            hub.reached(moment(Moment::Arrived), Target::Request(id));
            if plan.body_us.is_none() {
                hub.reached(moment(Moment::Sent), Target::Request(id));
            }
            return Some((connection, stream));
        }
        None
    }

    /// The present connection, or another one if that takes no more requests.
    async fn connection(&self) -> io::Result<Rc<Connection>> {
        let (number, current) = &mut *self.current.lock().await;
        if let Some(connection) = current.take_if(|current| !current.state.borrow().is_leaving()) {
            return Ok(Rc::clone(current.insert(connection)));
        }
        *number += 1;
        *current = None;
        let io = (self.connect)(*number).await?;
        let arrivals = Arrivals::new(Rc::clone(&self.hub), self.index, *number);
        let mut habits = Habits::new(self.hub.draws, self.index, *number);
        if has_large_windows(&self.hub, self.index) {
            habits.widen();
        }
        let (connection, reading, writing) = Connection::open(io, habits, arrivals);
        let mut tasks = self.tasks.borrow_mut();
        tasks.spawn_local(reading);
        tasks.spawn_local(writing);
        Ok(Rc::clone(current.insert(connection)))
    }

    /// Writes the head of a request, and what is before it. Returns its stream.
    fn send_head(&self, plan: &RequestPlan, manner: &Manner, state: &mut State) -> u32 {
        if manner.unknown_frame {
            state.writer.raw(UNKNOWN_FRAME, 0xff, state.next_stream(), b"unknown");
        }
        if manner.priorities[0] {
            state.writer.raw(kind::PRIORITY, 0, state.next_stream(), &[0, 0, 0, 0, 1]);
        }
        let method = method(plan);
        let path = ledger::path(plan.id);
        let scheme = scheme(&self.hub.plan);
        let mut pseudo =
            [(":method", method), (":scheme", scheme), (":path", &path), (":authority", AUTHORITY)];
        pseudo.swap(manner.exchanged.0, manner.exchanged.1);
        let mut fields = Fields::new();
        for (name, value) in pseudo {
            fields = fields.with(name, value);
        }
        if manner.te {
            fields = fields.with("te", "trailers");
        }
        for number in 0..manner.crumbs {
            fields = fields.with("cookie", format!("crumb{number}={}", plan.id));
        }
        let length = Upload::of(plan).and_then(|upload| upload.stated(&self.hub.draws));
        if let Some(length) = length {
            fields = fields.with("content-length", length.to_string());
        }
        let stream = state.open_stream(method, manner.granting);
        let form = HeadForm {
            padding: manner.head_padding,
            prioritised: manner.prioritised,
            continuations: manner.continuations,
        };
        let block = state.writer.block(&fields);
        let end = plan.body_us.is_none();
        state.head(stream, &block, end, &form);
        if end {
            state.arrivals.sent(stream);
        }
        stream
    }

    /// Writes what follows a head and is not part of the request.
    fn send_extras(&self, manner: &Manner, connection: &Connection, stream: u32) {
        let mut state = connection.state.borrow_mut();
        state.open_window(stream);
        if let Some(settings) = &manner.settings {
            state.change_settings(settings);
        }
        if manner.priorities[1] {
            state.writer.raw(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 200]);
        }
        if let Some(content) = manner.ping {
            state.ping(content);
        }
        state.leave_if_due();
        drop(state);
        connection.send(None);
    }

    /// Sends the body as the windows allow, until the stream takes no more.
    async fn send_body(
        &self,
        plan: &RequestPlan,
        manner: &Manner,
        connection: &Connection,
        stream: u32,
    ) {
        let Some(upload) = Upload::of(plan) else { return };
        let moment = |moment| {
            self.hub.reached(When::Request { request: plan.id, moment }, Target::Request(plan.id));
        };
        for _ in 0..manner.empty {
            connection.state.borrow_mut().empty_frame(stream);
        }
        connection.send(None);
        let end_apart = upload.ends_apart(&self.hub.draws);
        let started = self.hub.now();
        let mut sent = 0;
        upload.note(&self.hub.ledger, sent);
        for (after, end) in upload.schedule() {
            let elapsed = Duration::from_nanos(self.hub.now() - started);
            sleep(after.saturating_sub(elapsed)).await;
            let from = sent;
            while sent < end {
                let room = connection.until(|state| state.room(stream)).await;
                let Some(room) = room else { return };
                let part = upload.part(sent, end.min(sent + room as u64));
                sent += part.len() as u64;
                upload.note(&self.hub.ledger, sent);
                let last = sent == upload.bytes && !upload.trailers && !end_apart;
                let crumb = manner.crumb(upload.bytes, part.len());
                let padding = manner.padding.filter(|_| part.len() <= crumb);
                for (frame, ends) in crumbs(&part, crumb) {
                    connection.state.borrow_mut().data(stream, frame, padding, last && ends);
                }
                connection.send(manner.pause);
            }
            if upload.crosses_half(from, end) {
                moment(Moment::HalfSent);
            }
        }
        if upload.trailers {
            sleep(pause_before_trailers(&self.hub, plan.id)).await;
        }
        let mut state = connection.state.borrow_mut();
        if !state.arrivals.conduct.is_open(stream) {
            return;
        }
        if let Some(trailers) = upload.trailer_fields() {
            let block = state.writer.block(&trailers);
            let continuations = manner.continuations.min(1);
            let form = HeadForm { padding: None, prioritised: false, continuations };
            state.head(stream, &block, true, &form);
            state.arrivals.sent(stream);
        } else if end_apart || upload.bytes == 0 {
            state.data(stream, &[], None, true);
        }
        drop(state);
        connection.send(None);
        moment(Moment::Sent);
    }
}
