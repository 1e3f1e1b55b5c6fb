//! Exhaustive search: every interleaving of a small scope on the real pool, breadth first from the
//! empty pool to the last reachable state, with every possible fact in each state.
//!
//! Nothing is modelled: the environment may give any current fact at any time. Stale facts are also
//! tried in each state and must change nothing. The results therefore hold for all peers, networks
//! and clients. Time is in ticks and every timeout is one tick; time passes only when a timer is
//! due.
//!
//! | file | content |
//! |---|---|
//! | `scope` | how much is searched, and the configuration of the pool |
//! | `search` | the search by levels, on all processors |
//! | `single`, `workers` | the states and steps of one pool, and of the pools of two workers |
//! | `judged` | a pool with its checker |
//! | `identity` | how a state is recognised |
//! | `found` | the result |

mod found;
mod identity;
mod judged;
mod scope;
mod search;
mod single;
mod workers;

pub use found::{Counterexample, Fact, Found};
pub use scope::{Faults, Scope};
use search::search;
use single::Single;
use workers::Workers;

/// Searches a scope. Calls `progress` from time to time with the number of states seen and of
/// states to continue from.
pub fn explore(scope: &Scope, progress: impl Fn(u64, usize)) -> Found {
    if scope.workers == 1 {
        search(&Single(scope), scope.states, progress)
    } else {
        search(&Workers::new(scope), scope.states, progress)
    }
}
