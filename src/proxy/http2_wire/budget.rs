//! Limits the number of frames of each kind that a peer may send in a window of time. Frames that
//! do work (requests, responses, data) raise the limits of the frames that honest peers send along
//! with them, so the limits apply to unsolicited frames.

use super::scanner::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};
use crate::pool::Instant;
use crate::proxy::client_limits::FrameBudgets;
use crate::words;

words! {
    /// The budget that a peer has exceeded.
    pub enum Flood {
        /// [`FrameBudgets::resets`].
        Resets = "RST_STREAM flood",
        /// [`FrameBudgets::provoked_resets`].
        ProvokedResets = "flood of provoked resets",
        /// [`FrameBudgets::pings`].
        Pings = "PING flood",
        /// [`FrameBudgets::settings`].
        Settings = "SETTINGS flood",
        /// [`FrameBudgets::empty_data`].
        EmptyData = "flood of empty DATA",
        /// [`FrameBudgets::priorities`].
        Priorities = "PRIORITY flood",
        /// [`FrameBudgets::window_updates`].
        WindowUpdates = "WINDOW_UPDATE flood",
        /// [`FrameBudgets::continuations`].
        Continuations = "CONTINUATION flood",
        /// [`FrameBudgets::refused_heads`].
        RefusedHeads = "flood of refused requests",
    }
}

/// The frames of the present window.
#[derive(Debug, Default)]
struct Counts {
    data_written: u32,
    headers_written: u32,
    headers_read: u32,
    resets: u32,
    provoked_resets: u32,
    pings: u32,
    settings: u32,
    empty_data: u32,
    priorities: u32,
    window_updates: u32,
    refused_heads: u32,
}

/// The frame counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Account {
    budgets: FrameBudgets,
    window_began: Instant,
    counts: Counts,
    /// CONTINUATION frames of the open header block.
    continuations: u32,
    spent: Option<Flood>,
}

impl Account {
    pub(super) fn new(budgets: FrameBudgets) -> Self {
        Self { budgets, ..Self::default() }
    }

    /// Returns the first budget that was exceeded.
    pub(super) fn spent(&self) -> Option<Flood> {
        self.spent
    }

    /// Starts another window if the present one is over.
    pub(super) fn at(&mut self, now: Instant) {
        if now.since(self.window_began) >= self.budgets.window {
            self.window_began = now;
            self.counts = Counts::default();
        }
    }

    /// Counts a frame from the peer, at its frame header.
    pub(super) fn read(&mut self, kind: u8, flags: u8, length: usize) {
        let (counts, budgets) = (&mut self.counts, &self.budgets);
        let (count, budget, flood) = match kind {
            DATA if length == 0 && flags & END_STREAM == 0 => {
                let budget = budgets.empty_data.saturating_add(counts.headers_read);
                (&mut counts.empty_data, budget, Flood::EmptyData)
            }
            DATA => return,
            HEADERS | PUSH_PROMISE => {
                counts.headers_read = counts.headers_read.saturating_add(1);
                self.continuations = 0;
                return;
            }
            CONTINUATION => {
                if flags & END_HEADERS != 0 {
                    return;
                }
                (&mut self.continuations, budgets.continuations, Flood::Continuations)
            }
            RST_STREAM => {
                let earned = counts.headers_written / 2;
                (&mut counts.resets, budgets.resets.saturating_add(earned), Flood::Resets)
            }
            PING => {
                let earned = counts.data_written;
                (&mut counts.pings, budgets.pings.saturating_add(earned), Flood::Pings)
            }
            SETTINGS | GOAWAY => (&mut counts.settings, budgets.settings, Flood::Settings),
            WINDOW_UPDATE => {
                let earned = counts.data_written.saturating_mul(10);
                let earned = earned.saturating_add(counts.headers_read.saturating_mul(2));
                let budget = budgets.window_updates.saturating_add(earned);
                (&mut counts.window_updates, budget, Flood::WindowUpdates)
            }
            // PRIORITY, PRIORITY_UPDATE (RFC 9218, 7.1) and unknown types.
            _ => {
                let earned = counts.headers_read.saturating_mul(10);
                let budget = budgets.priorities.saturating_add(earned);
                (&mut counts.priorities, budget, Flood::Priorities)
            }
        };
        spend(count, budget, flood, &mut self.spent);
    }

