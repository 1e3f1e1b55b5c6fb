//! The kinds of plans that seeds produce.

use super::Family;
use crate::draw::RandomStream;

baton::words! {
    /// The kind of plan that a seed produces.
    #[derive(Default, clap::ValueEnum)]
    pub enum Profile {
        /// Families, intensities and workload drawn per seed.
        #[default]
        Swarm = "swarm",
        /// No faults at all.
        Calm = "calm",
        /// Every family on.
        Storm = "storm",
        /// More requests at once than the capacity, and restarts.
        Herd = "herd",
        /// Rolling restarts and a shutdown under load.
        Drain = "drain",
        /// Dead networks: silence, stalls and unreachable backends.
        Dark = "dark",
        /// An operator who changes everything, and backends that restart.
        Operate = "operate",
    }
}

impl Profile {
    pub(super) fn families(self, swarm: &mut RandomStream) -> Vec<Family> {
        let on = |family: &&Family| match self {
            Self::Swarm => swarm.chance(50),
            Self::Calm => false,
            Self::Storm => true,
            Self::Herd => matches!(
                family,
                Family::Restart
                    | Family::PartialDialFailure
                    | Family::Cancel
                    | Family::SettingsChange
            ),
            Self::Drain => {
                matches!(
                    family,
                    Family::Restart | Family::GoAway | Family::Shutdown | Family::Cancel
                )
            }
            Self::Dark => matches!(
                family,
                Family::SilentDrop
                    | Family::StalledDial
                    | Family::Unreachable
                    | Family::PeerStopsReading
                    | Family::NeverCloses
            ),
            Self::Operate => matches!(
                family,
                Family::Reconfiguration
                    | Family::WrongHealthChecks
                    | Family::GatewayFailures
                    | Family::Restart
            ),
        };
        let of_pool = Family::ALL
            .iter()
            .filter(|family| !family.is_about_bytes() && !family.is_drawn_apart());
        let families = of_pool.filter(on).copied().collect();
        if self == Self::Swarm {
            // Family X5 was removed. Its draw stays, so that each later draw keeps its value.
            swarm.chance(50);
        }
        families
    }
}
