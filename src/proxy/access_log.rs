//! One line per request, whatever became of it, to standard error or to a file of its own. Lines do
//! not go through `tracing`: they are not a matter of severity, and may go elsewhere than the log.

mod line;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use http::header::HOST;
use http::{HeaderValue, Method, Uri, Version, request};

use super::config::{AccessLogFormat, AccessLogSettings};
use super::line_writer::LineWriter;
use super::trace_context::TraceId;
use super::{headers, log};
use crate::pool::{Evidence, Instant, Outcome, Rejection, StreamFailure, StreamToken};

pub use line::evidence;

/// Why nobody who holds the lock has panicked.
const NO_PANIC: &str = "a panic ends the process";

thread_local! {
    /// Where a time and a line are put together.
    static BUFFERS: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Where lines go, and in which form.
#[derive(Clone)]
struct Lines {
    writer: Arc<LineWriter>,
    format: Format,
    /// Lines that the writer had dropped before it was used for this.
    dropped_before: u64,
}

impl Lines {
    fn dropped(&self) -> u64 {
        self.writer.dropped() - self.dropped_before
    }
}

/// The access log. Workers share it; where its lines go may change.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    /// Whether there are lines at all: workers ask for each request, and do not stand in each other's
    /// way by that.
    is_on: AtomicBool,
    lines: RwLock<Option<Lines>>,
    /// Lines that were dropped where they went before.
    dropped_before: AtomicU64,
}

/// Somewhere for lines to go, opened and not used yet.
pub struct OpenedLog(Option<Lines>);

impl AccessLog {
    /// Opens the access log. If nothing is said of it, it goes to standard error in the format of the
    /// log, and is silent where the log is not interested in severity `info`.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(settings: &AccessLogSettings) -> Result<Self, String> {
        let OpenedLog(lines) = Self::prepare(settings)?;
        Ok(Self(Arc::new(Shared {
            is_on: AtomicBool::new(lines.is_some()),
            lines: RwLock::new(lines),
            dropped_before: AtomicU64::new(0),
        })))
    }

    /// Opens somewhere else for lines to go.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn prepare(settings: &AccessLogSettings) -> Result<OpenedLog, String> {
        let format = match (settings.format, &settings.file) {
            (AccessLogFormat::Off, _) => return Ok(OpenedLog(None)),
            (AccessLogFormat::Text, _) => Format::Text,
            (AccessLogFormat::Json, _) | (AccessLogFormat::Auto, Some(_)) => Format::Json,
            (AccessLogFormat::Auto, None) => {
                if !tracing::enabled!(target: "baton", tracing::Level::INFO) {
                    return Ok(OpenedLog(None));
                }
                if log::is_for_people() { Format::Text } else { Format::Json }
            }
        };
        let writer = match &settings.file {
            None => log::standard_error(),
            Some(path) => Arc::new(open_file(path)?),
        };
        let dropped_before = writer.dropped();
        Ok(OpenedLog(Some(Lines { writer, format, dropped_before })))
    }

    /// Lets lines go somewhere else from now on. Those that were queued go where they were to go.
    pub fn replace(&self, opened: OpenedLog) {
        let before = {
            let mut lines = self.0.lines.write().expect(NO_PANIC);
            self.0.is_on.store(opened.0.is_some(), Ordering::Relaxed);
            std::mem::replace(&mut *lines, opened.0)
        };
        let dropped = before.map_or(0, |lines| lines.dropped());
        self.0.dropped_before.fetch_add(dropped, Ordering::Relaxed);
    }

    fn lines(&self) -> Option<Lines> {
        self.0.lines.read().expect(NO_PANIC).clone()
    }

    /// Opens the file anew, as after its rotation.
    pub fn reopen(&self) {
        if let Some(lines) = self.lines() {
            lines.writer.reopen();
        }
    }

    /// Lines that were dropped because nobody took them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let present = self.lines().map_or(0, |lines| lines.dropped());
        self.0.dropped_before.load(Ordering::Relaxed) + present
    }

    /// Queues the line of a request that has ended on a worker.
    pub fn write(&self, record: &AccessRecord, worker: usize, now: Instant) {
        if !self.0.is_on.load(Ordering::Relaxed) {
            return;
        }
        let lines = self.0.lines.read().expect(NO_PANIC);
        let Some(Lines { writer, format, .. }) = &*lines else { return };
        BUFFERS.with_borrow_mut(|(timestamp, bytes)| {
            timestamp.clear();
            log::write_time(timestamp);
            let line = line::Line::new(record, worker, timestamp, now);
            bytes.clear();
            match format {
                Format::Text => line.append_text(bytes),
                Format::Json => line.append_json(bytes),
            }
            writer.push(bytes);
        });
    }
}

