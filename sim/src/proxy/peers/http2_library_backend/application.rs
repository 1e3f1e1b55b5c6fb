//! The application behind an HTTP/2 backend that the `h2` library serves: it answers one request.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::sync::Notify;

use super::wire::Awaited;
use crate::plan::{Code, Moment};
use crate::proxy::exact::sleep;
use crate::proxy::peers::exchange::{Choice, Exchange, Script};
use crate::proxy::peers::frames::Fields;
use crate::proxy::peers::pace::{Gone, Sink, write_body};
use crate::proxy::peers::service::{NEVER, Service};

/// A request that is being served.
pub(super) struct Stream {
    pub(super) service: Rc<Service>,
    pub(super) awaited: Rc<Awaited>,
    pub(super) never_finishes: Cell<bool>,
    /// The body is not read until then, in nanoseconds since the start.
    pub(super) starved_until: Cell<u64>,
    /// The stream is to be reset.
    pub(super) reset: Cell<Option<Code>>,
    /// Something of these has changed.
    pub(super) changed: Notify,
    /// The backend has nothing more to do with it.
    pub(super) done: Cell<bool>,
}

impl Stream {
    pub(super) fn new(service: &Rc<Service>, awaited: &Rc<Awaited>) -> Self {
        Self {
            service: Rc::clone(service),
            awaited: Rc::clone(awaited),
            never_finishes: Cell::new(false),
            starved_until: Cell::new(0),
            reset: Cell::new(None),
            changed: Notify::new(),
            done: Cell::new(false),
        }
    }

    fn exchange(&self) -> &Exchange {
        &self.awaited.exchange
    }

    async fn reset_ordered(&self) -> Code {
        loop {
            let changed = self.changed.notified();
            if let Some(code) = self.reset.get() {
                return code;
            }
            changed.await;
        }
    }

    async fn goes_on(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.never_finishes.get() {
                return;
            }
            changed.await;
        }
    }

    /// Waits while the upload is starved.
    async fn is_fed(&self) {
        loop {
            let changed = self.changed.notified();
            let (now, until) = (self.service.hub.now(), self.starved_until.get());
            if until <= now {
                return;
            }
            if until == NEVER {
                changed.await;
            } else {
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep(Duration::from_nanos(until - now)) => {}
                }
            }
        }
    }
}

/// Serves a request until it is answered, reset, or its stream is gone.
pub(super) async fn serve(
    stream: Rc<Stream>,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    expects: bool,
) {
    let ordered = tokio::select! {
        biased;
        code = stream.reset_ordered() => Some(code),
        // A stream that is gone needs nothing more.
        _ = answer(&stream, body, &mut respond, expects) => None,
    };
    if let Some(code) = ordered {
        stream.awaited.reset.set(true);
        if code == Code::Refused {
            stream.exchange().disown();
        }
        respond.send_reset(Reason::from(code.number()));
    }
    stream.done.set(true);
}

async fn answer(
    stream: &Stream,
    mut body: RecvStream,
    respond: &mut SendResponse<Bytes>,
    expects: bool,
) -> Result<(), Gone> {
    let exchange = stream.exchange();
    let early = exchange.answers_early() && !body.is_end_stream();
    if expects && !early && !body.is_end_stream() {
        inform(stream, respond, &Fields::new().with(":status", "100"))?;
    }
    if !early {
        read(stream, &mut body).await?;
    }
    sleep(exchange.work()).await;
    stream.goes_on().await;
    // A health check that gets no answer keeps its stream.
    let Some(script) = exchange.script() else { return std::future::pending().await };
    for informational in &script.informational {
        inform(stream, respond, informational)?;
    }
    write(stream, respond, &script).await?;
    if exchange.has_ended() {
        return Ok(());
    }
    if exchange.chance(Choice::ResetsRest, 0, 2) {
        // The library sends RST_STREAM with NO_ERROR after the answer, as nothing more is read.
        return Ok(());
    }
    read(stream, &mut body).await
}

/// Reads the rest of a request.
async fn read(stream: &Stream, body: &mut RecvStream) -> Result<(), Gone> {
    loop {
        stream.is_fed().await;
        let Some(data) = body.data().await else { break };
        let data = data.map_err(|_| Gone)?;
        stream.is_fed().await;
        stream.exchange().read(&data);
        body.flow_control().release_capacity(data.len()).map_err(|_| Gone)?;
    }
    let trailers = body.trailers().await.map_err(|_| Gone)?;
    let fields = trailers.map(|trailers| {
        trailers.iter().fold(Fields::new(), |fields, (name, value)| {
            fields.with(name.as_str(), value.as_bytes())
        })
    });
    stream.exchange().read_end(fields.as_ref());
    Ok(())
}

fn inform(stream: &Stream, respond: &mut SendResponse<Bytes>, fields: &Fields) -> Result<(), Gone> {
    let informational = &stream.awaited.informational;
    informational.set(informational.get() + 1);
    respond.send_informational(response(fields)).map_err(|_| Gone)
}

/// Writes the head and the body.
async fn write(
    stream: &Stream,
    respond: &mut SendResponse<Bytes>,
    script: &Script,
) -> Result<(), Gone> {
    let exchange = stream.exchange();
    let status = script.head.status().unwrap_or_default();
    stream.awaited.head.set((status, script.trailers.is_some()));
    let ends_at_once = script.ends_at_once();
    let begin = stream.service.hub.now();
    let sent = respond.send_response(response(&script.head), ends_at_once).map_err(|_| Gone)?;
    if ends_at_once {
        return Ok(());
    }
    if exchange.is_awaited(Moment::Answered) {
        stream.awaited.head_passed.notified().await;
        // The task of the connection receives the order after the head has passed.
        sleep(Duration::from_nanos(1)).await;
    }
    let mut sink = BodyStream { stream, sent };
    write_body(&stream.service.hub, exchange, script, begin, &mut sink).await
}

/// The writing side of a stream.
struct BodyStream<'a> {
    stream: &'a Stream,
    sent: SendStream<Bytes>,
}

impl Sink for BodyStream<'_> {
    async fn goes_on(&mut self) {
        self.stream.goes_on().await;
    }

    async fn data(&mut self, data: Bytes, end: bool) -> Result<(), Gone> {
        let mut rest = data;
        loop {
            let mut room = 0;
            if !rest.is_empty() {
                self.sent.reserve_capacity(rest.len());
                let capacity = poll_fn(|context| self.sent.poll_capacity(context)).await;
                room = capacity.ok_or(Gone)?.map_err(|_| Gone)?.min(rest.len());
            }
            let piece = rest.split_to(room);
            self.sent.send_data(piece, end && rest.is_empty()).map_err(|_| Gone)?;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    async fn trailers(&mut self, trailers: &Fields) -> Result<(), Gone> {
        self.sent.send_trailers(map(trailers)).map_err(|_| Gone)
    }
}

fn response(fields: &Fields) -> Response<()> {
    let mut response = Response::new(());
    let status = fields.status().and_then(|status| status.try_into().ok());
    *response.status_mut() = status.expect("the backend's own status");
    *response.headers_mut() = map(fields);
    response
}

/// The regular fields.
fn map(fields: &Fields) -> HeaderMap {
    let regular = fields.iter().filter(|(name, _)| !name.starts_with(b":"));
    let pair = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let name = HeaderName::from_bytes(name).expect("the backend's own field");
        (name, HeaderValue::from_bytes(value).expect("the backend's own field"))
    };
    regular.map(pair).collect()
}
