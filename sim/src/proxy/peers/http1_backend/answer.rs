//! The answer to one request of an HTTP/1.1 backend.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::state::State;
use crate::draw::Domain;
use crate::plan::{Framing, Moment, RequestPlan, Span};
use crate::proxy::content::Body;
use crate::proxy::ledger::{self, Answer};
use crate::proxy::peers::http1_message::{has_no_content, last_chunk, write_piece};
use crate::proxy::peers::timing::{Pieces, after, sleep_until};

/// The choice of a backend about the rest of a request that it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// Reads it, to keep the connection.
    Read,
    /// Closes the connection, and says so in the head.
    Close,
    /// Closes the connection without notice.
    CloseUnannounced,
}

/// An answer to be written.
pub(super) struct Answering<'a> {
    pub(super) state: &'a State,
    pub(super) execution: u32,
    pub(super) request: RequestPlan,
    pub(super) method: &'a str,
    /// True if the proxy closes the connection after this request.
    pub(super) closes: bool,
    /// True if the request has a body.
    pub(super) has_body: bool,
    /// True if the proxy waits for `100 Continue`.
    pub(super) expects: bool,
}

/// How the content of an answer is framed.
struct Format {
    status: u16,
    length: u64,
    framing: Framing,
    trailer: Option<String>,
    closes: bool,
}

impl Answering<'_> {
    /// Waits for the request, works, and writes the answer. Returns true if the connection stays
    /// open.
    pub(super) async fn write(self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        let (state, request) = (self.state, &self.request);
        if !(request.early_response && self.has_body) {
            if self.expects {
                write(writer, "HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            state.changes.until(|| state.is_body_read()).await;
        }
        let work = self.draw(0, state.plan.work);
        sleep_until(&state.hub, after(&state.hub, work)).await;
        state.may_continue().await;
        for _ in 0..request.informational {
            write(writer, "HTTP/1.1 103 Early Hints\r\nlink: </hint>\r\n\r\n").await?;
        }
        let format = self.format();
        let answer = Answer::begun(format.status, format.trailer.is_some(), state.hub.now());
        state.hub.ledger.update(self.execution, |execution| execution.answer = Some(answer));
        write(writer, &self.head(&format)).await?;
        if self.ends_with_head(&format) {
            self.note_end();
        }
        state.moment(request.id, Moment::Answered).await;
        if !state.is_answered() {
            self.write_content(writer, &format).await?;
            self.note_end();
        }
        state.moment(request.id, Moment::Ended).await;
        let unread = !state.is_body_read() && self.unread() != Unread::Read;
        Ok(!format.closes && !unread)
    }

    fn format(&self) -> Format {
        let (state, wire, status) = (self.state, &self.request.wire, self.state.status());
        // RFC 9110, 15.3.6.
        let none = has_no_content(self.method, status) || status == 205;
        let length = if none { 0 } else { u64::from(wire.answer_bytes) };
        let framing = if status == 205 { Framing::Length } else { wire.framing };
        let trailers = framing == Framing::Chunked && wire.answer_trailers && !none;
        let spent = state.plan.streams_per_connection == Some(state.stream());
        let unread = !state.is_body_read() && self.unread() == Unread::Close;
        Format {
            status,
            length,
            framing,
            trailer: trailers.then(|| ledger::trailer(Body::Response(self.execution))),
            closes: self.closes
                || state.is_closing()
                || spent
                || unread
                || wire.framing == Framing::Close,
        }
    }

    fn head(&self, format: &Format) -> String {
        let status = format.status;
        let reason = if status == 200 { "OK" } else { "Simulated" };
        let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
        head += &format!("{}: {}\r\n", ledger::EXECUTION, self.execution);
        // HEAD and 304 say how the content of the answer to a GET would be framed.
        match format.framing {
            _ if status == 204 => {}
            Framing::Length if status == 205 => head += "content-length: 0\r\n",
            Framing::Length => {
                head += &format!("content-length: {}\r\n", self.request.wire.answer_bytes);
            }
            Framing::Chunked => head += "transfer-encoding: chunked\r\n",
            Framing::Close => {}
        }
        if format.trailer.is_some() {
            head += &format!("trailer: {}\r\n", ledger::TRAILER);
        }
        if format.closes {
            head += "connection: close\r\n";
        }
        head + "\r\n"
    }

    /// True if the head is the whole answer.
    fn ends_with_head(&self, format: &Format) -> bool {
        has_no_content(self.method, format.status)
            || (format.framing == Framing::Length && format.length == 0)
    }

    async fn write_content(
        &self,
        writer: &mut (impl AsyncWrite + Unpin),
        format: &Format,
    ) -> io::Result<()> {
        let (hub, start) = (&self.state.hub, self.state.hub.now());
        let took = self.draw(1, self.state.plan.body);
        let (body, chunked) = (Body::Response(self.execution), format.framing == Framing::Chunked);
        for piece in Pieces::new(format.length, self.request.wire.piece_bytes, took) {
            sleep_until(hub, start.saturating_add(piece.due)).await;
            self.state.may_continue().await;
            let bytes = body.piece(piece.from, piece.length);
            write_piece(writer, &bytes, chunked, |written| self.note_written(written)).await?;
        }
        sleep_until(hub, start.saturating_add(took.saturating_mul(1_000))).await;
        match format.framing {
            Framing::Length => Ok(()),
            Framing::Chunked => {
                self.state.may_continue().await;
                let trailer = format.trailer.as_deref().map(|value| (ledger::TRAILER, value));
                write(writer, &last_chunk(trailer)).await
            }
            Framing::Close => {
                self.state.may_continue().await;
                writer.shutdown().await
            }
        }
    }

    fn note_written(&self, bytes: u64) {
        let hub = &self.state.hub;
        hub.ledger.update(self.execution, |execution| {
            execution.answer.as_mut().expect("its head was written").wrote(bytes, hub.now());
        });
    }

    fn note_end(&self) {
        self.state.note_answered();
        let hub = &self.state.hub;
        hub.ledger.update(self.execution, |execution| {
            execution.answer.as_mut().expect("its head was written").ended = Some(hub.now());
        });
    }

    fn key(&self) -> u64 {
        u64::from(self.state.backend) << 32 | u64::from(self.state.number)
    }

    /// A time of this answer in microseconds.
    fn draw(&self, ordinal: u64, span: Span) -> u64 {
        let ordinal = u64::from(self.state.stream()) << 1 | ordinal;
        let draws = self.state.hub.draws;
        draws.between(Domain::Http1Work, self.key(), ordinal, span.least_us, span.most_us)
    }

    fn unread(&self) -> Unread {
        let (draws, stream) = (self.state.hub.draws, u64::from(self.state.stream()));
        match draws.between(Domain::Http1Unread, self.key(), stream, 0, 3) {
            0 | 1 => Unread::Read,
            2 => Unread::Close,
            _ => Unread::CloseUnannounced,
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    write_piece(writer, text.as_bytes(), false, |_| {}).await
}
