//! The parts of a pool's configuration that are not in the [table](super::settings) of settings.

use crate::words;

words! {
    /// How the next backend is chosen among the usable ones.
    #[derive(Default)]
    pub enum Strategy {
        /// Each backend in turn, whatever its weight.
        #[default]
        RoundRobin = "round_robin",
        /// In turn, in proportion to the weights.
        Weighted = "weighted",
        /// Uniformly at random, from the pool's seed.
        Random = "random",
        /// The one with fewer requests in flight of two backends drawn at random ("the power of two
        /// choices", Mitzenmacher 2001).
        LeastLoaded = "least_loaded",
    }
}

/// A backend as the pool knows it. Only the driver knows addresses and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Share of the requests under [`Strategy::Weighted`], 1 to
    /// [`WEIGHT_MAX`](super::limits::WEIGHT_MAX).
    pub weight: u16,
    /// True if each connection carries one stream at a time (`http://`). Then the pool dials as many
    /// connections as requests wait.
    pub exclusive: bool,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self { weight: 1, exclusive: false }
    }
}

/// Where the results of health checks come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthChecking {
    /// Nowhere: every backend counts as up.
    #[default]
    Off,
    /// From another pool of the process.
    Reported,
    /// From checks that this pool orders.
    Ordered,
}
