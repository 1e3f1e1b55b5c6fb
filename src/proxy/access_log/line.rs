//! A line of the access log, as JSON and as text. A client cannot end a line or inject a field:
//! JSON escapes its values, text quotes them.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;

use http::Version;
use serde::{Serialize, Serializer};

use super::{AccessRecord, AttemptRecord};
use crate::pool::{ConnectionToken, Evidence, FailureCause, Instant, StreamFailure};
use crate::proxy::metrics::code_name;

/// The fields, in order. An unknown value is `-` for text, and `null` or absent for a number.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    method: &'a str,
    scheme: &'static str,
    authority: Cow<'a, str>,
    path: &'a str,
    protocol: &'static str,
    client: SocketAddr,
    listener: SocketAddr,
    cluster: &'a str,
    worker: usize,
    backend: &'a str,
    connection: ConnectionName,
    stream: u32,
    status: u16,
    outcome: &'static str,
    reason: &'static str,
    ended_by: &'static str,
    evidence: &'static str,
    attempts: usize,
    attempt_list: Attempts<'a>,
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

/// The name of a connection; `-` without one.
struct ConnectionName(Option<ConnectionToken>);

impl fmt::Display for ConnectionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(connection) => connection.fmt(formatter),
            None => formatter.write_str("-"),
        }
    }
}

impl Serialize for ConnectionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Attempts<'a>(&'a [AttemptRecord]);

impl Serialize for Attempts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Attempt::new))
    }
}

/// The text format.
impl fmt::Display for Attempts<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.0.iter().map(Attempt::new).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let Attempt { backend, connection, stream, evidence, failure } = attempt;
            write!(formatter, "{comma}{backend} {connection} {stream} {evidence} {failure}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Attempt<'a> {
    backend: &'a str,
    connection: ConnectionName,
    stream: u32,
    evidence: &'static str,
    failure: &'static str,
}

impl<'a> Attempt<'a> {
    fn new(record: &'a AttemptRecord) -> Self {
        Self {
            backend: &record.backend_name,
            connection: ConnectionName(Some(record.stream.connection)),
            stream: record.stream_id,
            evidence: record.failed.map_or("-", |(evidence, _)| evidence.name()),
            failure: match record.failed {
                Some((_, FailureCause::Stream(StreamFailure::Reset { code }))) => code_name(code),
                failed => failed.map_or("-", |(_, cause)| cause.name()),
            },
        }
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
        let last = record.attempts.last();
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
            backend: last.map_or("-", |attempt| &attempt.backend_name),
            connection: ConnectionName(last.map(|attempt| attempt.stream.connection)),
            stream: last.map_or(0, |attempt| attempt.stream_id),
            status: record.status,
            outcome: record.outcome_kind().name(),
            reason: record.reason,
            ended_by: record.ended_by.name(),
            evidence: record.evidence.map_or("-", Evidence::name),
            attempts: record.attempts.len().max(usize::from(record.attempts_ordered)),
            attempt_list: Attempts(&record.attempts),
            wait_ms: since(record.opened),
            upload_ms: since(record.uploaded),
            first_byte_ms: since(record.first_byte),
            total_ms: milliseconds(now.since(record.arrived)),
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            backend_request_bytes: record.backend_request_bytes,
            backend_response_bytes: record.backend_response_bytes,
            trace_id: record.trace.as_ref().map_or("-", |trace| trace.as_str()),
        }
    }

    /// Appends one JSON object and a line break.
    pub(super) fn append_json(&self, bytes: &mut Vec<u8>) {
        serde_json::to_writer(&mut *bytes, self).expect("text and numbers are JSON");
        bytes.push(b'\n');
    }

    /// Appends time, severity and message as in the log, then `name=value` pairs and a line break.
    /// An unknown number is omitted.
    pub(super) fn append_text(&self, bytes: &mut Vec<u8>) {
        self.write_text(bytes).expect("a Vec does not fail");
    }

    fn write_text(&self, line: &mut Vec<u8>) -> io::Result<()> {
        write!(line, "{}  {} {}", self.timestamp, self.level, self.message)?;
        write!(line, " method={} scheme={}", Quoted(self.method), self.scheme)?;
        write!(line, " authority={} path={}", Quoted(&self.authority), Quoted(self.path))?;
        write!(line, " protocol={} client={}", self.protocol, self.client)?;
        write!(line, " listener={} cluster={}", self.listener, Quoted(self.cluster))?;
        write!(line, " worker={} backend={}", self.worker, Quoted(self.backend))?;
        write!(line, " connection={} stream={}", self.connection, self.stream)?;
        write!(line, " status={} outcome={}", self.status, self.outcome)?;
        write!(line, " reason={} ended_by={}", self.reason, self.ended_by)?;
        write!(line, " evidence={} attempts={}", self.evidence, self.attempts)?;
        let attempts = self.attempt_list.0;
        if attempts.len() > 1 || attempts.iter().any(|attempt| attempt.failed.is_some()) {
            write!(line, " attempt_list={}", Quoted(&self.attempt_list.to_string()))?;
        }
        for (name, value) in [
            ("wait_ms", self.wait_ms),
            ("upload_ms", self.upload_ms),
            ("first_byte_ms", self.first_byte_ms),
            ("total_ms", Some(self.total_ms)),
        ] {
            if let Some(value) = value {
                write!(line, " {name}={value}")?;
            }
        }
        let (request, response) = (self.request_bytes, self.response_bytes);
        write!(line, " request_bytes={request} response_bytes={response}")?;
        let (request, response) = (self.backend_request_bytes, self.backend_response_bytes);
        write!(line, " backend_request_bytes={request} backend_response_bytes={response}")?;
        writeln!(line, " trace_id={}", self.trace_id)
    }
}

