//! Shared by the tests of clients: a plan, a run, and the proxy's end of connections.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, Request, Response};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frames::{Fields, Frame, FrameReader, FrameWriter};
use crate::faults::{Family, Profile};
use crate::plan::WorldName;
use crate::plan::{
    Act, ClientPlan, Directive, Moment, Plan, RequestPlan, RequestWire, When, WirePlan,
};
use crate::proxy::content::{Body, Seen};
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{self, EXECUTION, Execution, Received, TRAILER};

pub(super) const GET: RequestPlan = RequestPlan::plain(1);

/// A request with a body that is sent in 100 ms, in pieces of 1 000 bytes.
pub(super) fn put(id: u32, body_bytes: u32) -> RequestPlan {
    let wire = RequestWire { body_bytes, piece_bytes: 1_000, ..RequestWire::default() };
    RequestPlan { id, body_us: Some(100_000), wire, ..GET }
}

/// A directive about a request.
pub(super) fn when(request: u32, moment: Moment, after_us: u64, act: Act) -> Directive {
    let when = When::Request { request, moment };
    Directive { family: Family::Cancel, when, after_us, act }
}

/// A run of these requests. Faults stop after 10 s.
pub(super) fn hub(seed: u64, requests: &[RequestPlan], directives: &[Directive]) -> Rc<Hub> {
    let mut plan: Plan = crate::faults::plan(seed, Profile::Swarm, WorldName::Pool);
    plan.seed = seed;
    plan.requests = requests.to_vec();
    plan.directives = directives.to_vec();
    plan.heal.at_us = 10_000_000;
    plan.wire = WirePlan { clients: vec![ClientPlan::default()], ..WirePlan::default() };
    Hub::start(plan)
}

/// Connections for a client, and the proxy's ends of them.
pub(super) fn connections()
-> (impl Fn(u32) -> std::future::Ready<io::Result<DuplexStream>>, UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = unbounded_channel();
    let connect = move |_| {
        let (near, far) = duplex(100_000);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        std::future::ready(sender.send(far).map(|()| near).map_err(|_| refused()))
    };
    (connect, receiver)
}

/// Runs a client to its end, which comes in time.
pub(super) async fn finish(client: impl Future<Output = ()>) {
    timeout(Duration::from_secs(100), client).await.expect("the client comes to its end");
}

/// Runs a task beside the test.
#[expect(clippy::disallowed_methods, reason = "a task of the test, on its paused runtime")]
pub(super) fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(task)
}

/// The end of the only request with this id.
pub(super) fn ended(hub: &Hub, id: u32) -> Received {
    assert_eq!(hub.ledger.begun().iter().filter(|(begun, _)| *begun == id).count(), 1);
    let all = hub.ledger.received();
    let mut of = all.into_iter().filter(|(request, _)| *request == id);
    let received = of.next().expect("it has ended").1;
    assert_eq!(of.next(), None, "it has ended once");
    received
}

/// Serves a connection with the `h2` library: an honest proxy that answers by itself.
pub(super) async fn serve(hub: Rc<Hub>, io: DuplexStream) {
    let mut connection = server::handshake(io).await.expect("the handshake");
    while let Some(accepted) = connection.accept().await {
        let Ok((request, respond)) = accepted else { return };
        spawn(answer(Rc::clone(&hub), request, respond));
    }
}

/// Reads a request, and answers it with as many bytes as the plan says.
async fn answer(
    hub: Rc<Hub>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<()> {
    let id = ledger::request_of(request.uri().path()).expect("a request of the plan");
    let plan = *hub.plan.requests.iter().find(|plan| plan.id == id).expect("it is in the plan");
    let stated = request.headers().get("content-length").cloned();
    let mut body = request.into_body();
    let mut seen = Seen::NOTHING;
    while let Some(bytes) = body.data().await {
        let bytes = bytes.ok()?;
        seen.read(Body::Request(id), &bytes);
        body.flow_control().release_capacity(bytes.len()).ok()?;
    }
    let trailers = body.trailers().await.ok()?;
    let trailer = trailers.and_then(|fields| fields.get(TRAILER)?.to_str().ok().map(str::to_owned));
    if let Some(stated) = stated {
        assert_eq!(stated.to_str().ok()?, seen.length.to_string());
    }
    let execution = hub.ledger.execute(execution(id, seen, trailer));
    for _ in 0..plan.informational {
        let head = Response::builder().status(103).body(()).expect("a head");
        respond.send_informational(head).ok()?;
    }
    let head = Response::builder().header(EXECUTION, execution).body(()).expect("a head");
    let bytes = plan.wire.answer_bytes as usize;
    let trailers = plan.wire.answer_trailers;
    let mut stream = respond.send_response(head, bytes == 0 && !trailers).ok()?;
    if bytes > 0 {
        stream.send_data(Body::Response(execution).piece(0, bytes), !trailers).ok()?;
    }
    if trailers {
        let mut fields = HeaderMap::new();
        let value = ledger::trailer(Body::Response(execution));
        fields.insert(TRAILER, value.parse().expect("a value"));
        stream.send_trailers(fields).ok()?;
    }
    Some(())
}

fn execution(request: u32, body: Seen, trailer: Option<String>) -> Execution {
    Execution {
        request,
        backend: 0,
        connection: 1,
        stream: 1,
        at: 0,
        body,
        body_ended: true,
        trailer,
        disowned: false,
        answer: None,
    }
}

/// The proxy's end of a connection, frame by frame.
pub(super) struct Raw {
    pub(super) reader: FrameReader<ReadHalf<DuplexStream>>,
    pub(super) writer: FrameWriter,
    io: WriteHalf<DuplexStream>,
}

impl Raw {
    /// Accepts a connection and greets the client.
    pub(super) async fn accept(connections: &mut UnboundedReceiver<DuplexStream>) -> Self {
        let (io, out) = split(connections.recv().await.expect("a connection"));
        let mut raw = Self { reader: FrameReader::new(io), writer: FrameWriter::new(), io: out };
        raw.reader.preface().await.expect("the preface");
        raw.write(|writer| writer.settings(&[])).await;
        raw
    }

    pub(super) async fn write(&mut self, write: impl FnOnce(&mut FrameWriter)) {
        use tokio::io::AsyncWriteExt as _;
        write(&mut self.writer);
        // A client that is gone reads nothing.
        let _ = self.io.write_all(&self.writer.take()).await;
    }

    /// Reads until the head of the next request, and acknowledges SETTINGS.
    pub(super) async fn head(&mut self) -> (u32, Fields) {
        loop {
            match self.reader.next().await.expect("frames").expect("a request") {
                Frame::Headers { stream, fields, .. } => return (stream, fields),
                Frame::Settings(_) => self.write(FrameWriter::settings_ack).await,
                _ => {}
            }
        }
    }

    /// Reads until the client ends the connection; returns everything else that it wrote.
    pub(super) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = self.reader.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Writes a head of a response with these fields after `:status`.
pub(super) fn response(status: &str, more: &[(&str, &str)]) -> Fields {
    let head = Fields::new().with(":status", status);
    more.iter().fold(head, |head, (name, value)| head.with(name, value))
}
