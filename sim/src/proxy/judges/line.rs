//! Lines of the log and of the access log.

use serde::Deserialize;
use serde_json::Value;

use crate::checker::{Invariant, Violation};

/// The message of a line of the access log.
const REQUEST: &str = r#""message":"request","#;
/// Nanoseconds in a millisecond.
const MILLISECOND: f64 = 1e6;

/// A line of the access log.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AccessLine {
    /// When it was written, in nanoseconds since the start.
    #[serde(skip)]
    pub(super) at: u64,
    pub(super) method: String,
    pub(super) scheme: String,
    pub(super) path: String,
    pub(super) protocol: String,
    pub(super) listener: String,
    pub(super) cluster: String,
    pub(super) worker: u64,
    pub(super) backend: String,
    pub(super) connection: String,
    pub(super) stream: u32,
    pub(super) status: u16,
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) ended_by: String,
    pub(super) evidence: String,
    pub(super) attempts: usize,
    pub(super) attempt_list: Vec<Attempt>,
    pub(super) wait_ms: Option<f64>,
    pub(super) upload_ms: Option<f64>,
    pub(super) first_byte_ms: Option<f64>,
    pub(super) total_ms: f64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) backend_request_bytes: u64,
    pub(super) backend_response_bytes: u64,
    pub(super) trace_id: String,
}

/// An attempt in the access log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Attempt {
    pub(super) backend: String,
    pub(super) connection: String,
    pub(super) stream: u32,
    pub(super) evidence: String,
    pub(super) failure: String,
}

impl AccessLine {
    /// When the request arrived, in nanoseconds since the start.
    pub(super) fn arrived(&self) -> u64 {
        self.at.saturating_sub(nanoseconds(self.total_ms))
    }

    /// The time of a step that is given as milliseconds since the arrival.
    pub(super) fn time(&self, step: Option<f64>) -> Option<u64> {
        Some(self.arrived() + nanoseconds(step?))
    }

    /// True if the head of the request was read.
    pub(super) fn has_head(&self) -> bool {
        self.path != "-"
    }
}

pub(super) fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * MILLISECOND).round() as u64
}

/// Another line of the log.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    /// When it was written, in nanoseconds since the start.
    pub(super) at: u64,
    fields: Value,
}

impl LogLine {
    /// The message.
    pub(super) fn message(&self) -> &str {
        self.text("message")
    }

    /// A field that is text; empty if there is none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field that is a whole number; `None` if there is none.
    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field).and_then(Value::as_u64)
    }

    /// A field that is a truth value; `None` if there is none.
    pub(super) fn flag(&self, field: &str) -> Option<bool> {
        self.fields.get(field).and_then(Value::as_bool)
    }
}

/// A line of either kind.
pub(super) enum Line {
    Access(Box<AccessLine>),
    Log(LogLine),
}

/// Reads a line.
///
/// # Errors
/// If it is not JSON, or a line of the access log lacks a field.
pub(super) fn read(at: u64, text: &str) -> Result<Line, Violation> {
    let unreadable = |error: serde_json::Error| Violation {
        invariant: Invariant::AccessLog,
        what: format!("an unreadable line, {error}: {text}"),
    };
    if text.contains(REQUEST) {
        let line: AccessLine = serde_json::from_str(text).map_err(unreadable)?;
        return Ok(Line::Access(Box::new(AccessLine { at, ..line })));
    }
    let fields: Value = serde_json::from_str(text).map_err(unreadable)?;
    Ok(Line::Log(LogLine { at, fields }))
}