/// Writes a value as it is if it is plain graphic ASCII; otherwise quoted and escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if !self.0.is_empty() && self.0.bytes().all(is_plain) {
            return formatter.write_str(self.0);
        }
        formatter.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(formatter, "\\{character}")?,
                ' '..='~' => formatter.write_char(character)?,
                _ => write!(formatter, "{}", character.escape_unicode())?,
            }
        }
        formatter.write_str("\"")
    }
}

fn path(record: &AccessRecord) -> &str {
    match record.method {
        // The URI of an unparsed head is a default value.
        None => "-",
        Some(_) => record.uri.path_and_query().map_or("", |path| path.as_str()),
    }
}

fn authority(record: &AccessRecord) -> Cow<'_, str> {
    match (record.uri.authority(), &record.host) {
        (Some(authority), _) => authority.as_str().into(),
        (None, Some(host)) => String::from_utf8_lossy(host.as_bytes()),
        (None, None) => "-".into(),
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

/// Converts to milliseconds with three decimals.
fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::super::{Arrival, AttemptRecord};
    use super::*;
    use crate::pool::{BackendId, BackendToken, ConnectionToken, StreamToken};

    const HOSTILE: &str = "/a\"b\\c\u{7f}d\u{2028}e\u{85}f=g";

    fn record() -> AccessRecord {
        let request = http::Request::get("http://example.test/a?b").body(()).expect("valid");
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let arrival = Arrival::new(address, address, true);
        let mut record = AccessRecord::new(&request.into_parts().0, &arrival, Instant(1_000_000));
        for (number, stream_id) in [(1, 1), (2, 3)] {
            let connection = ConnectionToken { backend: BackendId(1), slot: 2, generation: 3 };
            let stream = StreamToken { connection, stream: 0, ordinal: stream_id };
            let backend = BackendToken { backend: BackendId(1), generation: 1 };
            let backend = (backend, "https://a:1".into());
            record.attempts.push(AttemptRecord::new(number, backend, stream, stream_id));
        }
        let cause = FailureCause::Stream(StreamFailure::Reset { code: 7 });
        record.attempts[0].failed = Some((Evidence::Refused, cause));
        record
    }

    #[test]
    fn json_has_every_field_and_each_attempt() {
        let record = record();
        let mut line = Vec::new();
        Line::new(&record, 1, "now", Instant(2_500_000)).append_json(&mut line);
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
            line.push_str(&format!("{} ", Quoted(value)));
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
        let mut line = Vec::new();
        Line::new(&record, 1, "now", Instant(2_500_000)).append_text(&mut line);
        let line = String::from_utf8(line).expect("ASCII");
        assert!(line.starts_with("now  INFO request method=GET scheme=https "), "{line}");
        assert!(
            line.contains(" attempt_list=\"https://a:1 b1/s2/g3 1 refused REFUSED_STREAM, "),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
