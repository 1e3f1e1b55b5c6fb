//! One line per request, whatever became of it.

use std::net::SocketAddr;
use std::rc::Rc;

use http::{Method, Uri};

use super::upstream;
use crate::pool::{Evidence, Instant, Outcome, StreamToken};

/// What is known of a request so far. Written when it is dropped.
pub struct AccessRecord {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Who asked.
    pub client: SocketAddr,
    /// When its head was complete.
    pub arrived: Instant,
    /// When it was first given to a connection.
    pub opened: Option<Instant>,
    /// When the response head came.
    pub first_byte: Option<Instant>,
    /// The last attempt: backend, stream, stream identifier.
    pub served_by: Option<(Rc<str>, StreamToken, u32)>,
    /// The status that the client saw; 0 if none.
    pub status: u16,
    /// How it ended, if the pool was asked.
    pub outcome: Option<Outcome>,
    /// Why it was answered without a backend.
    pub reason: &'static str,
    /// How many times it was given to a connection.
    pub attempts: u8,
    /// Where the last failed attempt stood.
    pub evidence: Option<Evidence>,
    /// Bytes of body from the client.
    pub request_bytes: u64,
    /// Bytes of body to the client.
    pub response_bytes: u64,
}

impl AccessRecord {
    /// A record of a request that has just arrived.
    pub fn new(method: Method, uri: Uri, client: SocketAddr, arrived: Instant) -> Self {
        Self {
            method,
            uri,
            client,
            arrived,
            opened: None,
            first_byte: None,
            served_by: None,
            status: 0,
            outcome: None,
            reason: "-",
            attempts: 0,
            evidence: None,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// Writes the line.
    pub fn write(&self, now: Instant) {
        let since =
            |at: Option<Instant>| at.map_or(-1.0, |at| milliseconds(at.since(self.arrived)));
        let (backend, connection, stream) = match &self.served_by {
            Some((backend, token, id)) => (&**backend, upstream::name(token.connection), *id),
            None => ("-", "-".to_owned(), 0),
        };
        tracing::info!(
            target: "baton",
            method = self.method.as_str(),
            path = self.uri.path_and_query().map_or("", |path| path.as_str()),
            status = self.status,
            outcome = outcome(self.outcome),
            reason = self.reason,
            backend,
            connection,
            stream,
            attempts = self.attempts,
            evidence = evidence(self.evidence),
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            wait_ms = since(self.opened),
            first_byte_ms = since(self.first_byte),
            total_ms = milliseconds(now.since(self.arrived)),
            client = %self.client,
            "request"
        );
    }
}

/// Milliseconds with three decimals.
fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn outcome(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Completed) => "completed",
        Some(Outcome::Cancelled) => "cancelled",
        Some(Outcome::Rejected(_)) | None => "rejected",
        Some(Outcome::CutShort) => "cut_short",
    }
}

/// The evidence in the words of the log and of `Proxy-Status`.
pub fn evidence(evidence: Option<Evidence>) -> &'static str {
    match evidence {
        None => "-",
        Some(Evidence::NeverSent) => "never_sent",
        Some(Evidence::Unprocessed) => "unprocessed",
        Some(Evidence::Refused) => "refused",
        Some(Evidence::Unknown) => "unknown",
        Some(Evidence::Responding) => "responding",
    }
}
