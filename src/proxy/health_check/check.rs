//! One health check, and its result.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ::http::header::USER_AGENT;
use ::http::{HeaderValue, Method, Request, Uri};

use crate::proxy::backends::BackendEntry;
use crate::proxy::config::HealthCheckSettings;

/// The User-Agent of health checks.
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("baton/", env!("CARGO_PKG_VERSION"), " (health check)"));

/// The result of a check: `Err` with the reason if it failed.
pub(super) type HealthCheckResult = Result<(), String>;
pub(super) type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// The result of a check, and the work left to close its connection gracefully.
pub(super) struct Answered {
    pub(super) verdict: HealthCheckResult,
    pub(super) rest: Rest,
}

impl Answered {
    pub(super) fn failed(reason: String) -> Self {
        Self { verdict: Err(reason), rest: Box::pin(async {}) }
    }
}

/// The reason why there is no response to judge.
pub(super) enum Unanswered {
    /// The backend failed.
    Failed(String),
    /// The backend closes this connection gracefully, which is no failure (RFC 9113, 6.8).
    GoingAway,
}

/// One health check of one backend.
pub(super) struct Check {
    pub(super) backend: Rc<BackendEntry>,
    pub(super) settings: Rc<HealthCheckSettings>,
    /// The time that the check may take.
    pub(super) time: Duration,
    /// The step that the check is waiting for.
    pub(super) step: Cell<&'static str>,
}

impl Check {
    /// The reason of a check that ran out of time.
    pub(super) fn late(&self) -> String {
        format!("no answer within {:?}: {}", self.time, self.step.get())
    }

    /// The authority of the request: as configured, or else host and port of the backend.
    pub(super) fn authority(&self) -> String {
        self.settings.host.clone().unwrap_or_else(|| self.backend.url.authority())
    }

    /// The head of a request over HTTP/2.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request<()>, ::http::Error> {
        let uri = Uri::builder()
            .scheme(self.backend.url.scheme.of_requests())
            .authority(self.authority())
            .path_and_query(path)
            .build()?;
        Request::builder().method(method).uri(uri).header(USER_AGENT, AGENT).body(())
    }
}
