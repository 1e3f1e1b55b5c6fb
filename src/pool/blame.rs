//! Blame for an attempt that failed: it is the backend's, or the request's own.
//!
//! A request that a backend cannot bear (a poisoned URL, a head that it takes for an attack) fails
//! on every backend, and a client can repeat it. It must not cost a healthy backend its place. So a
//! failure that the request may have caused is only a doubt about the backend at first:
//!
//! | then | to blame |
//! |---|---|
//! | another backend answers the request | the backend in doubt |
//! | another backend answers with 400, 413, 414, 431 or 5xx | neither |
//! | another backend fails it, too | the request; unless the connection is lost, it is not tried again |
//! | it is tried again, but on the same backend although there are others | neither |
//! | it waits for a place in the retry budget | as if it were not tried again |
//! | it is not tried again, and the backend says that the request is at fault | the request |
//! | it is not tried again, and the backend has answered other requests meanwhile | the request |
//! | it is not tried again, and the backend has answered nothing | the backend |
//!
//! A failed trial request of a half-open backend counts at once, unless another backend has failed
//! it, too. So do failed dials, silence, and connections that are lost before anything was sent on
//! them: no request can have caused these. A connection that is dead when it is used after being
//! idle says nothing about the backend. A backend that takes too long, for its response or for the
//! request body, is to blame unless it has answered other requests meanwhile.

use super::health::Blame;
use super::input::{StreamFailure, code};
use super::request::Doubt;
use super::{BackendId, Instant, Pool};

/// Statuses by which a backend says that the request is at fault (RFC 9110, 15.5; RFC 6585, 5): it
/// is no proof that another one should have borne it.
const NO_PROOF: [u16; 4] = [400, 413, 414, 431];

/// A failure that the request may have caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection was cut off.
    Connection,
    /// The stream failed, the connection did not.
    Stream {
        /// True if the backend says that the request is at fault (RFC 9113, 7).
        accuses_request: bool,
    },
}

impl Fault {
    /// Returns the fault of a stream, if its failure is one. `cut_off` is true if the connection
    /// was lost in a way that may be the backend's fault.
    pub(crate) fn of(failure: StreamFailure, cut_off: bool) -> Option<Self> {
        match failure {
            StreamFailure::NotSent | StreamFailure::HeadTooLarge | StreamFailure::Unprocessed => {
                None
            }
            StreamFailure::ConnectionLost => cut_off.then_some(Self::Connection),
            StreamFailure::Malformed => Some(Self::Stream { accuses_request: false }),
            StreamFailure::Reset { code } => match code {
                code::NO_ERROR | code::REFUSED_STREAM | code::CANCEL | code::HTTP_1_1_REQUIRED => {
                    None
                }
                code => Some(Self::Stream { accuses_request: code::ACCUSING.contains(&code) }),
            },
        }
    }
}

impl Pool {
    /// True if a fault of this backend shows that the request is to blame: another backend failed
    /// it before, or it has cost another connection, which seemed stale.
    pub(super) fn is_seconded(&self, index: u32, backend: BackendId, fault: Fault) -> bool {
        let request = self.requests.get(index);
        let present = self.backend_token_of(backend);
        let by_another = request.doubt.is_some_and(|doubt| doubt.backend != present);
        by_another || (request.needs_live && fault == Fault::Connection)
    }

    /// Notes a fault of an attempt whose request is tried again: the next attempt will tell. With
    /// `is_open` false the fault was judged already.
    pub(super) fn doubt(&mut self, index: u32, backend: BackendId, is_open: bool) {
        let backend = self.backend_token_of(backend);
        self.requests.get_mut(index).doubt = Some(Doubt { backend, is_open });
    }

    /// A backend has begun to answer the request: an earlier backend that failed it is to blame,
    /// unless the answer says that the request is at fault, or that this backend fails it, too.
    pub(super) fn end_doubt(&mut self, now: Instant, index: u32, backend: BackendId, status: u16) {
        if let Some(doubt) = self.requests.get_mut(index).doubt.take()
            && doubt.is_open
            && !NO_PROOF.contains(&status)
            && status < 500
            && doubt.backend != self.backend_token_of(backend)
            && self.find_backend(doubt.backend).is_ok()
        {
            self.backend_failed(now, doubt.backend.backend, Blame::Other);
        }
    }

    /// Counts a fault of an attempt whose request is not tried again and was failed by no other
    /// backend. The request was sent at `since`.
    pub(super) fn blame_alone(
        &mut self,
        now: Instant,
        index: u32,
        backend: BackendId,
        fault: Fault,
        since: Instant,
    ) {
        let accuses_request = match fault {
            Fault::Connection => false,
            Fault::Stream { accuses_request } => accuses_request,
        };
        // It failed twice here, and there was no time to ask another backend.
        let was_not_compared = self.requests.get(index).doubt.is_some() && self.healthy > 1;
        let excused = accuses_request || was_not_compared;
        if !excused && !self.answers_others(now, backend, since) {
            self.backend_failed(now, backend, Blame::Other);
        }
    }

    /// True if the backend has answered a request since this time, or within the time for which a
    /// backend may be silent.
    pub(super) fn answers_others(&self, now: Instant, backend: BackendId, since: Instant) -> bool {
        self.backends[usize::from(backend.0)].answered_at.is_some_and(|answered| {
            answered > since || now.since(answered) < self.config.timeouts.silence
        })
    }
}