fn open_file(path: &Path) -> Result<LineWriter, String> {
    LineWriter::file(path).map_err(|error| format!("access log {}: {error}", path.display()))
}

/// The connection that a request came over.
#[derive(Debug)]
pub struct Arrival {
    /// Who asked.
    pub client: SocketAddr,
    /// Its address, as backends are told.
    pub client_address: HeaderValue,
    /// The address that is listened on.
    pub listener: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// Requests over it that have not ended.
    open: Cell<usize>,
}

impl Arrival {
    /// A connection that nothing was asked over yet.
    #[must_use]
    pub fn new(client: SocketAddr, listener: SocketAddr, tls: bool) -> Rc<Self> {
        let client_address = headers::client_address(client.ip());
        Rc::new(Self { client, client_address, listener, tls, open: Cell::new(0) })
    }

    /// Requests over it that were read and have not ended.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.open.get()
    }

    fn enter(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::clone(self))
    }
}

/// Counts a request as open while it lives.
#[derive(Debug)]
struct Open(Rc<Arrival>);

impl Drop for Open {
    fn drop(&mut self) {
        let open = &self.0.open;
        open.set(open.get() - 1);
    }
}

/// Who ended a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// It went away, or what it sent could not be used.
    Client,
    /// It answered, or failed.
    Backend,
    /// Baton did: a limit, a deadline, a shutdown.
    Proxy,
}

/// One attempt at a request.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// 1 for the first.
    pub number: u8,
    /// Where it went.
    pub backend: Rc<str>,
    /// The connection and its stream.
    pub stream: StreamToken,
    /// RFC 9113, 5.1.1; a running number over HTTP/1.1.
    pub stream_id: u32,
    /// Where it stood when it failed, if it did.
    pub evidence: Option<Evidence>,
    /// What the owner of its stream saw of the failure, if it saw it.
    pub failure: Option<StreamFailure>,
}

impl AttemptRecord {
    /// One that has just begun.
    #[must_use]
    pub fn new(number: u8, backend: Rc<str>, stream: StreamToken, stream_id: u32) -> Self {
        Self { number, backend, stream, stream_id, evidence: None, failure: None }
    }
}

/// What is known of a request so far. Written once it has ended.
#[derive(Debug)]
pub struct AccessRecord {
    /// Its method, if one could be read.
    pub method: Option<Method>,
    /// Its target.
    pub uri: Uri,
    /// Its `Host`, if there is one.
    pub host: Option<HeaderValue>,
    /// Its version of HTTP, if it could be read.
    pub version: Option<Version>,
    /// Where it came from.
    pub arrival: Rc<Arrival>,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
    /// The cluster that it was for, if one was chosen.
    pub cluster: Option<Rc<str>>,
    /// When its head was complete.
    pub arrived: Instant,
    /// When it was first given to a connection.
    pub opened: Option<Instant>,
    /// When it was sent whole, its body included.
    pub uploaded: Option<Instant>,
    /// When the response head came.
    pub first_byte: Option<Instant>,
    /// Each time that it was given to a connection.
    pub attempts: Vec<AttemptRecord>,
    /// How often the pool says it was: more often than the connections did if one of them gave it
    /// back at once.
    pub attempts_ordered: u8,
    /// The status that the client saw; 0 if none.
    pub status: u16,
    /// How it ended, if the pool was asked.
    pub outcome: Option<Outcome>,
    /// Why it was answered without a backend.
    pub reason: &'static str,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Where the last failed attempt stood.
    pub evidence: Option<Evidence>,
    /// Bytes of body from the client.
    pub request_bytes: u64,
    /// Bytes of body to the client.
    pub response_bytes: u64,
    /// Bytes of body to backends, all attempts together.
    pub backend_request_bytes: u64,
    /// Bytes of body from backends.
    pub backend_response_bytes: u64,
    _open: Option<Open>,
}

