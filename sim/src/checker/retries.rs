//! The model of retries: which failed attempts are followed by another, and when.

use baton::pool::Evidence;

use super::model::{Model, ModelPhase, RequestPhase};
use super::time::Time as _;

impl Model {
    /// Records that a request's attempt failed with this evidence. Returns true if the request must
    /// be tried again.
    pub(super) fn fail(&mut self, index: u32, evidence: Evidence, is_to_blame: bool) -> bool {
        let retry = self.config.retry;
        let over = self.phase == ModelPhase::Over;
        let request = self.request_mut(index);
        let was_responding = matches!(request.phase, RequestPhase::Responding(_));
        let evidence = if was_responding { Evidence::Responding } else { evidence };
        request.evidence = Some(evidence);
        let free = is_free(evidence);
        let has_budget = retry.budget_percent > 0 || retry.budget_floor > 0;
        let budgeted = has_budget
            && (evidence == Evidence::Refused
                || (evidence == Evidence::Unknown && request.idempotent));
        let allowed =
            request.replayable && request.attempts < retry.attempts && !over && !is_to_blame;
        let must_retry = allowed && (free || budgeted);
        request.phase = RequestPhase::PendingOutcome { was_responding, must_retry };
        self.pending_outcome.push(index);
        must_retry
    }

    /// Lets deferred requests wait for a stream, the oldest first, while fewer requests are on a
    /// retry than the budget allows.
    pub(super) fn admit_retries(&mut self) {
        if self.deferred().next().is_none() {
            return;
        }
        let room = self.retry_budget().saturating_sub(self.retrying());
        let mut deferred: Vec<u32> = self.deferred().collect();
        deferred.sort_by_key(|index| self.requests[*index as usize].arrival);
        for index in deferred.into_iter().take(room as usize) {
            self.queue_again(index);
        }
    }

    /// The requests that wait for a place in the retry budget.
    pub(super) fn deferred(&self) -> impl Iterator<Item = u32> {
        let requests = (0_u32..).zip(&self.requests);
        let deferred = requests.filter(|(_, request)| request.phase == RequestPhase::Deferred);
        deferred.map(|(index, _)| index)
    }

    /// A request waits for a stream again.
    fn queue_again(&mut self, index: u32) {
        let until = self.step_at.plus(self.config.timeouts.queue);
        let request = self.request_mut(index);
        request.phase = RequestPhase::Waiting;
        request.queued_until = until;
        self.waiting += 1;
    }

    /// An attempt has failed, and the request is tried again.
    pub(super) fn retry(&mut self, index: u32) {
        let due = self.step_at.plus(self.config.timeouts.response_head);
        let request = self.request_mut(index);
        if request.evidence.is_some_and(is_free) {
            self.queue_again(index);
        } else {
            request.phase = RequestPhase::Deferred;
            request.queued_until = request.response_deadline.unwrap_or(due);
        }
    }

    /// True if a request whose attempt has just failed need not wait for the retry budget.
    pub(super) fn has_place_at_once(&self, index: u32) -> bool {
        let request = &self.requests[index as usize];
        let others = self.retrying() - u32::from(request.attempts >= 1);
        let is_next =
            self.deferred().all(|other| self.requests[other as usize].arrival > request.arrival);
        request.evidence.is_some_and(is_free) || (is_next && others < self.retry_budget())
    }

    /// Requests that may be on a retry at a time: the operator's share of all, or the floor.
    fn retry_budget(&self) -> u32 {
        let retry = self.config.retry;
        let share = self.live * retry.budget_percent / 100;
        share.max(u32::from(retry.budget_percent > 0)).max(retry.budget_floor)
    }
}

/// True if a retry after this evidence needs no budget: the backend has done nothing.
fn is_free(evidence: Evidence) -> bool {
    matches!(evidence, Evidence::NeverSent | Evidence::Unprocessed)
}
