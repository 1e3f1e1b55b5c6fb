//! The application behind an HTTP/2 backend: it answers one request.

use std::rc::Rc;

use bytes::Bytes;

use super::session::Session;
use crate::plan::{Code, Moment};
use crate::proxy::exact::sleep;
use crate::proxy::peers::exchange::{Choice, Exchange};
use crate::proxy::peers::frames::Fields;
use crate::proxy::peers::pace::{Gone, Sink, write_body};

/// Works on a request and writes the answer.
pub(crate) async fn answer(session: Rc<Session>, id: u32, exchange: Rc<Exchange>) {
    let mut stream = AnswerStream { session: &session, id, exchange: &exchange, length: 0 };
    sleep(exchange.work()).await;
    stream.goes_on().await;
    let Some(script) = exchange.script() else { return };
    stream.length = script.length;
    for informational in &script.informational {
        session.send_head(id, informational, false, false);
    }
    let hub = &session.service.hub;
    let begin = hub.now();
    let ends_at_once = script.ends_at_once();
    session.send_head(id, &script.head, script.trailers.is_some(), ends_at_once);
    let along = exchange.chance(Choice::Along, 0, 2) && !exchange.is_awaited(Moment::Answered);
    if !along {
        stream.head_written(&exchange).await;
    }
    if !ends_at_once && write_body(hub, &exchange, &script, begin, &mut stream).await.is_err() {
        return;
    }
    if exchange.has_ended() {
        session.finish(id);
    } else if exchange.chance(Choice::ResetsRest, 0, 2) {
        // RFC 9113, 8.1: the rest of the request is not wanted.
        session.send_reset(id, Code::NoError.number());
        session.finish(id);
    }
}

/// The writing side of a stream.
struct AnswerStream<'a> {
    session: &'a Session,
    id: u32,
    exchange: &'a Exchange,
    /// Bytes of the body.
    length: u64,
}

impl AnswerStream<'_> {
    /// Waits until the head was handed to the network.
    async fn head_written(&self, exchange: &Exchange) {
        loop {
            let recorded = self.session.output.recorded.notified();
            if exchange.has_written_head() {
                return;
            }
            recorded.await;
        }
    }
}

impl Sink for AnswerStream<'_> {
    async fn goes_on(&mut self) {
        loop {
            let changed = self.session.changed.notified();
            if !self.session.never_finishes(self.id) {
                return;
            }
            changed.await;
        }
    }

    async fn data(&mut self, data: Bytes, end: bool) -> Result<(), Gone> {
        let crumb = self.exchange.crumb(self.length, data.len());
        let mut rest = data;
        loop {
            let changed = self.session.changed.notified();
            let room = self.session.room(self.id).min(rest.len());
            if room == 0 && !rest.is_empty() {
                self.exchange.waits(true);
                changed.await;
                self.exchange.waits(false);
                continue;
            }
            let piece = rest.split_to(room);
            self.session.send_data(self.id, &piece, end && rest.is_empty(), crumb);
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    async fn trailers(&mut self, trailers: &Fields) -> Result<(), Gone> {
        self.session.send_trailers(self.id, trailers);
        Ok(())
    }
}
