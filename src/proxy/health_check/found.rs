//! The result of a health check, as one worker reports it to the others.

use std::sync::Arc;

use crate::proxy::backends::BackendIdentity;

/// The result of a health check that one worker ordered, for the other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheckFound {
    /// The name of the cluster.
    pub cluster: String,
    /// The backend; tokens are valid in one pool only.
    pub backend: BackendIdentity,
    /// The reason of the failure; `None` if the check passed.
    pub failure: Option<Arc<str>>,
}
