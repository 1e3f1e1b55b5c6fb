//! A client of the proxy by the `h2` library: an honest one, as many are.
//!
//! It has one connection at a time and opens another once the present one takes no more requests.
//! Every request is sent once: what becomes of it is what the ledger has.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::arrivals::Arrivals;
use super::sending::{
    AUTHORITY, CONNECTIONS, LARGE_WINDOW, Patience, Upload, cancel_code, has_large_windows, is_of,
    method, pause_before_trailers, scheme,
};
use super::tap::{Tap, Tapped};
use crate::draw::Domain;
use crate::plan::{Act, Moment, RequestPlan, When};
use crate::proxy::hub::{Hub, Target};
use crate::proxy::ledger::{self, End};

/// Time for the library to end a connection that it needs no more.
const CLOSING: Duration = Duration::from_secs(1);
/// Bytes that are given to the library at once.
const PART_BYTES: u64 = 16 * 1024;

/// Sends the requests of a client. `connect` opens a connection with the proxy, given its number
/// from 1. Ends once every request has ended and every connection is closed.
pub(crate) async fn run<C, F, S>(hub: Rc<Hub>, index: u8, connect: C)
where
    C: Fn(u32) -> F + 'static,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let current = Mutex::new(Current { number: 0, connection: None });
    let connections = RefCell::new(JoinSet::new());
    let client = Rc::new(Client { hub, index, connect, current, connections });
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
    // Without a user, the library ends the connection with GOAWAY.
    client.current.lock().await.connection = None;
    let mut connections = client.connections.take();
    // A connection that cannot be ended, because the path is dead, is dropped.
    let _ = timeout(CLOSING, async { while connections.join_next().await.is_some() {} }).await;
}

struct Client<C> {
    hub: Rc<Hub>,
    index: u8,
    connect: C,
    current: Mutex<Current>,
    connections: RefCell<JoinSet<()>>,
}

struct Current {
    /// The number of connections so far.
    number: u32,
    connection: Option<Connection>,
}

