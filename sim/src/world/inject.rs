//! Directives: their triggers and effects.

use super::World;
use super::tables::{DialFate, Event, NEVER, NONE, Scope};
use crate::coverage::{BackendAs, ConnectionAs, sometimes};
use crate::faults::Family;
use crate::plan::{Act, Code, LastId, When};
use crate::trace::What;
use baton::pool::{BackendState, Input, ShutdownCause, SlotState};

impl World<'_> {
    /// A moment was reached: injects its directives, now or later.
    pub(super) fn trigger(&mut self, when: When, scope: Scope) {
        if self.is_healed() {
            return;
        }
        let plan = self.plan;
        for (index, directive) in plan.directives.iter().enumerate() {
            if directive.when != when {
                continue;
            }
            let since = if when == When::Start { 0 } else { self.now };
            let at = since + directive.after_us * 1_000;
            if at > self.now {
                self.schedule(at, Event::Fire(index as u32, scope));
            } else if at == self.now {
                self.inject(index as u32, scope);
            }
        }
    }

    /// Injects a directive, unless faults have stopped.
    pub(super) fn inject(&mut self, directive: u32, scope: Scope) {
        if self.is_healed() {
            return;
        }
        let act = self.plan.directives[directive as usize].act;
        let family = self.plan.directives[directive as usize].family;
        self.note(What::Injected(directive));
        self.injected(family, scope.link);
        match act {
            // This world has neither bytes nor files.
            Act::Wire { .. } | Act::Process { .. } => {}
            Act::Cancel
            | Act::ClientStopsReading { .. }
            | Act::StarveUpload { .. }
            | Act::NeverFinish
            | Act::Status { .. }
            | Act::Reset { .. } => self.inject_into_exchange(act, scope),
            Act::Add { .. }
            | Act::Remove { .. }
            | Act::Drain { .. }
            | Act::Undrain { .. }
            | Act::Weight { .. }
            | Act::Change { .. }
            | Act::ChangeAll { .. }
            | Act::HealthChecks { .. } => self.inject_into_configuration(act),
            Act::Replay { .. }
            | Act::HoldReports { .. }
            | Act::LateTimers { .. }
            | Act::EarlyTimeout
            | Act::StaleInput { .. }
            | Act::ClockForward { .. }
            | Act::ClockBack { .. }
            | Act::Shutdown
            | Act::Replace => self.inject_into_shell(act, scope),
            Act::Restart { .. }
            | Act::DisconnectAll
            | Act::Unreachable { .. }
            | Act::SwitchProtocol { .. } => self.inject_into_backend(act),
            Act::BlackHole { .. }
            | Act::Settings { .. }
            | Act::GoAway { .. }
            | Act::Break
            | Act::BreakAtPreface
            | Act::FailDial { .. }
            | Act::StallDial { .. }
            | Act::StopReading { .. } => {
                if scope.link != NONE {
                    self.inject_into_link(act, scope.link);
                }
            }
        }
    }

    fn inject_into_link(&mut self, act: Act, link: u32) {
        match act {
            Act::BlackHole { to_backend, from_backend } => {
                self.black_hole(link, to_backend, from_backend);
            }
            Act::Settings { max_streams } => self.settings(link, max_streams),
            Act::GoAway { last, code } => {
                let read = self.links[link as usize].highest_read;
                let last = match last {
                    LastId::Greatest => u32::MAX >> 1,
                    LastId::Read => read,
                    LastId::Zero => 0,
                    LastId::BelowRead => read.saturating_sub(2),
                    LastId::AboveRead => read + 2,
                };
                self.go_away(link, last, code.number());
            }
            Act::Break => self.break_link(link),
            Act::BreakAtPreface => self.links[link as usize].fate = DialFate::BreaksAtPreface,
            Act::FailDial { stage } => self.links[link as usize].fate = DialFate::Fails(stage),
            Act::StallDial { for_us, .. } => {
                self.links[link as usize].fate = DialFate::Stalls(nanoseconds(for_us));
            }
            Act::StopReading { for_us } => self.stop_reading(link, nanoseconds(for_us)),
            _ => unreachable!("not an act on a connection"),
        }
    }

    fn inject_into_exchange(&mut self, act: Act, scope: Scope) {
        let until = |for_us| self.now.saturating_add(nanoseconds(for_us));
        match act {
            Act::Cancel => self.cancel(scope.request),
            Act::ClientStopsReading { for_us } if scope.request != NONE => {
                self.requests[scope.request as usize].reads_from = until(for_us);
            }
            Act::StarveUpload { for_us } if scope.exchange != NONE => {
                let until = until(for_us);
                let state = &mut self.exchanges[scope.exchange as usize];
                state.upload_from = until.max(state.upload_from);
                let (stream, over) = (state.token, state.reported || state.sent);
                if !over {
                    self.tell_stream(scope.exchange, Input::UploadBlocked { stream });
                }
            }
            Act::NeverFinish if scope.exchange != NONE => {
                self.exchanges[scope.exchange as usize].never_finishes = true;
            }
            Act::Status { status } if scope.exchange != NONE => {
                self.exchanges[scope.exchange as usize].status = status;
            }
            Act::Reset { code } if scope.exchange != NONE => {
                let exchange = self.present_exchange(scope.exchange);
                self.reset(exchange, code.number());
            }
            _ => {}
        }
    }

    /// The exchange that a reset concerns. In a comparison, that of one that is over on HTTP/1.1
    /// breaks the connection under the next one: the backends of the proxy's world do so.
    fn present_exchange(&self, exchange: u32) -> u32 {
        let state = &self.exchanges[exchange as usize];
        let link = &self.links[state.link as usize];
        let passes_on = self.guide.is_some() && link.http1 && state.done;
        link.exchanges.last().copied().filter(|_| passes_on).unwrap_or(exchange)
    }

    fn cancel(&mut self, request: u32) {
        if request == NONE {
            return;
        }
        let state = &mut self.requests[request as usize];
        let Some(id) = state.id.filter(|_| !state.cancelled) else {
            return;
        };
        state.cancelled = true;
        self.tell_client(request, Input::RequestCancelled { request: id });
    }

    fn inject_into_shell(&mut self, act: Act, scope: Scope) {
        match act {
            Act::Replay { back, count } => {
                let from = self.history.len().saturating_sub(back as usize);
                let to = self.history.len().min(from + count as usize);
                for place in from..to {
                    let mut input = self.history[place];
                    if let Input::FrameReceived { carries_message, .. } = &mut input {
                        // The pool would be free to send PINGs that its peer does not tolerate.
                        *carries_message = false;
                    }
                    self.schedule(self.now + 1, Event::Tell(input));
                }
            }
            Act::HoldReports { for_us } => {
                let until = self.now + for_us * 1_000;
                if scope.exchange != NONE {
                    let lane = &mut self.exchanges[scope.exchange as usize].tell_at;
                    *lane = until.max(*lane);
                } else if scope.link != NONE {
                    let lane = &mut self.links[scope.link as usize].tell_at;
                    *lane = until.max(*lane);
                }
            }
            Act::LateTimers { by_us, for_us } => {
                self.timers_late = (self.now + for_us * 1_000, by_us * 1_000);
            }
            Act::EarlyTimeout => self.schedule(self.now, Event::Tell(Input::Timeout)),
            Act::StaleInput { fact } => self.schedule(self.now, Event::StaleInput(fact, scope)),
            Act::ClockForward { by_us } => self.now += by_us * 1_000,
            Act::ClockBack { by_us, for_us } => {
                // Not before its beginning: a clock that stands still there makes the next deadline
                // due at each microsecond.
                let by = (by_us * 1_000).min(self.now);
                self.clock_back = (self.now + for_us * 1_000, by);
                sometimes!(self.coverage, ClockBack, true);
            }
            Act::Shutdown => {
                let cause = ShutdownCause::ProcessEnds;
                self.shutdown = Some(cause);
                self.schedule(self.now, Event::Tell(Input::ShutdownRequested { cause }));
            }
            Act::Replace => {
                let cause = ShutdownCause::PoolReplaced;
                self.shutdown.get_or_insert(cause);
                self.schedule(self.now, Event::Tell(Input::ShutdownRequested { cause }));
            }
            _ => unreachable!("not an act on the shell"),
        }
    }

    fn inject_into_backend(&mut self, act: Act) {
        match act {
            Act::Restart { backend, graceful, down_us } => {
                let until = self.now + down_us * 1_000;
                let server = &mut self.servers[usize::from(backend)];
                server.down_until = until.max(server.down_until);
                server.hangs = false;
                if !graceful {
                    self.break_all(backend);
                    return;
                }
                for index in self.links_of(backend) {
                    let last = self.links[index as usize].highest_read;
                    self.go_away(index, last, Code::NoError.number());
                }
                self.schedule(self.now + down_us * 500, Event::BreakAll(backend));
            }
            Act::DisconnectAll => {
                let full =
                    self.pool.stats().waiting as usize >= self.plan.pool.config.limits.waiting;
                sometimes!(self.coverage, DisconnectWithFullQueue, full);
                for backend in 0..self.servers.len() {
                    self.break_all(backend as u16);
                }
                self.fail_dials();
            }
            Act::Unreachable { backend, hangs, for_us } => {
                let server = &mut self.servers[usize::from(backend)];
                server.down_until = self.now + for_us * 1_000;
                server.hangs = hangs;
                for index in self.links_of(backend) {
                    self.black_hole(index, true, true);
                }
            }
            Act::SwitchProtocol { backend, http1 } => {
                let changed = self.servers[usize::from(backend)].http1 != http1;
                self.servers[usize::from(backend)].http1 = http1;
                if changed && http1 {
                    sometimes!(self.coverage, ProtocolSwitched, true);
                    for index in self.links_of(backend) {
                        for place in 0..self.links[index as usize].exchanges.len() {
                            let exchange = self.links[index as usize].exchanges[place];
                            self.reset(exchange, Code::Http11Required.number());
                        }
                    }
                }
            }
            _ => unreachable!("not an act on a backend"),
        }
    }

    pub(super) fn links_of(&self, backend: u16) -> Vec<u32> {
        let own = |(index, link): (usize, &super::Link)| {
            (link.backend == backend && !link.over).then_some(index as u32)
        };
        self.links.iter().enumerate().filter_map(own).collect()
    }

    /// Counts an injected fault, with the state of the connection it hit.
    pub(super) fn injected(&mut self, family: Family, link: u32) {
        let met = if link == NONE {
            ConnectionAs::Gone
        } else {
            let link = &self.links[link as usize];
            let state = self.pool.slot_state(link.token.backend, link.token.slot);
            match state {
                _ if self.slots[self.slot_place(link.token)] == NONE => ConnectionAs::Gone,
                _ if link.over && state == Some(SlotState::Draining) => ConnectionAs::Lost,
                None | Some(SlotState::Empty) => ConnectionAs::Gone,
                Some(SlotState::Connecting) => ConnectionAs::Connecting,
                Some(SlotState::Available) => ConnectionAs::Available,
                Some(SlotState::InUse) => ConnectionAs::InUse,
                Some(SlotState::Suspect) => ConnectionAs::Suspect,
                Some(SlotState::Draining) => ConnectionAs::Draining,
            }
        };
        if met == ConnectionAs::Gone {
            return self.coverage.fault(family);
        }
        let link = &mut self.links[link as usize];
        let before = link.last_fault.replace(family);
        let view = self.pool.backend(link.token.backend);
        let service = match view.map(|view| view.state) {
            None => BackendAs::Gone,
            Some(BackendState::Draining) => BackendAs::Draining,
            Some(BackendState::Removed) => BackendAs::Removed,
            Some(_) => BackendAs::InService,
        };
        self.coverage.fault_on(family, met, service, before);
    }
}

/// Converts to nanoseconds; `None` means never.
fn nanoseconds(time_us: Option<u64>) -> u64 {
    time_us.map_or(NEVER, |time| time * 1_000)
}
