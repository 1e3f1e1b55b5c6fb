//! The records of a run, by request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::exposition::Samples;
use super::line::{AccessLine, Line, LogLine, read};
use crate::checker::{Invariant, Violation, fail};
use crate::plan::{Act, ClientProtocol, Direction, Health, Plan, RequestPlan, When, WireEffect};
use crate::proxy::ledger::{Execution, RECOVERY, Received, request_of};
use crate::proxy::records::Records;
use crate::proxy::settings::backend_authority;

/// A run with everything that is known of it.
pub(super) struct Case<'a> {
    pub(super) records: &'a Records,
    pub(super) plan: &'a Plan,
    /// Everything known of each request, by its id.
    pub(super) requests: BTreeMap<u32, Request>,
    /// All executions, by number.
    pub(super) executions: Vec<Execution>,
    /// Lines of the access log that name no request.
    pub(super) headless: Vec<AccessLine>,
    /// The other lines of the log.
    pub(super) log: Vec<LogLine>,
    /// The metrics just before the proxy was ordered to stop, if it was asked for them.
    pub(super) samples: Option<Samples<'a>>,
    /// The directives that took effect: when, by which moment, and the effect.
    pub(super) injected: Vec<(u64, When, Act)>,
}

/// Everything known of one request.
pub(super) struct Request {
    pub(super) id: u32,
    /// The message that the client sends.
    pub(super) sent: Sent,
    /// When a client began to send it.
    pub(super) begun: Vec<u64>,
    /// How often a client had no connection for it.
    pub(super) not_sent: usize,
    /// How it ended for its client.
    pub(super) ends: Vec<Received>,
    /// The numbers of its executions.
    pub(super) executions: Vec<u32>,
    /// Its lines in the access log.
    pub(super) lines: Vec<AccessLine>,
}

/// A message that a client sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) idempotent: bool,
    /// Bytes of its body; `None` without one.
    pub(super) body: Option<u64>,
    pub(super) trailers: bool,
    pub(super) informational: u32,
    /// Its client, and what that speaks; `None` for a request that is not in the plan.
    pub(super) client: Option<(u8, ClientProtocol)>,
    /// True if its client closes its sending side after its last request.
    pub(super) half_closes: bool,
    /// True if it is sent over HTTP/1.0.
    pub(super) http10: bool,
}

impl Sent {
    /// The message of a request of the plan.
    fn planned(plan: &Plan, request: &RequestPlan) -> Self {
        let index = plan.wire.client_of(&request.wire);
        let client = plan.wire.clients.get(index).copied().unwrap_or_default();
        // Over HTTP/1.1 only a chunked body can end with trailers (RFC 9112, 7.1.2).
        let ends_with = client.protocol != ClientProtocol::Http1 || request.wire.chunked;
        Self {
            idempotent: request.idempotent,
            body: request.body_us.map(|_| u64::from(request.wire.body_bytes)),
            trailers: request.body_us.is_some() && request.wire.trailers && ends_with,
            informational: request.informational.into(),
            client: Some((index as u8, client.protocol)),
            half_closes: client.half_closes,
            http10: client.sends_http10(request.body_us.is_some()),
        }
    }

    /// The message of a request after the faults: nothing special.
    fn after_faults(id: u32) -> Self {
        Self {
            // GET and POST in turn.
            idempotent: id.is_multiple_of(2),
            body: None,
            trailers: false,
            informational: 0,
            client: None,
            half_closes: false,
            http10: false,
        }
    }

    /// The length of the body; 0 without one.
    pub(super) fn length(&self) -> u64 {
        self.body.unwrap_or(0)
    }

    /// True if it is whole with its head: a body that is stated to be empty is there as soon as the
    /// head is (RFC 9110, 8.6).
    pub(super) fn is_whole_with_its_head(&self) -> bool {
        self.length() == 0
    }

    /// True if the client certainly speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self.client, Some((_, ClientProtocol::Http2 | ClientProtocol::Frames)))
    }

    /// True if the client certainly speaks HTTP/1.1.
    pub(super) fn is_http1(&self) -> bool {
        matches!(self.client, Some((_, ClientProtocol::Http1)))
    }
}