impl AccessRecord {
    /// A record of a request whose head has just arrived.
    #[must_use]
    pub fn new(parts: &request::Parts, arrival: &Rc<Arrival>, arrived: Instant) -> Self {
        Self {
            _open: Some(arrival.enter()),
            method: Some(parts.method.clone()),
            uri: parts.uri.clone(),
            host: parts.headers.get(HOST).cloned(),
            version: Some(parts.version),
            ..Self::unreadable(arrival, arrived)
        }
    }

    /// A record of a request whose head could not be read.
    #[must_use]
    pub fn unreadable(arrival: &Rc<Arrival>, arrived: Instant) -> Self {
        Self {
            method: None,
            uri: Uri::default(),
            host: None,
            version: None,
            arrival: Rc::clone(arrival),
            trace: None,
            cluster: None,
            arrived,
            opened: None,
            uploaded: None,
            first_byte: None,
            attempts: Vec::new(),
            attempts_ordered: 0,
            status: 0,
            outcome: None,
            reason: "-",
            ended_by: EndedBy::Proxy,
            evidence: None,
            request_bytes: 0,
            response_bytes: 0,
            backend_request_bytes: 0,
            backend_response_bytes: 0,
            _open: None,
        }
    }

    /// Notes a further attempt, and where the one before it stood when it failed.
    pub fn attempt_begun(&mut self, attempt: AttemptRecord, evidence: Option<Evidence>) {
        self.note_evidence(attempt.number.saturating_sub(1), evidence);
        self.attempts.push(attempt);
    }

    /// Notes how the owner of an attempt's stream saw it fail.
    pub fn attempt_failed(&mut self, stream: StreamToken, failure: StreamFailure) {
        if let Some(attempt) = self.attempts.iter_mut().rfind(|known| known.stream == stream) {
            attempt.failure = Some(failure);
        }
    }

    /// Notes where an attempt stood when it failed. One that its connection gave back at once is in
    /// no list.
    fn note_evidence(&mut self, number: u8, evidence: Option<Evidence>) {
        if let Some(attempt) = self.attempts.iter_mut().rfind(|known| known.number == number) {
            attempt.evidence = evidence;
        }
    }

    /// Notes the end. `evidence` is about the last attempt that failed: the last one of all, unless
    /// that one is the one that was completed or was under way.
    pub fn ended(&mut self, outcome: Outcome, attempts: u8, evidence: Option<Evidence>) {
        self.outcome = Some(outcome);
        self.attempts_ordered = attempts;
        self.evidence = evidence;
        let last = self.attempts.last();
        self.ended_by = match outcome {
            Outcome::Completed | Outcome::Rejected(Rejection::AttemptFailed) => EndedBy::Backend,
            Outcome::Cancelled => EndedBy::Client,
            Outcome::Rejected(_) => EndedBy::Proxy,
            // What nobody has seen fail, the pool gave up with its connection.
            Outcome::CutShort if last.is_some_and(|attempt| attempt.failure.is_some()) => {
                EndedBy::Backend
            }
            Outcome::CutShort => EndedBy::Proxy,
        };
        match outcome {
            // The pool said so of each attempt when it ordered the next.
            Outcome::Completed | Outcome::Cancelled => {}
            Outcome::Rejected(_) | Outcome::CutShort => self.note_evidence(attempts, evidence),
        }
    }
}
