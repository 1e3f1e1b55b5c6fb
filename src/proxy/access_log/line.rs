//! A line of the access log, as JSON and as text. Nothing that a client sends can end a line or look
//! like another field: JSON escapes it, text quotes it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::Version;
use serde::Serialize;

use super::{AccessRecord, EndedBy};
use crate::pool::{Evidence, Instant, Outcome, StreamFailure};
use crate::proxy::metrics::code_name;
use crate::proxy::upstream;

/// The fields, in their order. What is not known is `-` where it would be text, and `null` or absent
/// where it would be a number.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    method: &'a str,
    scheme: &'static str,
    authority: String,
    path: &'a str,
    protocol: &'static str,
    client: SocketAddr,
    listener: SocketAddr,
    cluster: &'a str,
    worker: usize,
    backend: &'a str,
    connection: String,
    stream: u32,
    status: u16,
    outcome: &'static str,
    reason: &'static str,
    ended_by: &'static str,
    evidence: &'static str,
    attempts: usize,
    attempt_list: Vec<Attempt<'a>>,
    wait_ms: Option<f64>,
    upload_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    total_ms: f64,
    request_bytes: u64,
    response_bytes: u64,
    backend_request_bytes: u64,
    backend_response_bytes: u64,
    trace_id: &'a str,
}

#[derive(Serialize)]
struct Attempt<'a> {
    backend: &'a str,
    connection: String,
    stream: u32,
    evidence: &'static str,
    failure: &'static str,
}

impl Attempt<'_> {
    fn has_failed(&self) -> bool {
        self.evidence != "-"
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(
        record: &'a AccessRecord,
        worker: usize,
        timestamp: &'a str,
        now: Instant,
    ) -> Self {
        let since = |at: Option<Instant>| at.map(|at| milliseconds(at.since(record.arrived)));
        let attempt_list: Vec<_> = record
            .attempts
            .iter()
            .map(|attempt| Attempt {
                backend: &attempt.backend,
                connection: upstream::name(attempt.stream.connection),
                stream: attempt.stream_id,
                evidence: evidence(attempt.evidence),
                failure: failure(attempt.failure),
            })
            .collect();
        let last = attempt_list.last();
        Self {
            timestamp,
            level: "INFO",
            message: "request",
            method: record.method.as_ref().map_or("-", |method| method.as_str()),
            scheme: if record.arrival.tls { "https" } else { "http" },
            authority: authority(record),
            path: path(record),
            protocol: protocol(record.version),
            client: record.arrival.client,
            listener: record.arrival.listener,
            cluster: record.cluster.as_deref().unwrap_or("-"),
            worker,
            backend: last.map_or("-", |attempt| attempt.backend),
            connection: last.map_or_else(|| "-".to_owned(), |attempt| attempt.connection.clone()),
            stream: last.map_or(0, |attempt| attempt.stream),
            status: record.status,
            outcome: outcome(record.outcome),
            reason: record.reason,
            ended_by: ended_by(record.ended_by),
            evidence: evidence(record.evidence),
            attempts: attempt_list.len().max(usize::from(record.attempts_ordered)),
            wait_ms: since(record.opened),
            upload_ms: since(record.uploaded),
            first_byte_ms: since(record.first_byte),
            total_ms: milliseconds(now.since(record.arrived)),
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            backend_request_bytes: record.backend_request_bytes,
            backend_response_bytes: record.backend_response_bytes,
            trace_id: record.trace.as_ref().map_or("-", |trace| trace.as_str()),
            attempt_list,
        }
    }

    /// One JSON object and a line break.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("text and numbers are JSON");
        line.push(b'\n');
        line
    }

    /// Time, severity and message as in the log, then `name=value`. Of what is not known only what
    /// is always there is written.
    pub(super) fn to_text(&self) -> Vec<u8> {
        let mut line = format!("{}  {} {}", self.timestamp, self.level, self.message);
        let mut field = |name: &str, value: &str| {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            push_quoted(&mut line, value);
        };
        field("method", self.method);
        field("scheme", self.scheme);
        field("authority", &self.authority);
        field("path", self.path);
        field("protocol", self.protocol);
        field("client", &self.client.to_string());
        field("listener", &self.listener.to_string());
        field("cluster", self.cluster);
        field("worker", &self.worker.to_string());
        field("backend", self.backend);
        field("connection", &self.connection);
        field("stream", &self.stream.to_string());
        field("status", &self.status.to_string());
        field("outcome", self.outcome);
        field("reason", self.reason);
        field("ended_by", self.ended_by);
        field("evidence", self.evidence);
        field("attempts", &self.attempts.to_string());
        if self.attempt_list.len() > 1 || self.attempt_list.iter().any(Attempt::has_failed) {
            let mut list = String::new();
            for attempt in &self.attempt_list {
                let Attempt { backend, connection, stream, evidence, failure } = attempt;
                let comma = if list.is_empty() { "" } else { ", " };
                let written =
                    write!(list, "{comma}{backend} {connection} {stream} {evidence} {failure}");
                written.expect("a String takes everything");
            }
            field("attempt_list", &list);
        }
        for (name, value) in [
            ("wait_ms", self.wait_ms),
            ("upload_ms", self.upload_ms),
            ("first_byte_ms", self.first_byte_ms),
            ("total_ms", Some(self.total_ms)),
        ] {
            if let Some(value) = value {
                field(name, &value.to_string());
            }
        }
        field("request_bytes", &self.request_bytes.to_string());
        field("response_bytes", &self.response_bytes.to_string());
        field("backend_request_bytes", &self.backend_request_bytes.to_string());
        field("backend_response_bytes", &self.backend_response_bytes.to_string());
        field("trace_id", self.trace_id);
        line.push('\n');
        line.into_bytes()
    }
}