impl Request {
    fn new(id: u32, sent: Sent) -> Self {
        let (begun, ends, executions, lines) = Default::default();
        Self { id, sent, begun, not_sent: 0, ends, executions, lines }
    }

    /// True if it is in the plan. What the client sees of others is not in the ledger.
    pub(super) fn is_planned(&self) -> bool {
        self.id < RECOVERY
    }

    /// True if a client has begun to send it, as far as is known.
    pub(super) fn is_begun(&self) -> bool {
        !self.begun.is_empty() || !self.is_planned()
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<&Received> {
        self.ends.first()
    }

    /// When it was first begun.
    pub(super) fn since(&self) -> u64 {
        self.begun.first().copied().unwrap_or(0)
    }
}

impl<'a> Case<'a> {
    /// Sorts the records.
    ///
    /// # Errors
    /// If they name a request that there cannot be, or the metrics cannot be read.
    pub(super) fn read(records: &'a Records) -> Result<Self, Violation> {
        let (hub, plan) = (&records.hub, &*records.hub.plan);
        let mut case = Self {
            records,
            plan,
            requests: BTreeMap::new(),
            executions: hub.ledger.executions(),
            headless: Vec::new(),
            log: Vec::new(),
            samples: records.metrics.as_deref().map(Samples::read).transpose()?,
            injected: Vec::new(),
        };
        for request in &plan.requests {
            let sent = Sent::planned(plan, request);
            case.requests.insert(request.id, Request::new(request.id, sent));
        }
        let directives = hub.injected().into_iter().map(|(at, index)| {
            let directive = plan.directives[index];
            (at, directive.when, directive.act)
        });
        case.injected = directives.collect();
        for (id, at) in hub.ledger.begun() {
            case.request(id).begun.push(at);
        }
        for (id, _) in hub.ledger.all_not_sent() {
            case.request(id).not_sent += 1;
        }
        for (id, received) in hub.ledger.received() {
            case.request(id).ends.push(received);
        }
        for number in 0..case.executions.len() {
            let id = case.executions[number].request;
            case.request(id).executions.push(number as u32);
        }
        for (at, text) in &records.lines {
            match read(*at, text)? {
                Line::Log(line) => case.log.push(line),
                Line::Access(line) if !line.has_head() => case.headless.push(*line),
                Line::Access(line) => match request_of(&line.path) {
                    Some(id) => case.request(id).lines.push(*line),
                    None => {
                        let what = format!("a line about {}, which was not requested", line.path);
                        return fail(Invariant::AccessLog, what);
                    }
                },
            }
        }
        Ok(case)
    }

    fn request(&mut self, id: u32) -> &mut Request {
        self.requests.entry(id).or_insert_with(|| Request::new(id, Sent::after_faults(id)))
    }

    /// The execution with a number.
    pub(super) fn execution(&self, number: u32) -> &Execution {
        &self.executions[number as usize]
    }

