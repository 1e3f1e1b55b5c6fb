//! One connection of an HTTP/1.1 backend: the requests on it, one after the other.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::Answering;
use super::state::{HealthChecks, State};
use crate::plan::{Moment, RequestPlan};
use crate::proxy::content::{Body, Seen};
use crate::proxy::hub::Hub;
use crate::proxy::ledger::{self, Execution};
use crate::proxy::peers::http1_message::{Content, Failure, Head, Part, Reader, write_piece};
use crate::proxy::peers::timing::{after, sleep_until};

/// The longest time that a backend reads on after its last answer (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// One connection of a backend.
pub(super) struct Link<'a> {
    state: &'a Rc<State>,
    health_checks: &'a HealthChecks,
}

/// A request whose body is being read.
struct Upload {
    request: RequestPlan,
    execution: u32,
    content: Content,
    has_body: bool,
}

impl<'a> Link<'a> {
    /// A connection with this state.
    pub(super) fn new(state: &'a Rc<State>, health_checks: &'a HealthChecks) -> Self {
        Self { state, health_checks }
    }

    /// Serves requests until the connection is over.
    pub(super) async fn run(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let (read, mut writer) = tokio::io::split(io);
        let mut reader = Reader::new(read, &self.state.gate);
        loop {
            match self.next(&mut reader, &mut writer).await {
                Ok(true) => self.state.next_stream().await,
                Ok(false) => return close(&mut reader, &mut writer).await,
                Err(Failure::Ended | Failure::Broken) => return,
                Err(Failure::Malformed(what)) => {
                    let State { hub, backend, number, .. } = &**self.state;
                    let stream = self.state.stream();
                    let place = format!("backend {backend}, connection {number}, stream {stream}");
                    return hub.ledger.fault(format!("{place}: {what}"));
                }
            }
        }
    }

    /// Serves one request. Returns true if the connection stays open.
    async fn next(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<bool, Failure> {
        let Some(head) = self.head(reader).await? else { return Ok(false) };
        let (_, target) = head.request()?;
        match ledger::request_of(target) {
            Some(request) => self.execute(reader, writer, &head, request).await,
            None => self.health_check(reader, writer, &head).await,
        }
    }

    /// Reads the head of the next request; `None` if the connection is to be closed instead.
    async fn head(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
    ) -> Result<Option<Head>, Failure> {
        let state = self.state;
        loop {
            tokio::select! {
                biased;
                () = state.changes.until(|| state.is_closing()), if !reader.has_more() => {}
                head = reader.head() => return head,
            }
            // A part of a head may have been read meanwhile.
            if !reader.has_more() {
                return Ok(None);
            }
        }
    }

    async fn health_check(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
        head: &Head,
    ) -> Result<bool, Failure> {
        let (hub, work) = (&self.state.hub, self.state.plan.work.least_us);
        let mut content = head.request_content()?;
        while matches!(reader.part(&mut content).await?, Part::Data(_)) {}
        let status = match self.health_checks.at(hub.now()) {
            Some(true) => "200 OK",
            Some(false) => "503 Service Unavailable",
            None => loop {
                reader.more().await?;
            },
        };
        sleep_until(hub, after(hub, work)).await;
        let closes = head.closes() || self.state.is_closing();
        let connection = if closes { "connection: close\r\n" } else { "" };
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n{connection}\r\n");
        let written = write_piece(writer, text.as_bytes(), false, |_| {}).await;
        written.map_err(|_| Failure::Broken)?;
        Ok(!closes)
    }

    /// Executes a request: reads its body and writes the answer, at the same time.
    async fn execute(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        writer: &mut (impl AsyncWrite + Unpin),
        head: &Head,
        request: u32,
    ) -> Result<bool, Failure> {
        let (state, hub) = (self.state, &self.state.hub);
        let content = head.request_content()?;
        let (method, _) = head.request()?;
        let execution = hub.ledger.execute(Execution {
            request,
            backend: state.backend,
            connection: state.number,
            stream: state.stream(),
            at: hub.now(),
            body: Seen::NOTHING,
            body_ended: false,
            trailer: None,
            disowned: false,
            answer: None,
        });
        state.moment(request, Moment::Written).await;
        let request = plan_of(hub, request);
        state.note_read(request.wire.framing);
        state.moment(request.id, Moment::Read).await;
        let has_body = content != Content::Length(0);
        let mut upload = Upload { request, execution, content, has_body };
        let answering = Answering {
            state,
            execution,
            request,
            method,
            closes: head.closes(),
            has_body,
            expects: has_body && head.fields.lists("expect", "100-continue"),
        };
        let stays = tokio::select! {
            biased;
            failure = self.read(reader, &mut upload) => return Err(failure),
            answered = answering.write(writer) => answered.map_err(|_| Failure::Broken)?,
        };
        if stays && !state.is_body_read() {
            self.read_body(reader, &mut upload).await?;
        }
        Ok(stays)
    }

    /// Reads the body. After it, waits for the end of the connection: the proxy must not send
    /// anything before the answer is written.
    async fn read(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        upload: &mut Upload,
    ) -> Failure {
        if let Err(failure) = self.read_body(reader, upload).await {
            return failure;
        }
        let failure = loop {
            if reader.has_more() {
                break Failure::Malformed("a request before the answer to the last one".to_owned());
            }
            if let Err(failure) = reader.more().await {
                break failure;
            }
        };
        if self.state.is_answered() {
            pending::<()>().await;
        }
        failure
    }

    async fn read_body(
        &self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        upload: &mut Upload,
    ) -> Result<(), Failure> {
        let (ledger, id) = (&self.state.hub.ledger, upload.request.id);
        let all = u64::from(upload.request.wire.body_bytes);
        loop {
            match reader.part(&mut upload.content).await? {
                Part::Data(bytes) => {
                    let mut read = 0;
                    ledger.update(upload.execution, |execution| {
                        execution.body.read(Body::Request(id), &bytes);
                        read = execution.body.length;
                    });
                    if self.state.is_half(read, all) {
                        self.state.moment(id, Moment::HalfSent).await;
                    }
                }
                Part::End(fields) => {
                    let trailer = fields.once(ledger::TRAILER)?.map(str::to_owned);
                    ledger.update(upload.execution, |execution| {
                        execution.body_ended = true;
                        execution.trailer = trailer;
                    });
                    self.state.note_body_end();
                    if upload.has_body {
                        self.state.moment(id, Moment::Sent).await;
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// Closes a connection after the last answer: what the proxy still sends is read and dropped, so
/// that the answer is not lost (RFC 9112, 9.6).
async fn close(
    reader: &mut Reader<impl AsyncRead + Unpin>,
    writer: &mut (impl AsyncWrite + Unpin),
) {
    let lingering = async {
        if writer.shutdown().await.is_ok() {
            while reader.more().await.is_ok() {
                reader.discard();
            }
        }
    };
    // The proxy may not close for its part.
    let _ = timeout(LINGER, lingering).await;
}

/// The plan of a request. One that is not in the plan is from the time after the faults, and its
/// answer has nothing special.
fn plan_of(hub: &Hub, request: u32) -> RequestPlan {
    let planned = hub.plan.requests.iter().find(|planned| planned.id == request);
    planned.copied().unwrap_or(RequestPlan::plain(request))
}
