//! The end of a request, in the same words for both worlds: those of the access log.

use std::collections::BTreeMap;
use std::fmt;

use baton::pool::{Evidence, FailedAttempt, Handled, Input, Outcome, Output, Rejection, RequestId};

use crate::plan::Plan;
use crate::trace::{Trace, TracedFact, What};

/// A value that is not known.
const NONE: &str = "-";

/// The accounts of a run, by the requests' ids.
pub(crate) type Accounts = BTreeMap<u32, Account>;

/// The end of a request, and how it came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) outcome: String,
    /// Why it was rejected.
    pub(crate) reason: String,
    /// The status that the client got; 0 for none.
    pub(crate) status: u16,
    /// The evidence of the last attempt that failed.
    pub(crate) evidence: String,
    /// How often it was given to a connection.
    pub(crate) attempts: usize,
    /// The attempts whose stream was opened, and those that failed before.
    pub(crate) list: Vec<AttemptAccount>,
}

/// An attempt of a request, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptAccount {
    pub(crate) backend: u16,
    pub(crate) evidence: String,
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, reason, status, evidence, attempts, list } = self;
        write!(formatter, "{outcome} {reason} {status}, {attempts} attempts (")?;
        for (place, AttemptAccount { backend, evidence }) in list.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(formatter, "{comma}backend {backend} {evidence}")?;
        }
        write!(formatter, "), evidence {evidence}")
    }
}

/// An attempt as the trace shows it so far.
struct AttemptDraft {
    /// Its number within the request, from 1.
    number: u8,
    backend: u16,
    /// Where it stood when it failed, if it has.
    evidence: Option<Evidence>,
    /// True once its stream was opened.
    opened: bool,
}

/// A request as the trace shows it so far.
#[derive(Default)]
struct Draft {
    attempts: Vec<AttemptDraft>,
    /// The status of the response that has started.
    status: u16,
    /// The evidence of the last attempt that failed.
    evidence: Option<Evidence>,
}

impl Draft {
    /// Notes where an attempt stood when it failed.
    fn note_evidence(&mut self, number: u8, evidence: Evidence) {
        self.evidence = Some(evidence);
        if let Some(attempt) = self.attempts.iter_mut().rfind(|attempt| attempt.number == number) {
            attempt.evidence = Some(evidence);
        }
    }

    fn end(self, outcome: Outcome, attempts: u8) -> Account {
        let rejection = match outcome {
            Outcome::Rejected(rejection) => Some(rejection),
            Outcome::Completed | Outcome::Cancelled | Outcome::CutShort => None,
        };
        let known = |attempt: &&AttemptDraft| attempt.opened || attempt.evidence.is_some();
        let list = self.attempts.iter().filter(known).map(|attempt| AttemptAccount {
            backend: attempt.backend,
            evidence: name(attempt.evidence).to_owned(),
        });
        Account {
            outcome: outcome.kind().name().to_owned(),
            reason: rejection.map_or(NONE, Rejection::name).to_owned(),
            status: rejection.map_or(self.status, Rejection::status),
            evidence: name(self.evidence).to_owned(),
            attempts: attempts.into(),
            list: list.collect(),
        }
    }
}

fn name(evidence: Option<Evidence>) -> &'static str {
    evidence.map_or(NONE, Evidence::name)
}

/// The accounts of a run of the pool's world, whose whole trace was kept.
pub(crate) fn of_pool(plan: &Plan, trace: &Trace) -> Accounts {
    let mut reader = Reader::new(plan, trace);
    let mut asked = None;
    for entry in &trace.entries {
        match &entry.what {
            What::Arrived(request) => asked = Some(*request),
            What::TracedFact(fact) => reader.fact(fact, asked.take()),
            _ => {}
        }
    }
    reader.accounts
}

struct Reader<'a> {
    plan: &'a Plan,
    trace: &'a Trace,
    /// Requests that live, by the pool's names for them.
    live: Vec<(RequestId, u32, Draft)>,
    accounts: Accounts,
}

impl<'a> Reader<'a> {
    fn new(plan: &'a Plan, trace: &'a Trace) -> Self {
        Self { plan, trace, live: Vec::new(), accounts: Accounts::new() }
    }

    fn draft(&mut self, id: RequestId) -> Option<&mut Draft> {
        self.live.iter_mut().find(|(known, ..)| *known == id).map(|(.., draft)| draft)
    }

    fn fact(&mut self, fact: &TracedFact, asked: Option<u32>) {
        // Requests after the faults are not in the plan.
        let planned = asked.and_then(|index| self.plan.requests.get(index as usize));
        match (fact.handled, planned.map(|request| request.id)) {
            (Handled::Accepted(id), Some(request)) => {
                self.live.push((id, request, Draft::default()));
            }
            (Handled::Rejected(rejection), Some(request)) => {
                let outcome = Outcome::Rejected(rejection);
                self.accounts.insert(request, Draft::default().end(outcome, 0));
            }
            _ => {}
        }
        if fact.handled == Handled::Done {
            self.done(fact.input);
        }
        for order in &fact.orders {
            self.order(*order);
        }
    }

    /// A fact that the pool applied.
    fn done(&mut self, input: Input) {
        let (Input::StreamOpened { stream, .. } | Input::ResponseStarted { stream, .. }) = input
        else {
            return;
        };
        let token = stream.connection;
        let backend = self.trace.links.iter().find(|link| link.token == token);
        let backend = backend.map_or(token.backend.0, |link| link.backend);
        let exchange = self.trace.exchanges.iter().rfind(|exchange| exchange.token == stream);
        let planned = exchange.and_then(|it| self.plan.requests.get(it.request as usize));
        let Some(request) = planned.map(|request| request.id) else { return };
        let live = self.live.iter_mut().find(|(_, known, _)| *known == request);
        let Some((.., draft)) = live else { return };
        match input {
            Input::ResponseStarted { status, .. } => draft.status = status,
            _ => {
                if let Some(attempt) = draft.attempts.last_mut() {
                    (attempt.backend, attempt.opened) = (backend, true);
                }
            }
        }
    }

    fn order(&mut self, order: Output) {
        match order {
            Output::OpenStream { stream, request, attempt: number } => {
                if let Some(draft) = self.draft(request) {
                    let backend = stream.connection.backend.0;
                    let (evidence, opened) = (None, false);
                    draft.attempts.push(AttemptDraft { number, backend, evidence, opened });
                }
            }
            Output::AttemptFailed(FailedAttempt { request, number, evidence, .. }) => {
                if let Some(draft) = self.draft(request) {
                    draft.note_evidence(number, evidence);
                }
            }
            Output::RequestEnded { request, outcome, attempts, .. } => {
                let place = self.live.iter().position(|(known, ..)| *known == request);
                if let Some((_, request, draft)) = place.map(|place| self.live.remove(place)) {
                    self.accounts.insert(request, draft.end(outcome, attempts));
                }
            }
            _ => {}
        }
    }
}
