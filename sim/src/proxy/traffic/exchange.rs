//! A request and its response on a connection, as far as both are on the wire.

use crate::coverage::{Phase, Phases};

/// A message on its way: places are numbers of bytes from the start of its direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// The end of the head.
    pub(super) head: Option<u64>,
    /// The end of the content so far.
    pub(super) content: u64,
    /// The end of the message.
    pub(super) end: Option<u64>,
    /// True if the message ends with trailers.
    pub(super) has_trailers: bool,
}

/// The progress of a message at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Head,
    Content,
    Trailers,
    Whole,
}

impl Way {
    /// The head ends here, and perhaps the message.
    pub(super) fn head(&mut self, place: u64, ends: bool) {
        (self.head, self.content) = (Some(place), place);
        self.end = ends.then_some(place);
    }

    /// Content ends here, and perhaps the message.
    pub(super) fn content(&mut self, place: u64, ends: bool) {
        self.content = place;
        self.end = ends.then_some(place);
    }

    /// The message ends here.
    pub(super) fn ends(&mut self, place: u64, has_trailers: bool) {
        (self.end, self.has_trailers) = (Some(place), has_trailers);
    }

    fn progress(&self, arrived: u64) -> Progress {
        match (self.head, self.end) {
            (None, _) => Progress::None,
            (Some(head), _) if arrived < head => Progress::Head,
            (_, Some(end)) if arrived >= end => Progress::Whole,
            (_, Some(_)) if self.has_trailers && arrived >= self.content => Progress::Trailers,
            _ => Progress::Content,
        }
    }
}

/// A request and its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// The request, if it is named by its path.
    pub(super) request: Option<u32>,
    /// The stream of HTTP/2, or the number on a connection of HTTP/1.1, from 1.
    pub(super) stream: u32,
    pub(super) up: Way,
    pub(super) down: Way,
    /// True once it was reset, or given up by a GOAWAY.
    pub(super) is_over: bool,
}

impl Exchange {
    /// The phases that it is in, if so many bytes have arrived.
    pub(super) fn phases(&self, arrived_up: u64, arrived_down: u64) -> Phases {
        let mut phases = Phases::NONE;
        if self.is_over {
            return phases;
        }
        let (up, down) = (self.up.progress(arrived_up), self.down.progress(arrived_down));
        match up {
            Progress::None | Progress::Head => phases.add(Phase::Head),
            Progress::Content => phases.add(Phase::BodyUp),
            Progress::Trailers => phases.add(Phase::Trailers),
            Progress::Whole => {}
        }
        match down {
            Progress::None | Progress::Head if up == Progress::Whole => phases.add(Phase::Waiting),
            Progress::None | Progress::Head | Progress::Whole => {}
            Progress::Content => phases.add(Phase::BodyDown),
            Progress::Trailers => phases.add(Phase::Trailers),
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_passes_through_its_phases() {
        let mut exchange = Exchange {
            request: Some(1),
            stream: 1,
            up: Way::default(),
            down: Way::default(),
            is_over: false,
        };
        let only = |phase| {
            let mut phases = Phases::NONE;
            phases.add(phase);
            phases
        };
        exchange.up.head(10, false);
        assert_eq!(exchange.phases(9, 0), only(Phase::Head));
        assert_eq!(exchange.phases(10, 0), only(Phase::BodyUp));
        exchange.up.content(20, false);
        exchange.up.ends(30, true);
        assert_eq!(exchange.phases(19, 0), only(Phase::BodyUp));
        assert_eq!(exchange.phases(20, 0), only(Phase::Trailers));
        assert_eq!(exchange.phases(30, 0), only(Phase::Waiting));
        exchange.down.head(5, false);
        assert_eq!(exchange.phases(30, 4), only(Phase::Waiting));
        assert_eq!(exchange.phases(30, 5), only(Phase::BodyDown));
        exchange.down.content(8, true);
        assert_eq!(exchange.phases(30, 8), Phases::NONE);
        // A response before the end of its request.
        let mut both = only(Phase::BodyUp);
        both.add(Phase::BodyDown);
        assert_eq!(exchange.phases(19, 7), both);
        exchange.is_over = true;
        assert_eq!(exchange.phases(19, 7), Phases::NONE);
    }
}
