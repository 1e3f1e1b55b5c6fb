//! The world of the proxy: the whole shell of `baton` on a simulated network, in simulated time, in
//! one thread.
//!
//! | module | contents |
//! |---|---|
//! | `hub` | the run as peers see it: moments, directives, what happened |
//! | `content`, `ledger` | the bodies of messages; what peers know of each request |

pub(crate) mod content;
pub(crate) mod hub;
pub(crate) mod ledger;