/// A value as it is if it is one plain word; in quotes and with escapes otherwise.
fn push_quoted(line: &mut String, value: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if !value.is_empty() && value.bytes().all(is_plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            ' '..='~' => line.push(character),
            _ => line.extend(character.escape_unicode()),
        }
    }
    line.push('"');
}

fn path(record: &AccessRecord) -> &str {
    match record.method {
        // What stands there is a default.
        None => "-",
        Some(_) => record.uri.path_and_query().map_or("", |path| path.as_str()),
    }
}

fn authority(record: &AccessRecord) -> String {
    match (record.uri.authority(), &record.host) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn protocol(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::HTTP_09) => "HTTP/0.9",
        Some(Version::HTTP_10) => "HTTP/1.0",
        Some(Version::HTTP_11) => "HTTP/1.1",
        Some(Version::HTTP_2) => "HTTP/2",
        Some(_) | None => "-",
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

fn ended_by(ended_by: EndedBy) -> &'static str {
    match ended_by {
        EndedBy::Client => "client",
        EndedBy::Backend => "backend",
        EndedBy::Proxy => "proxy",
    }
}

/// How the owner of a stream saw it fail.
fn failure(failure: Option<StreamFailure>) -> &'static str {
    match failure {
        None => "-",
        Some(StreamFailure::NotSent) => "not_sent",
        Some(StreamFailure::Reset { code }) => code_name(code),
        Some(StreamFailure::Unprocessed) => "unprocessed",
        Some(StreamFailure::ConnectionLost) => "connection_lost",
        Some(StreamFailure::Malformed) => "malformed",
    }
}

/// The evidence in the words of the log, the metrics and `Proxy-Status`.
#[must_use]
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

#[cfg(test)]
mod tests {
    use super::super::{Arrival, AttemptRecord};
    use super::*;
    use crate::pool::{BackendId, ConnectionToken, StreamToken};

    const HOSTILE: &str = "/a\"b\\c\u{7f}d\u{2028}e\u{85}f=g";

    fn record() -> AccessRecord {
        let request = http::Request::get("http://example.test/a?b").body(()).expect("valid");
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let arrival = Arrival::new(address, address, true);
        let mut record = AccessRecord::new(&request.into_parts().0, &arrival, Instant(1_000_000));
        for (number, stream_id) in [(1, 1), (2, 3)] {
            let connection = ConnectionToken { backend: BackendId(1), slot: 2, generation: 3 };
            let stream = StreamToken { connection, stream: 0, ordinal: stream_id };
            let backend = "https://a:1".into();
            record.attempts.push(AttemptRecord::new(number, backend, stream, stream_id));
        }
        record.attempts[0].evidence = Some(Evidence::Refused);
        record
    }

    #[test]
    fn json_has_every_field_and_each_attempt() {
        let record = record();
        let line = Line::new(&record, 1, "now", Instant(2_500_000)).to_json();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("an object");
        assert_eq!(value["attempt_list"][0]["evidence"], "refused");
        assert_eq!(value["attempt_list"][1]["evidence"], "-");
        assert_eq!((&value["attempts"], &value["worker"]), (&2.into(), &1.into()));
        assert_eq!((&value["connection"], &value["stream"]), (&"b1/s2/g3".into(), &3.into()));
        assert_eq!((&value["authority"], &value["path"]), (&"example.test".into(), &"/a?b".into()));
        assert_eq!(value["total_ms"], 1.5);
        assert!(value["first_byte_ms"].is_null());
    }

    #[test]
    fn no_value_forges_a_line_or_a_field() {
        let mut line = String::new();
        for value in ["a b", "status=200 x", "a\nb", "a\u{1b}[2J", HOSTILE, ""] {
            push_quoted(&mut line, value);
            line.push(' ');
        }
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        let expected = r#""a b" "status=200 x" "a\u{a}b" "a\u{1b}[2J" "#;
        assert!(line.starts_with(expected), "{line}");
        assert!(line.ends_with(r#"f=g" "" "#), "{line}");
        assert!(line.contains(r#""/a\"b\\c\u{7f}d\u{2028}e\u{85}f=g""#), "{line}");
    }

    #[test]
    fn text_is_one_line_of_names_and_values() {
        let record = record();
        let line = Line::new(&record, 1, "now", Instant(2_500_000)).to_text();
        let line = String::from_utf8(line).expect("ASCII");
        assert!(line.starts_with("now  INFO request method=GET scheme=https "), "{line}");
        assert!(line.contains(" attempt_list=\"https://a:1 b1/s2/g3 1 refused -, "), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
