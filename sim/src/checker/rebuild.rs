//! What must follow when an audit finds something: everything ends, and the account starts anew.

use baton::pool::{Instant, ShutdownCause};

use super::backend::{Backend, Health, Probes, Service};
use super::books::{Books, ConnectionPhase, Ending, Phase, RequestPhase, Stream};

impl Books {
    /// Every request ends, every connection that still is one is to be closed, and health starts
    /// anew; what probes found and what the operator ordered stays.
    pub(super) fn rebuild(&mut self, now: Instant) {
        self.planted = false;
        if std::mem::take(&mut self.deadline_lost) {
            self.phase = Phase::Draining(self.shutdown_deadline(now, ShutdownCause::ProcessEnds));
        }
        self.rebuilding = true;
        for index in 0..self.requests.len() as u32 {
            let ending = match self.requests[index as usize].phase {
                RequestPhase::None => continue,
                RequestPhase::Responding(_) => Ending::CutShort,
                RequestPhase::Waiting | RequestPhase::Sent(_) => Ending::Rebuilt,
                RequestPhase::Limbo { .. } | RequestPhase::Ending(_) => {
                    unreachable!("resolved at the end of each step")
                }
            };
            self.requests[index as usize].phase = RequestPhase::Ending(ending);
            self.limbo.push(index);
        }
        self.waiting = 0;
        self.streams.fill(Stream::Free);
        for connection in &mut self.connections {
            connection.load = 0;
            if connection.phase == ConnectionPhase::Lost {
                connection.phase = ConnectionPhase::Gone;
            }
        }
        for backend in &mut self.backends {
            if backend.service != Service::Vacant {
                forget(backend, now);
            }
        }
    }
}

fn forget(backend: &mut Backend, now: Instant) {
    backend.health = Health::NEW;
    backend.rounds = 0;
    backend.backoff = None;
    backend.requests = 0;
    backend.probes = Probes { out: None, not_before: now, not_after: now, ..backend.probes };
}