    /// The executions of a request.
    pub(super) fn executions_of<'b>(
        &'b self,
        request: &'b Request,
    ) -> impl Iterator<Item = &'b Execution> {
        request.executions.iter().map(|number| self.execution(*number))
    }

    /// True if there can be a request with this id.
    pub(super) fn can_exist(&self, id: u32) -> bool {
        id >= RECOVERY || self.plan.requests.iter().any(|request| request.id == id)
    }

    /// True if an act took effect until a time.
    pub(super) fn was_injected(&self, until: u64, is: impl Fn(&Act) -> bool) -> bool {
        self.injected.iter().any(|(at, _, act)| *at <= until && is(act))
    }

    /// True if an operator's order about a backend took effect until a time.
    pub(super) fn was_ordered(&self, until: u64, backend: u16, is: fn(&Act) -> bool) -> bool {
        self.was_injected(until, |act| {
            let mut named = None;
            act.clone().visit(|backend| named = Some(*backend), |_| {});
            is(act) && named == Some(backend)
        })
    }

    /// True if a backend, the network or the operator may have given the proxy a reason to fail a
    /// request until a time.
    pub(super) fn may_fail(&self, until: u64) -> bool {
        let uploads_ignored = self.plan.backends.iter().any(|backend| backend.http1)
            && self.plan.requests.iter().any(|it| it.early_response && it.body_us.is_some());
        let closes = self.plan.backends.iter().any(|backend| {
            backend.streams_per_connection.is_some() || backend.ping_strikes.is_some()
        });
        let broken = self.plan.heal.backends.iter().any(|health| *health != Health::Well)
            && until >= self.records.healed_at;
        uploads_ignored
            || closes
            || broken
            || !self.plan.is_patient()
            || self.was_injected(until, |_| true)
    }

    /// True if the client of a request, or the path to it, may be the reason that a connection of
    /// the client ended.
    pub(super) fn client_may_break(&self, request: &Request, until: u64) -> bool {
        let breaks = self.client_breaks(request, until);
        breaks || request.sent.half_closes || self.may_shut_down(until)
    }

    /// True if the paths of a client's connections may have been disturbed until a time.
    pub(super) fn client_is_disturbed(&self, client: u8, until: u64) -> bool {
        let mut acts = self.injected.iter();
        acts.any(|(at, when, act)| {
            let at_client = matches!(when, When::Client { client: hit, .. } if *hit == client);
            at_client && matches!(act, Act::Wire { .. }) && *at <= until
        })
    }

    /// True if a directive has ordered the proxy to stop.
    pub(super) fn was_stopped_early(&self) -> bool {
        self.was_injected(u64::MAX, |act| matches!(act, Act::Shutdown))
    }

    /// The addresses that the client of a request had dialled until a time.
    pub(super) fn dialled(&self, request: &Request, until: u64) -> BTreeSet<SocketAddr> {
        let client = request.sent.client.map_or(u8::MAX, |(client, _)| client);
        let mut dials = self.records.hub.ledger.dials();
        dials.retain(|dial| dial.client == client && dial.begun <= until);
        dials.into_iter().map(|dial| dial.to).collect()
    }

    /// True if the client of a request may have broken a connection, or the path to it.
    pub(super) fn client_breaks(&self, request: &Request, until: u64) -> bool {
        let Some((client, protocol)) = request.sent.client else { return true };
        let own = |id: u32| {
            let other = self.requests.get(&id).and_then(|other| other.sent.client);
            other.is_some_and(|(other, _)| other == client)
        };
        self.injected.iter().any(|(at, when, act)| {
            let at_client = match when {
                When::Client { client: hit, .. } => *hit == client,
                When::Request { request, .. } | When::AtClient { request, .. } => own(*request),
                _ => false,
            };
            let breaks = match act {
                Act::Wire { .. } | Act::ClientStopsReading { .. } => at_client,
                Act::Cancel => protocol == ClientProtocol::Http1,
                _ => false,
            };
            breaks && *at <= until
        })
    }

    /// True if bytes of a client may not have arrived although it sent them.
    pub(super) fn upload_may_be_cut(&self, request: &Request, until: u64) -> bool {
        let Some((client, _)) = request.sent.client else { return false };
        self.injected.iter().any(|(at, when, act)| {
            let at_client = match when {
                When::Client { client: hit, .. } => *hit == client,
                When::Request { .. } | When::AtClient { .. } => true,
                _ => false,
            };
            let cuts = match act {
                Act::Wire { direction: Direction::In, effect } => {
                    matches!(effect, WireEffect::End | WireEffect::NoCloseNotify)
                }
                _ => false,
            };
            at_client && cuts && *at <= until
        })
    }

    /// The protocol of a backend's connections, if it is the same all the time: true for HTTP/1.1.
    pub(super) fn is_http1(&self, backend: u16) -> Option<bool> {
        let switches =
            self.was_ordered(u64::MAX, backend, |act| matches!(act, Act::SwitchProtocol { .. }));
        (!switches).then(|| self.plan.backends[usize::from(backend)].http1)
    }

    /// The backend with a name in the log.
    pub(super) fn backend(&self, name: &str) -> Option<u16> {
        let (_, address) = name.split_once("://")?;
        let backends = 0..self.plan.backends.len() as u16;
        backends.into_iter().find(|backend| backend_authority(self.plan, *backend) == address)
    }
}
