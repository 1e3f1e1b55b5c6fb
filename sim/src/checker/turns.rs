//! The turns of a reference balancer.

/// The length of a turn of weight 1.
pub(super) const TURN: u64 = 1 << 16;

/// The ways in which a backend can be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// For a turn.
    pub(super) usable: bool,
    /// For a stream.
    pub(super) room: bool,
    /// For a dial.
    pub(super) dial: bool,
    /// For a dial if there is no other: one in progress is slow.
    pub(super) slow_dial: bool,
}

/// The turns of all backends, as the manual says of strategies that take turns.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    /// The time of the last stream of a first attempt.
    pub(super) now: u64,
    pub(super) turns: Vec<u64>,
    pub(super) places: Vec<Places>,
    /// The backend that was dialled because it is its turn and it has no room.
    pub(super) dialled_in_turn: Option<usize>,
    /// False once several backends changed in one step in an order that the model does not know.
    pub(super) is_exact: bool,
}

impl Turns {
    pub(super) fn new(backends: usize) -> Self {
        Self {
            now: 0,
            turns: vec![0; backends],
            places: vec![Places::default(); backends],
            dialled_in_turn: None,
            is_exact: true,
        }
    }

    /// Gives up, until the strategy is changed.
    pub(super) fn doubt(&mut self) {
        self.is_exact = false;
    }

    /// All turns are equal after a change of the strategy.
    pub(super) fn begin_equal(&mut self) {
        self.turns.fill(self.now);
        self.is_exact = true;
    }

    /// The next turn comes at the latest after one of the new weight.
    pub(super) fn raise_weight(&mut self, backend: usize, weight: u16) {
        let latest = self.now + TURN / u64::from(weight);
        self.turns[backend] = self.turns[backend].min(latest);
    }

    /// A backend that missed turns does not catch up.
    pub(super) fn forgive(&mut self, backend: usize) {
        self.turns[backend] = self.turns[backend].max(self.now);
    }

    /// The entry of a backend that is gone.
    pub(super) fn forget(&mut self, backend: usize) {
        self.turns[backend] = self.now;
    }

    /// The backend with the earliest turn of those in a place; `avoid` only if there is no other.
    pub(super) fn first(
        &self,
        is: impl Fn(&Places) -> bool,
        avoid: Option<usize>,
    ) -> Option<usize> {
        let members = (0..self.turns.len()).filter(|index| is(&self.places[*index]));
        let others = { members.clone() }.filter(|index| Some(*index) != avoid);
        let first = others.min_by_key(|index| (self.turns[*index], *index));
        first.or_else(|| { members }.next())
    }
}
