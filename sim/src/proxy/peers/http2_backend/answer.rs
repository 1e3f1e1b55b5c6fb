//! The application behind an HTTP/2 backend: it answers one request.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::session::Session;
use crate::plan::{Code, Moment};
use crate::proxy::peers::exchange::{Choice, Exchange, Script};

/// Works on a request and writes the answer.
pub(crate) async fn answer(session: Rc<Session>, id: u32, exchange: Rc<Exchange>) {
    sleep(exchange.work()).await;
    session.goes_on(id).await;
    let Some(script) = exchange.script() else { return };
    for informational in &script.informational {
        session.send_head(id, informational, false, false);
    }
    let begin = session.service.hub.now();
    let trailers = script.trailers.is_some();
    let ends_at_once = script.length == 0 && !trailers && script.time.is_zero();
    session.send_head(id, &script.head, trailers, ends_at_once);
    let along = exchange.chance(Choice::Along, 0, 2) && !exchange.is_awaited(Moment::Answered);
    if !along {
        session.wrote_head(&exchange).await;
    }
    if !ends_at_once {
        Body { session: &session, id, exchange: &exchange, script: &script, begin }.write().await;
    }
    if exchange.has_ended() {
        session.finish(id);
    } else if exchange.chance(Choice::ResetsRest, 0, 2) {
        // RFC 9113, 8.1: the rest of the request is not wanted.
        session.send_reset(id, Code::NoError.number());
        session.finish(id);
    }
}

/// A body that is being written.
struct Body<'a> {
    session: &'a Rc<Session>,
    id: u32,
    exchange: &'a Exchange,
    script: &'a Script,
    /// When the head was written.
    begin: u64,
}

impl Body<'_> {
    /// Writes the body in its pieces, evenly over its time, and the end.
    async fn write(&self) {
        let Script { length, piece, trailers, .. } = self.script;
        let alone = self.exchange.chance(Choice::EndAlone, 0, 2) || *length == 0;
        let with_last = trailers.is_none() && !alone;
        let pieces = if *length == 0 { 0 } else { length.div_ceil(*piece) };
        for number in 0..pieces {
            let last = number + 1 == pieces;
            let part = if last && with_last { pieces } else { number };
            self.wait(part, pieces).await;
            if self.exchange.chance(Choice::EmptyData, number, 16) {
                self.session.send_data(self.id, &[], false);
            }
            let from = number * piece;
            let size = (length - from).min(*piece) as usize;
            self.write_piece(from, size, last && with_last).await;
        }
        if with_last {
            return;
        }
        self.wait(1, 1).await;
        match trailers {
            Some(trailers) => self.session.send_trailers(self.id, trailers),
            None => self.session.send_data(self.id, &[], true),
        }
    }

    /// Waits until a share of the time has passed, and while the answer does not go on.
    async fn wait(&self, part: u64, of: u64) {
        let time = self.script.time.as_nanos() as u64;
        let at = self.begin + (u128::from(time) * u128::from(part) / u128::from(of)) as u64;
        let now = self.session.service.hub.now();
        if at > now {
            sleep(Duration::from_nanos(at - now)).await;
        }
        self.session.goes_on(self.id).await;
    }

    /// Writes a piece as the windows allow.
    async fn write_piece(&self, from: u64, size: usize, end: bool) {
        let mut done = 0;
        while done < size {
            let changed = self.session.changed.notified();
            let room = self.session.room(self.id).min(size - done);
            if room == 0 {
                changed.await;
                continue;
            }
            let data = self.script.body.piece(from + done as u64, room);
            done += room;
            self.session.send_data(self.id, &data, end && done == size);
        }
    }
}

impl Session {
    /// Waits while the answer of a stream does not go on.
    async fn goes_on(&self, id: u32) {
        loop {
            let changed = self.changed.notified();
            if self.streams.borrow().get(&id).is_none_or(|stream| !stream.never_finishes) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the head of an answer was handed to the network.
    async fn wrote_head(&self, exchange: &Exchange) {
        loop {
            let recorded = self.output.recorded.notified();
            if exchange.has_written_head() {
                return;
            }
            recorded.await;
        }
    }
}
