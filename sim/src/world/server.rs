//! The model backends: they obey RFC 9113, process what they read, and count what they execute.

use super::tables::{Event, NEVER, in_turn};
use super::{DownFrame, UpFrame, World};
use crate::checker::{Invariant, Verdict, fail, require};
use crate::coverage::sometimes;
use crate::draw::Domain;
use crate::faults::Family;
use crate::ping_rule::{self, PingRule};
use crate::plan::{Code, Moment, Poison};
use crate::trace::What;

impl World<'_> {
    /// Handles a frame that arrives at the backend.
    pub(super) fn read(&mut self, index: u32, frame: UpFrame) -> Verdict {
        if self.links[index as usize].server_gone {
            return Ok(());
        }
        self.note(What::Read(index, frame));
        match frame {
            UpFrame::Headers(exchange) => return self.read_headers(index, exchange),
            UpFrame::BodyEnd(exchange) => return self.read_body(index, exchange),
            UpFrame::Reset(exchange) => self.read_reset(index, exchange),
            UpFrame::Ping => return self.read_ping(index),
            UpFrame::SettingsAck(allowed) => self.links[index as usize].acknowledged = allowed,
            UpFrame::Close => {
                self.links[index as usize].server_gone = true;
                self.abort_all(index);
            }
        }
        Ok(())
    }

    fn read_headers(&mut self, index: u32, exchange: u32) -> Verdict {
        let id = self.exchanges[exchange as usize].stream_id;
        let link = &mut self.links[index as usize];
        // RFC 9113, 6.8: streams above the last id are ignored.
        if link.go_away_last.is_some_and(|last| id > last) {
            return Ok(());
        }
        link.highest_read = link.highest_read.max(id);
        link.streams_read += 1;
        link.open += 1;
        self.exchanges[exchange as usize].read = true;
        let link = &self.links[index as usize];
        // The backends of the proxy's world do not wait for the acknowledgement of a lower limit.
        let acknowledged = if self.guide.is_some() { 0 } else { link.acknowledged };
        if !link.http1 && link.open > link.allowed.max(acknowledged) {
            sometimes!(self.coverage, RefusedStream, true);
            self.reset(exchange, Code::Refused.number());
            if self.guide.is_some() {
                self.go_away_when_spent(index);
            }
            return Ok(());
        }
        self.trigger_exchange(exchange, Moment::Read);
        if !self.exchanges[exchange as usize].done {
            self.execute(exchange)?;
            if self.fails_poisoned(index, exchange) {
                return Ok(());
            }
            let request = self.exchanges[exchange as usize].request;
            let plan = self.request_plan(request);
            if plan.body_us.is_none() || plan.early_response {
                if plan.early_response && plan.body_us.is_some() {
                    self.injected(Family::OddResponse, index);
                }
                self.work(exchange);
            }
        }
        self.go_away_when_spent(index);
        Ok(())
    }

    /// Fails a request that every backend fails. Returns false for any other.
    fn fails_poisoned(&mut self, index: u32, exchange: u32) -> bool {
        let request = self.exchanges[exchange as usize].request;
        let Some(poison) = self.request_plan(request).poison else { return false };
        self.injected(Family::Poison, index);
        match poison {
            Poison::Reset(code) => self.reset(exchange, code.number()),
            Poison::Close => self.break_link(index),
            Poison::Malformed => {
                self.send(index, DownFrame::Malformed(exchange));
                self.finish_exchange(index, exchange);
            }
        }
        true
    }

    /// The request reaches the application.
    fn execute(&mut self, exchange: u32) -> Verdict {
        let state = &mut self.exchanges[exchange as usize];
        state.executed = true;
        let id = state.id;
        let request = &mut self.requests[state.request as usize];
        request.executions += 1;
        let (executions, idempotent) = (request.executions, request.idempotent);
        require(executions == 1 || idempotent || request.lied_to, Invariant::AtMostOnce, || {
            format!("{id:?} is not idempotent and reached an application {executions} times")
        })
    }

    fn work(&mut self, exchange: u32) {
        let link = self.exchanges[exchange as usize].link;
        let backend = self.links[link as usize].backend;
        let span = self.servers[usize::from(backend)].plan.work;
        let took = self.link_delay(link, Domain::Work, span);
        self.schedule(self.now + took, Event::Head(exchange));
    }

    fn read_body(&mut self, index: u32, exchange: u32) -> Verdict {
        let state = &mut self.exchanges[exchange as usize];
        state.body_read = true;
        let (read, done, complete) = (state.read, state.done, state.complete);
        let plan = self.request_plan(self.exchanges[exchange as usize].request);
        if !read || done {
            return Ok(());
        }
        let request = self.exchanges[exchange as usize].request;
        let whole = self.requests[request as usize].whole_body;
        require(whole.is_none_or(|whole| whole == exchange), Invariant::Retry, || {
            let id = self.exchanges[exchange as usize].id;
            format!("{id:?} reached a backend without the part of its body beyond the buffer")
        })?;
        if complete {
            self.finish_exchange(index, exchange);
        } else if !plan.early_response {
            self.work(exchange);
        }
        Ok(())
    }

    fn read_reset(&mut self, index: u32, exchange: u32) {
        let state = &self.exchanges[exchange as usize];
        if state.read && !state.done {
            self.finish_exchange(index, exchange);
        }
    }

    fn read_ping(&mut self, index: u32) -> Verdict {
        let link = &mut self.links[index as usize];
        let strikes = link.ping_rule.ping(self.now);
        if let Some(violation) = ping_rule::violation(strikes) {
            return fail(Invariant::PingBudget, format!("connection {index}: {violation}"));
        }
        let most = self.servers[usize::from(link.backend)].plan.ping_strikes;
        if most.is_some_and(|most| strikes >= most) {
            link.ping_rule = PingRule::default();
            let last = link.highest_read;
            sometimes!(self.coverage, EnhanceYourCalm, true);
            self.injected(Family::PingStrikes, index);
            self.go_away(index, last, Code::EnhanceYourCalm.number());
            return Ok(());
        }
        self.send(index, DownFrame::Pong);
        Ok(())
    }

    /// Returns the link of an exchange whose response continues now. Marks a response that does
    /// not continue until faults stop.
    fn continues(&mut self, exchange: u32) -> Option<u32> {
        let state = &mut self.exchanges[exchange as usize];
        if state.done || self.links[state.link as usize].server_gone {
            return None;
        }
        state.waits_to_heal |= state.never_finishes;
        (!state.never_finishes).then_some(state.link)
    }

    /// The response head is ready.
    pub(super) fn head(&mut self, exchange: u32) {
        let Some(index) = self.continues(exchange) else { return };
        let state = &mut self.exchanges[exchange as usize];
        state.head_sent = true;
        let request = state.request;
        let plan = self.request_plan(request);
        for _ in 0..plan.informational {
            self.injected(Family::OddResponse, index);
            self.send(index, DownFrame::Informational(exchange));
        }
        self.send(index, DownFrame::Head(exchange));
        self.trigger_exchange(exchange, Moment::Answered);
        let backend = self.links[index as usize].backend;
        let span = self.servers[usize::from(backend)].plan.body;
        let took = self.link_delay(index, Domain::Work, span);
        if took > 1_000_000 {
            self.schedule(self.now + took / 2, Event::Data(exchange));
        }
        self.schedule(self.now + took, Event::End(exchange));
    }

    /// Sends part of the response's body.
    pub(super) fn data(&mut self, exchange: u32) {
        let state = &self.exchanges[exchange as usize];
        let index = state.link;
        if !state.done && !state.never_finishes && !self.links[index as usize].server_gone {
            self.send(index, DownFrame::Data(exchange));
        }
    }

    /// The response is complete.
    pub(super) fn end(&mut self, exchange: u32) {
        let Some(index) = self.continues(exchange) else { return };
        let state = &mut self.exchanges[exchange as usize];
        state.complete = true;
        let request = state.request;
        let has_body = self.request_plan(request).body_us.is_some();
        let unread = has_body && !self.exchanges[exchange as usize].body_read;
        self.send(index, DownFrame::End(exchange));
        self.trigger_exchange(exchange, Moment::Ended);
        if !unread {
            self.finish_exchange(index, exchange);
            if self.links[index as usize].closes {
                self.close_when_idle(index);
            }
        } else if self.links[index as usize].http1 {
            // The backend would read the rest of the request as the next request.
            self.send(index, DownFrame::Close);
            self.links[index as usize].server_gone = true;
        }
    }

    /// The backend resets a stream.
    pub(super) fn reset(&mut self, exchange: u32, code: u32) {
        let state = &self.exchanges[exchange as usize];
        let index = state.link;
        if !state.read || state.done || self.links[index as usize].server_gone {
            return;
        }
        if state.executed && code == Code::Refused.number() {
            self.requests[state.request as usize].lied_to = true;
        }
        if self.links[index as usize].http1 {
            self.break_link(index);
            return;
        }
        self.send(index, DownFrame::Reset(exchange, code));
        self.finish_exchange(index, exchange);
    }

    /// The backend has finished a stream.
    fn finish_exchange(&mut self, index: u32, exchange: u32) {
        let state = &mut self.exchanges[exchange as usize];
        if std::mem::replace(&mut state.done, true) {
            return;
        }
        let link = &mut self.links[index as usize];
        link.open -= 1;
        self.close_when_drained(index);
    }

    /// Closes the connection after GOAWAY once its streams are done.
    fn close_when_drained(&mut self, index: u32) {
        let link = &self.links[index as usize];
        let drained = link.open == 0 && link.go_away_last.is_some_and(|last| last < u32::MAX >> 1);
        if drained && !link.server_gone && !self.never_closes(index) {
            self.send(index, DownFrame::Close);
            self.links[index as usize].server_gone = true;
        }
    }

    fn never_closes(&self, index: u32) -> bool {
        let exchanges = &self.links[index as usize].exchanges;
        exchanges.iter().any(|exchange| self.exchanges[*exchange as usize].never_finishes)
    }

    /// The backend sends GOAWAY, and ignores the streams above its last id.
    pub(super) fn go_away(&mut self, index: u32, last: u32, code: u32) {
        let link = &mut self.links[index as usize];
        if !link.up || link.server_gone {
            return;
        }
        if link.http1 {
            self.close_when_idle(index);
            return;
        }
        let before = link.go_away_last;
        sometimes!(self.coverage, GoAwayFell, before.is_some_and(|before| last < before));
        sometimes!(self.coverage, GoAwayRose, before.is_some_and(|before| last > before));
        let in_force = before.map_or(last, |before| before.min(last));
        self.links[index as usize].go_away_last = Some(in_force);
        self.send(index, DownFrame::GoAway(last, code));
        for place in 0..self.links[index as usize].exchanges.len() {
            let exchange = self.links[index as usize].exchanges[place];
            let state = &self.exchanges[exchange as usize];
            if !state.read || state.stream_id <= in_force {
                continue;
            }
            if state.executed {
                self.requests[state.request as usize].lied_to = true;
            }
            if state.done {
                continue;
            }
            self.exchanges[exchange as usize].done = true;
            self.links[index as usize].open -= 1;
        }
        self.close_when_drained(index);
    }

    /// An HTTP/1.1 backend announces the end of its connection, in a comparison: the backends of
    /// the proxy's world do so where another one sends GOAWAY.
    fn close_when_idle(&mut self, index: u32) {
        let is_compared = self.guide.is_some();
        let link = &mut self.links[index as usize];
        link.closes |= is_compared;
        if link.closes && link.open == 0 {
            self.send(index, DownFrame::Close);
            self.links[index as usize].server_gone = true;
        }
    }

    fn go_away_when_spent(&mut self, index: u32) {
        let link = &self.links[index as usize];
        let most = self.servers[usize::from(link.backend)].plan.streams_per_connection;
        if most == Some(link.streams_read) {
            let last = link.highest_read;
            self.go_away(index, last, Code::NoError.number());
        }
    }

    /// The backend sends its late first SETTINGS.
    pub(super) fn late_settings(&mut self, index: u32) {
        let backend = self.links[index as usize].backend;
        let allowed = self.servers[usize::from(backend)].max_streams();
        self.injected(Family::LateSettings, index);
        self.settings(index, allowed);
    }

    pub(super) fn settings(&mut self, index: u32, allowed: u32) {
        let link = &mut self.links[index as usize];
        if !link.up || link.server_gone || link.http1 {
            return;
        }
        link.allowed = allowed;
        self.send(index, DownFrame::Settings(allowed));
    }

    /// The connection breaks; both ends detect it unless the path is dead.
    pub(super) fn break_link(&mut self, index: u32) {
        if self.links[index as usize].server_gone || !self.links[index as usize].up {
            return;
        }
        self.send(index, DownFrame::Close);
        self.links[index as usize].server_gone = true;
        self.abort_all(index);
    }

    pub(super) fn break_all(&mut self, backend: u16) {
        for index in 0..self.links.len() {
            if self.links[index].backend == backend {
                self.break_link(index as u32);
            }
        }
    }

    fn abort_all(&mut self, index: u32) {
        for place in 0..self.links[index as usize].exchanges.len() {
            let exchange = self.links[index as usize].exchanges[place];
            self.exchanges[exchange as usize].done = true;
        }
    }

    /// Sends a frame to the shell.
    fn send(&mut self, index: u32, frame: DownFrame) {
        let link = &self.links[index as usize];
        if link.server_gone {
            return;
        }
        self.note(What::Answered(index, frame));
        let gap = self.gap();
        let delay = self.link_delay(index, Domain::Wire, self.plan.network.wire);
        let link = &mut self.links[index as usize];
        if frame.carries_message() {
            link.ping_rule.message_sent();
        }
        if !link.drops_down {
            let at = in_turn(&mut link.down_at, self.now + delay, gap);
            self.schedule(at, Event::Down(index, frame));
        }
    }

    /// The path is dead one way or both; the system detects it after its own timeout.
    pub(super) fn black_hole(&mut self, index: u32, to_backend: bool, from_backend: bool) {
        let link = &mut self.links[index as usize];
        if link.over {
            return;
        }
        link.drops_up |= to_backend;
        link.drops_down |= from_backend;
        let dead = self.plan.network.dead_path_us * 1_000;
        self.schedule(self.now + dead, Event::DeadPath(index));
    }

    pub(super) fn stop_reading(&mut self, index: u32, for_ns: u64) {
        let link = &mut self.links[index as usize];
        let until = self.now.saturating_add(for_ns).max(link.reads_from);
        link.reads_from = until;
        if until != NEVER {
            self.schedule(until, Event::ResumeReading(index));
        }
    }
}