    /// Counts a frame to the peer, at its frame header.
    pub(super) fn written(&mut self, kind: u8) {
        match kind {
            DATA => self.counts.data_written = self.counts.data_written.saturating_add(1),
            HEADERS => self.counts.headers_written = self.counts.headers_written.saturating_add(1),
            _ => {}
        }
    }

    /// Counts a reset that the peer has provoked.
    pub(super) fn provoked(&mut self) {
        let budget = self.budgets.provoked_resets;
        let count = &mut self.counts.provoked_resets;
        spend(count, budget, Flood::ProvokedResets, &mut self.spent);
    }

    /// Counts a request that was refused for its head.
    pub(super) fn refused(&mut self) {
        let budget = self.budgets.refused_heads;
        let count = &mut self.counts.refused_heads;
        spend(count, budget, Flood::RefusedHeads, &mut self.spent);
    }
}

fn spend(count: &mut u32, budget: u32, flood: Flood, spent: &mut Option<Flood>) {
    *count = count.saturating_add(1);
    if *count > budget {
        spent.get_or_insert(flood);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scanner::PRIORITY;
    use super::*;

    fn spent_by(frames: impl IntoIterator<Item = (u8, u8, usize)>) -> Option<Flood> {
        let mut account = Account::new(FrameBudgets::DEFAULT);
        for (kind, flags, length) in frames {
            account.read(kind, flags, length);
        }
        account.spent()
    }

    #[test]
    fn each_kind_has_a_budget_that_one_more_frame_exceeds() {
        let budgets = FrameBudgets::DEFAULT;
        for (frame, budget, flood) in [
            ((RST_STREAM, 0, 4), budgets.resets, Flood::Resets),
            ((PING, 0, 8), budgets.pings, Flood::Pings),
            ((SETTINGS, 0, 0), budgets.settings, Flood::Settings),
            ((GOAWAY, 0, 8), budgets.settings, Flood::Settings),
            ((DATA, 0, 0), budgets.empty_data, Flood::EmptyData),
            ((PRIORITY, 0, 5), budgets.priorities, Flood::Priorities),
            ((0x10, 0, 5), budgets.priorities, Flood::Priorities),
            ((WINDOW_UPDATE, 0, 4), budgets.window_updates, Flood::WindowUpdates),
            ((CONTINUATION, 0, 0), budgets.continuations, Flood::Continuations),
        ] {
            let frames = |count: u32| (0..count).map(|_| frame);
            assert_eq!(spent_by(frames(budget)), None, "{flood:?}");
            assert_eq!(spent_by(frames(budget + 1)), Some(flood));
        }
    }

    #[test]
    fn a_new_window_starts_from_zero() {
        let mut account = Account::new(FrameBudgets::DEFAULT);
        for window in 0..10 {
            account.at(Instant(window * 10_000_000_000));
            (0..FrameBudgets::DEFAULT.pings).for_each(|_| account.read(PING, 0, 8));
        }
        assert_eq!(account.spent(), None);
        account.at(Instant(95_000_000_000));
        account.read(PING, 0, 8);
        assert_eq!(account.spent(), Some(Flood::Pings));
    }

    #[test]
    fn frames_that_do_work_raise_the_budgets() {
        let mut account = Account::new(FrameBudgets::DEFAULT);
        for _ in 0..100_000 {
            account.written(DATA);
            account.read(PING, 0, 8);
            (0..10).for_each(|_| account.read(WINDOW_UPDATE, 0, 4));
            account.read(DATA, 0, 1);
        }
        for _ in 0..100_000 {
            account.read(HEADERS, END_HEADERS, 9);
            account.read(DATA, 0, 0);
            account.written(HEADERS);
            account.read(HEADERS, END_HEADERS, 9);
            account.written(HEADERS);
            account.read(RST_STREAM, 0, 4);
        }
        assert_eq!(account.spent(), None);
    }
}
