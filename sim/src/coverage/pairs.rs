//! Pairs: a fault beside what the operator has done with the backend, in each state of the
//! connection; and a fault after another one on the same connection. None must be met, since many
//! cannot be; a report says how many were.

use super::counts::{Counts, Entry};
use super::tables::{BackendAs, ConnectionAs};
use crate::faults::Family;

/// Counts of pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    /// By family, state of the connection, and service of its backend.
    services: Counts,
    /// By the family before, and the family.
    sequences: Counts,
}

impl Pairs {
    /// Counts a fault on a connection that exists.
    pub(super) fn add(
        &mut self,
        family: Family,
        met: ConnectionAs,
        service: BackendAs,
        before: Option<Family>,
    ) {
        let place = family as usize * ConnectionAs::ALL.len() + met as usize;
        self.services.add(place * BackendAs::ALL.len() + service as usize, 1);
        if let Some(before) = before {
            self.sequences.add(before as usize * Family::ALL.len() + family as usize, 1);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.services.merge(&other.services);
        self.sequences.merge(&other.sequences);
    }

    pub(super) fn list(&self, entries: &mut Vec<Entry>) {
        let mut list = |name, count| {
            entries.push(Entry { table: "pair", name, count, required: false, never: None });
        };
        let families = || Family::ALL.iter().filter(|family| !family.is_about_bytes());
        for family in families() {
            for met in ConnectionAs::ALL.iter().filter(|met| **met != ConnectionAs::Gone) {
                for service in BackendAs::ALL {
                    let place = *family as usize * ConnectionAs::ALL.len() + *met as usize;
                    let count = self.services.get(place * BackendAs::ALL.len() + *service as usize);
                    let code = family.code();
                    list(
                        format!("{code} on a connection in state {met}, backend {service}"),
                        count,
                    );
                }
            }
            for before in families() {
                let place = *before as usize * Family::ALL.len() + *family as usize;
                let count = self.sequences.get(place);
                list(
                    format!("{} before {} on one connection", before.code(), family.code()),
                    count,
                );
            }
        }
    }
}
