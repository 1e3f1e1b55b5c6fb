//! The parts of the token layer that are different in simulations.

use super::Slots;
#[cfg(any(test, feature = "simulation"))]
use super::Transitions;

impl Slots {
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn narrow_generations(&mut self, most: u32) {
        assert!(most >= 1, "a slot has at least one generation");
        let unused = self.tables.iter().all(|table| table.connections.is_empty());
        assert!(unused, "generations must be narrowed before the first dial");
        self.generation_max = most;
    }

    /// The last generation a slot may have; smaller in simulations.
    pub(super) fn generation_max(&self) -> u32 {
        #[cfg(any(test, feature = "simulation"))]
        return self.generation_max;
        #[cfg(not(any(test, feature = "simulation")))]
        u32::MAX
    }

    /// Returns the transitions made so far.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn transitions(&self) -> Transitions {
        self.transitions
    }
}
