//! The acts that may be the reason for what happened to one request. Those that concern only other
//! requests, clients or streams are none.

use std::time::Duration;

use super::case::{Case, Request};
use super::line::AccessLine;
use crate::plan::{Act, Health, ProcessAct, When, WireEffect};
use crate::proxy::settings;

/// A pool that a reload replaced has so many times `timeouts.drain` (`docs/drain.md`).
const DRAINS_OF_A_REPLACED_POOL: u32 = 20;
/// The longest wait of a client for `100 Continue`.
pub(super) const EXPECTATION: Duration = Duration::from_secs(1);

impl Case<'_> {
    /// True if the proxy may have been shutting down until a time, or a pool that was replaced has
    /// reached its deadline.
    pub(super) fn may_shut_down(&self, until: u64) -> bool {
        let drain = self.plan.pool.config.timeouts.drain * DRAINS_OF_A_REPLACED_POOL;
        let deadline = u64::try_from(drain.as_nanos()).unwrap_or(u64::MAX);
        until >= self.records.healed_at
            || self.injected.iter().any(|(at, _, act)| match act {
                Act::Shutdown => *at <= until,
                Act::Replace => at.saturating_add(deadline) <= until,
                _ => false,
            })
    }

    /// True if there may be a reason that a request is answered late until a time: its backends,
    /// the network, its client, or timeouts that leave no time.
    pub(super) fn may_be_late(&self, request: &Request, until: u64) -> bool {
        let broken = self.plan.heal.backends.iter().any(|health| *health != Health::Well);
        !self.plan.is_patient()
            || self.closes_by_itself()
            || (broken && until >= self.records.healed_at)
            || self.is_disturbed(request, until)
    }

    /// True if the client of a request may send its body slower than the proxy wants it.
    pub(super) fn may_send_slowly(&self, request: &Request, until: u64) -> bool {
        let planned = self.plan.requests.iter().find(|planned| planned.id == request.id);
        let Some(planned) = planned else { return true };
        let config = &self.plan.pool.config;
        let takes = Duration::from_micros(planned.body_us.unwrap_or(0))
            + Duration::from_micros(8 * self.plan.network.wire.most_us)
            + if planned.wire.expects { EXPECTATION } else { Duration::ZERO };
        // The proxy reports progress a few times within each timeout only.
        config.body_rate_min > 0
            || 2 * takes >= config.timeouts.body_stall
            || self.may_be_late(request, until)
    }

    /// True if there may be a reason that the proxy cuts an answer short.
    pub(super) fn may_cut(&self, request: &Request, line: &AccessLine) -> bool {
        let config = &self.plan.pool.config;
        let begun = line.time(line.first_byte_ms).unwrap_or(line.arrived());
        let stall = config.timeouts.response_stall.as_nanos();
        let age = config.timeouts.max_age.as_nanos();
        self.may_shut_down(line.at)
            || u128::from(line.at.saturating_sub(begun)) >= stall
            || u128::from(line.at) >= age
            || config.body_rate_min > 0
            || config.max_requests_per_connection.is_some()
            || !self.plan.has_time_for_pings()
            || self.closes_by_itself()
            || self.is_disturbed(request, line.at)
    }

    /// True if the connection of a client may lose bytes of an answer that the proxy has written,
    /// or end before it has all of them.
    pub(super) fn may_lose(&self, request: &Request, until: u64) -> bool {
        let patience = settings::client_limits(self.plan).write_stall_timeout.as_micros() as u64;
        let acts = self.injected.iter().any(|(at, when, act)| {
            let harmless = match act {
                Act::Wire { effect, .. } => matches!(
                    effect,
                    WireEffect::Room(_) | WireEffect::Pieces(_) | WireEffect::PiecesAtFrames
                ),
                Act::ClientStopsReading { for_us } => for_us.is_some_and(|it| it < patience),
                _ => false,
            };
            *at <= until && !harmless && self.is_at_client(request, when, act)
        });
        acts || request.sent.client.is_none()
            || request.sent.half_closes
            || self.may_shut_down(until)
    }

    /// True if an act until a time is at the client of a request or on the way to it.
    pub(super) fn is_disturbed_at_client(&self, request: &Request, until: u64) -> bool {
        let mut acts = self.injected.iter();
        acts.any(|(at, when, act)| *at <= until && self.is_at_client(request, when, act))
    }

    /// True if a backend closes connections without a directive.
    fn closes_by_itself(&self) -> bool {
        self.plan.backends.iter().any(|backend| {
            backend.streams_per_connection.is_some() || backend.ping_strikes.is_some()
        })
    }

    /// True if an act until a time may concern a request.
    fn is_disturbed(&self, request: &Request, until: u64) -> bool {
        let mut acts = self.injected.iter();
        acts.any(|(at, when, act)| *at <= until && self.concerns(request, when, act))
    }

    fn concerns(&self, request: &Request, when: &When, act: &Act) -> bool {
        match act {
            // What these change is only how later requests are treated.
            Act::Weight { .. }
            | Act::Change { .. }
            | Act::ChangeAll { .. }
            | Act::Add { .. }
            | Act::Undrain { .. }
            | Act::HealthChecks { .. }
            | Act::Replace => false,
            Act::Process { act } => matches!(act, ProcessAct::Name { .. }),
            Act::Wire { .. } => match when {
                When::Client { .. } | When::AtClient { .. } => {
                    self.is_at_client(request, when, act)
                }
                _ => true,
            },
            Act::Cancel | Act::ClientStopsReading { .. } => self.is_at_client(request, when, act),
            Act::Reset { .. }
            | Act::NeverFinish
            | Act::Status { .. }
            | Act::StarveUpload { .. } => match when {
                When::Request { request: hit, .. } => *hit == request.id,
                When::Stream { .. } => self.carried(when).is_none_or(|hit| hit == request.id),
                _ => true,
            },
            _ => true,
        }
    }

    /// True if an act may be at the client of a request.
    fn is_at_client(&self, request: &Request, when: &When, act: &Act) -> bool {
        let client = request.sent.client.map(|(client, _)| client);
        let of = |id: u32| self.requests.get(&id).and_then(|it| it.sent.client);
        let hit = match when {
            When::Client { client, .. } => Some(*client),
            When::AtClient { request, .. } => of(*request).map(|(client, _)| client),
            _ if !matches!(act, Act::Cancel | Act::ClientStopsReading { .. }) => return false,
            When::Request { request, .. } => of(*request).map(|(client, _)| client),
            _ => self.carried(when).and_then(of).map(|(client, _)| client),
        };
        hit.is_none() || hit == client
    }

    /// The request on a stream, as far as a backend knows it.
    fn carried(&self, when: &When) -> Option<u32> {
        let When::Stream { backend, connection, stream, .. } = when else { return None };
        let place = (*backend, *connection, *stream);
        let mut all = self.executions.iter();
        let on = all.find(|it| (it.backend, it.connection, it.stream) == place);
        on.map(|execution| execution.request)
    }
}
