//! One request as a scripted backend receives it, and the actions of a script.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::backend::Shared;

/// One request at a backend, after its head arrived.
pub(crate) struct Exchange {
    /// The request's head.
    pub(crate) head: Request<()>,
    /// The request's body.
    pub(crate) body: RecvStream,
    /// The handle for the response.
    pub(crate) respond: SendResponse<Bytes>,
    /// Counts the stream as open until dropped.
    pub(crate) open: Open,
}

/// Counts a stream as open until dropped.
pub(crate) struct Open {
    connection: usize,
    shared: Rc<Shared>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.seen.send_modify(|seen| {
            let open = seen.open.get_mut(&self.connection).expect("it was counted");
            *open -= 1;
        });
    }
}

impl Exchange {
    /// Records a request.
    pub(crate) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        connection: usize,
        shared: &Rc<Shared>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        shared.seen.send_modify(|seen| {
            seen.heads.push(head.clone());
            let open = seen.open.entry(connection).or_default();
            *open += 1;
            seen.most_open = seen.most_open.max(*open);
        });
        let open = Open { connection, shared: Rc::clone(shared) };
        Self { head, body, respond, open }
    }

    /// The request's id, from `x-request-id`; empty if missing.
    pub(crate) fn id(&self) -> String {
        let id = self.head.headers().get("x-request-id");
        id.map(|id| id.to_str().expect("tests use ASCII").to_owned()).unwrap_or_default()
    }

    /// Number of requests with this id that have arrived, including this one.
    pub(crate) fn times_arrived(&self) -> usize {
        let id = self.head.headers().get("x-request-id");
        let seen = self.open.shared.seen.borrow();
        seen.heads.iter().filter(|head| head.headers().get("x-request-id") == id).count()
    }

    /// Counts an execution of this request.
    pub(crate) fn execute(&self) {
        let id = self.id();
        self.open.shared.seen.send_modify(|seen| *seen.executed.entry(id).or_default() += 1);
    }

    /// Reads the whole body, and the trailers if there are any.
    pub(crate) async fn read(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.read_chunk().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok((whole, self.body.trailers().await?))
    }

    /// Reads one chunk of the body and releases its flow-control capacity.
    pub(crate) async fn read_chunk(&mut self) -> Result<Option<Bytes>, h2::Error> {
        let Some(chunk) = self.body.data().await.transpose()? else { return Ok(None) };
        self.body.flow_control().release_capacity(chunk.len())?;
        self.open.shared.seen.send_modify(|seen| seen.received_bytes += chunk.len());
        Ok(Some(chunk))
    }

    /// Executes the request: reads its body, then answers with this status and body.
    pub(crate) async fn answer(mut self, status: u16, body: impl Into<Bytes>) {
        if self.read().await.is_err() {
            return;
        }
        self.execute();
        let Some(mut stream) = self.start(status) else { return };
        self.send(&mut stream, body.into(), true).await;
    }

    /// Executes the request: reads its body, then answers with it.
    pub(crate) async fn echo(mut self) {
        let Ok((body, _)) = self.read().await else { return };
        self.execute();
        let Some(mut stream) = self.start(200) else { return };
        self.send(&mut stream, body.into(), true).await;
    }

    /// Sends a response head; the body follows. Returns `None` if the stream is gone.
    pub(crate) fn start(&mut self, status: u16) -> Option<SendStream<Bytes>> {
        self.start_with(Response::builder().status(status).body(()).expect("a valid head"))
    }

    /// Sends this response head; the body follows. Returns `None` if the stream is gone.
    pub(crate) fn start_with(&mut self, head: Response<()>) -> Option<SendStream<Bytes>> {
        self.respond.send_response(head, false).ok()
    }

    /// Sends all of `body`, as flow control allows. Returns true if all of it was sent.
    pub(crate) async fn send(
        &self,
        stream: &mut SendStream<Bytes>,
        mut body: Bytes,
        last: bool,
    ) -> bool {
        if body.is_empty() {
            return stream.send_data(body, last).is_ok();
        }
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else {
                return false;
            };
            let piece = body.split_to(room.min(body.len()));
            let length = piece.len();
            if stream.send_data(piece, last && body.is_empty()).is_err() {
                return false;
            }
            self.open.shared.seen.send_modify(|seen| seen.sent_bytes += length);
        }
        true
    }

    /// Resets the stream instead of answering.
    pub(crate) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Never answers; returns when the peer resets the stream, and records the reset.
    pub(crate) async fn wait_for_reset(mut self) {
        let reset = poll_fn(|context| self.respond.poll_reset(context)).await;
        self.note_reset(reset);
    }

    /// Answers with 200 and `begun` and does not end; then as [`Exchange::wait_for_reset`].
    pub(crate) async fn begin_and_hang(mut self) {
        let Some(mut stream) = self.start(200) else { return };
        self.send(&mut stream, Bytes::from_static(b"begun"), false).await;
        let reset = poll_fn(|context| stream.poll_reset(context)).await;
        self.note_reset(reset);
    }

    fn note_reset(&self, reset: Result<Reason, h2::Error>) {
        if let Ok(reason) = reset {
            self.open.shared.seen.send_modify(|seen| seen.resets.push(reason));
        }
    }
}