#[derive(Clone)]
struct Connection {
    number: u32,
    sender: SendRequest<Bytes>,
    tap: Rc<RefCell<Tap>>,
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
        let Some((tap, response, mut upload)) = self.send_head(&plan).await else { return };
        let stream = upload.stream_id().as_u32();
        let patience = Patience::new(hub);
        let (mut ended, mut sent) = (false, false);
        let cancelled = {
            let mut receiving = pin!(self.receive(response, &patience));
            let mut sending = pin!(self.send_body(&plan, &mut upload));
            loop {
                tokio::select! {
                    biased;
                    Some(order) = orders.recv() => match order.act {
                        Act::Cancel => break true,
                        Act::ClientStopsReading { for_us } => patience.stop(for_us),
                        _ => {}
                    },
                    () = &mut receiving, if !ended => {
                        ended = true;
                        let received = tap.borrow().arrivals.received(stream, false);
                        // The rest of a body goes on only after a complete answer.
                        sent |= received.end != End::Complete;
                        hub.ledger.end(plan.id, received);
                    }
                    () = &mut sending, if !sent => sent = true,
                    else => break false,
                }
                if ended && sent {
                    break false;
                }
            }
        };
        if cancelled {
            if !ended {
                hub.ledger.end(plan.id, tap.borrow().arrivals.received(stream, true));
            }
            upload.send_reset(Reason::from(cancel_code(hub.draws, plan.id).number()));
        }
    }

    /// Gives a request to a connection. `None` if there is no connection: the request has ended.
    async fn send_head(
        &self,
        plan: &RequestPlan,
    ) -> Option<(Rc<RefCell<Tap>>, ResponseFuture, SendStream<Bytes>)> {
        let (hub, id) = (&self.hub, plan.id);
        for _ in 0..CONNECTIONS {
            let Ok(connection) = self.connection().await else { break };
            let sent = match connection.sender.ready().await {
                Ok(mut sender) => sender.send_request(self.head(plan), plan.body_us.is_none()),
                Err(error) => Err(error),
            };
            let Ok((response, upload)) = sent else {
                // It takes no more requests: another one is opened.
                let current = &mut *self.current.lock().await;
                current.connection.take_if(|current| current.number == connection.number);
                continue;
            };
            hub.ledger.begin(id, hub.now());
            hub.carries(id, self.index, connection.number);
            let moment = |moment| When::Request { request: id, moment };
            hub.reached(moment(Moment::Arrived), Target::Request(id));
            if plan.body_us.is_none() {
                hub.reached(moment(Moment::Sent), Target::Request(id));
            }
            return Some((connection.tap, response, upload));
        }
        hub.ledger.begin(id, hub.now());
        hub.ledger.end(id, Arrivals::unprocessed(hub));
        None
    }

    /// The present connection, or another one.
    async fn connection(&self) -> io::Result<Connection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok(connection.clone());
        }
        current.number += 1;
        let number = current.number;
        let io = (self.connect)(number).await?;
        let arrivals = Arrivals::new(Rc::clone(&self.hub), self.index, number);
        let (io, tap) = Tapped::new(io, arrivals);
        let handshake = self.builder(number).handshake::<_, Bytes>(io).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let hub = Rc::clone(&self.hub);
        self.connections.borrow_mut().spawn_local(async move {
            if let Err(error) = connection.await {
                note(&hub, &error);
            }
        });
        let connection = Connection { number, sender, tap };
        current.connection = Some(connection.clone());
        Ok(connection)
    }

    /// The settings of a connection.
    fn builder(&self, number: u32) -> Builder {
        let entity = u64::from(self.index) << 32 | u64::from(number);
        let mut draws = self.hub.draws.stream(Domain::ClientConnections, entity);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(draws.pick(&[65_535, 65_535, 1 << 20, 5_000, 100]))
            .initial_connection_window_size(draws.pick(&[65_535, 1 << 20, 4 << 20]))
            .max_frame_size(draws.pick(&[16_384, 16_384, 20_000, 1 << 20]))
            // The library reads the real clock to forget these, and would refuse what an honest
            // but slow reader has let pile up.
            .reset_stream_duration(Duration::from_secs(1 << 32))
            .max_concurrent_reset_streams(usize::MAX)
            .data_frame_budget(usize::MAX);
        if has_large_windows(&self.hub, self.index) {
            builder.initial_window_size(LARGE_WINDOW).initial_connection_window_size(LARGE_WINDOW);
        }
        match draws.pick(&[4_096, 4_096, 4_096, 0, 100]) {
            4_096 => {}
            table => drop(builder.header_table_size(table)),
        }
        builder
    }

    fn head(&self, plan: &RequestPlan) -> Request<()> {
        let uri = format!("{}://{AUTHORITY}{}", scheme(&self.hub.plan), ledger::path(plan.id));
        let request = Request::builder().method(method(plan)).uri(uri);
        let length = Upload::of(plan).and_then(|upload| upload.stated(&self.hub.draws));
        let request = match length {
            Some(length) => request.header(http::header::CONTENT_LENGTH, length),
            None => request,
        };
        request.body(()).expect("the head is valid")
    }

    /// Reads the response to its end. What arrives is noted on the way to the library.
    async fn receive(&self, response: ResponseFuture, patience: &Patience<'_>) {
        let received = async {
            let mut body = response.await?.into_body();
            while let Some(bytes) = body.data().await {
                let length = bytes?.len();
                patience.wait().await;
                body.flow_control().release_capacity(length)?;
            }
            body.trailers().await
        };
        if let Err(error) = received.await {
            note(&self.hub, &error);
        }
    }

    /// Sends the body as the window allows. If the proxy stops it, the response says why.
    async fn send_body(&self, plan: &RequestPlan, stream: &mut SendStream<Bytes>) {
        let Some(upload) = Upload::of(plan) else { return };
        let moment = |moment| {
            self.hub.reached(When::Request { request: plan.id, moment }, Target::Request(plan.id));
        };
        let trailers = upload.trailer_fields().map(|fields| header_map(&fields));
        let end_apart = upload.ends_apart(&self.hub.draws);
        let started = self.hub.now();
        let mut sent = 0;
        upload.note(&self.hub.ledger, sent);
        for (after, end) in upload.schedule() {
            let elapsed = Duration::from_nanos(self.hub.now() - started);
            sleep(after.saturating_sub(elapsed)).await;
            let from = sent;
            while sent < end {
                let wanted = (end - sent).min(PART_BYTES);
                let Some(room) = capacity(stream, wanted as usize).await else { return };
                let part = upload.part(sent, sent + wanted.min(room as u64));
                sent += part.len() as u64;
                upload.note(&self.hub.ledger, sent);
                let last = sent == upload.bytes && trailers.is_none() && !end_apart;
                if stream.send_data(part, last).is_err() {
                    return;
                }
            }
            if upload.crosses_half(from, end) {
                moment(Moment::HalfSent);
            }
        }
        if upload.trailers {
            sleep(pause_before_trailers(&self.hub, plan.id)).await;
        }
        let ended = match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None if end_apart || upload.bytes == 0 => stream.send_data(Bytes::new(), true),
            None => Ok(()),
        };
        if ended.is_ok() {
            moment(Moment::Sent);
        }
    }
}

/// Waits for room in the windows; `None` if the stream takes no more.
async fn capacity(stream: &mut SendStream<Bytes>, wanted: usize) -> Option<usize> {
    stream.reserve_capacity(wanted);
    while stream.capacity() == 0 {
        poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
    }
    Some(stream.capacity())
}

fn header_map(fields: &super::frames::Fields) -> HeaderMap {
    let pair = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let name = HeaderName::from_bytes(name).expect("a name");
        (name, HeaderValue::from_bytes(value).expect("a value"))
    };
    fields.iter().map(pair).collect()
}

/// Notes what the library itself finds wrong with the proxy. Every other error is an end that the
/// frames tell.
fn note(hub: &Hub, error: &h2::Error) {
    if error.is_library() {
        hub.ledger.fault(format!("the h2 library of a client refuses: {error}"));
    }
}

#[cfg(test)]
mod tests;
