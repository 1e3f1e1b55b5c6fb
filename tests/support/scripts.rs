//! Scripts of scenarios of which a part is on sockets and a part on the simulated network.

pub(crate) mod access_log;
pub(crate) mod ejection;
pub(crate) mod hardening_floods;
pub(crate) mod metrics;
