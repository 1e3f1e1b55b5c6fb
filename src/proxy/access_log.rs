//! Writes one line per request, to standard error or to a separate file. Lines do not go through
//! `tracing`: they have no severity, and may go elsewhere than the log.

mod line;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use http::header::HOST;
use http::{HeaderValue, Method, Uri, Version, request};

use super::client_limits::ClientLimit;
use super::config::{AccessLogFormat, AccessLogSettings};
use super::line_writer::{LineWriter, NO_PANIC};
use super::trace_context::TraceId;
use super::{headers, log};
use crate::pool::{
    BackendToken, EndedBy, Evidence, FailureCause, Instant, Outcome, OutcomeKind, StreamToken,
};
use crate::words;

thread_local! {
    /// Scratch space for a timestamp and a line.
    static BUFFERS: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
}

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// The destination of lines, and their format.
#[derive(Clone)]
struct Lines {
    writer: Arc<LineWriter>,
    format: Format,
    /// Lines that the writer had dropped before it was used for the access log.
    dropped_before: u64,
}

impl Lines {
    fn dropped(&self) -> u64 {
        self.writer.dropped() - self.dropped_before
    }
}

/// The access log. Workers share it; its destination may change.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    /// True if lines are written. Workers read it for each request, without contention.
    is_on: AtomicBool,
    lines: RwLock<Option<Lines>>,
    /// Lines that earlier destinations have dropped.
    dropped_before: AtomicU64,
}

/// An opened destination that is not used yet.
pub struct OpenedLog(Option<Lines>);

impl AccessLog {
    /// Opens the access log. By default it goes to standard error in the format of the log, and is
    /// off if the log's level excludes `info`.
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

    /// Opens another destination.
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

    /// Sends lines to another destination from now on. Queued lines go to the previous one.
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

    /// Reopens the file, for instance after its rotation.
    pub fn reopen(&self) {
        if let Some(lines) = self.lines() {
            lines.writer.reopen();
        }
    }

    /// The number of lines dropped because the destination did not keep up.
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

/// The client connection that a request came over.
#[derive(Debug)]
pub struct Arrival {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The client's address, as reported to backends.
    pub client_address: HeaderValue,
    /// The address of the listener.
    pub listener: SocketAddr,
    /// True if the connection uses TLS.
    pub tls: bool,
    /// Requests on the connection that have not ended.
    open: Cell<usize>,
    /// The limit for which Baton closes the connection with its requests.
    cut_by: Cell<Option<ClientLimit>>,
}

impl Arrival {
    /// Creates the record of a connection without requests.
    #[must_use]
    pub fn new(client: SocketAddr, listener: SocketAddr, tls: bool) -> Rc<Self> {
        let client_address = headers::client_address(client.ip());
        Rc::new(Self {
            client,
            client_address,
            listener,
            tls,
            open: Cell::new(0),
            cut_by: Cell::new(None),
        })
    }

    /// The number of requests on the connection that have not ended.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.open.get()
    }

    /// Records that Baton closes the connection, with its requests, for this limit.
    pub fn cut(&self, limit: ClientLimit) {
        self.cut_by.set(Some(limit));
    }

    /// The limit for which Baton closes the connection with its requests, if it does.
    #[must_use]
    pub fn cut_by(&self) -> Option<ClientLimit> {
        self.cut_by.get()
    }

    fn enter(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::clone(self))
    }
}

/// Counts a request as open until this is dropped.
#[derive(Debug)]
struct Open(Rc<Arrival>);

impl Drop for Open {
    fn drop(&mut self) {
        let open = &self.0.open;
        open.set(open.get() - 1);
    }
}

words! {
    /// Why a request that exceeded no limit was refused before a cluster was chosen.
    pub enum Unrouted {
        /// No intermediary may forward the request.
        Refused = "refused",
        /// No route matches its host and path.
        NoRoute = "no_route",
        /// The client closed the connection before the request head was complete.
        IncompleteHead = "incomplete_head",
        /// The client reset the stream, or closed the connection, after the request head and before
        /// Baton had begun to serve the request.
        LeftUnserved = "left_unserved",
    }
}

/// One attempt at a request.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// 1 for the first attempt.
    pub number: u8,
    /// The backend, which may have been removed since.
    pub backend: BackendToken,
    /// The name of the backend.
    pub backend_name: Rc<str>,
    /// The connection and its stream.
    pub stream: StreamToken,
    /// The stream identifier (RFC 9113, 5.1.1); a running number over HTTP/1.1; 0 if the connection
    /// returned the request before it had one.
    pub stream_id: u32,
    /// How far the attempt had come when it failed, and why it failed; `None` if it did not fail.
    pub failed: Option<(Evidence, FailureCause)>,
}

impl AttemptRecord {
    /// Creates the record of an attempt that has just begun.
    #[must_use]
    pub fn new(
        number: u8,
        (backend, backend_name): (BackendToken, Rc<str>),
        stream: StreamToken,
        stream_id: u32,
    ) -> Self {
        Self { number, backend, backend_name, stream, stream_id, failed: None }
    }
}

/// The record of a request. It is written once the request has ended.
#[derive(Debug)]
pub struct AccessRecord {
    /// The method, if it could be parsed.
    pub method: Option<Method>,
    /// The request target.
    pub uri: Uri,
    /// The value of `Host`, if there is one.
    pub host: Option<HeaderValue>,
    /// The HTTP version, if it could be parsed.
    pub version: Option<Version>,
    /// The connection that the request came over.
    pub arrival: Rc<Arrival>,
    /// The trace that the request belongs to.
    pub trace: Option<TraceId>,
    /// The cluster that was chosen, if any.
    pub cluster: Option<Rc<str>>,
    /// When the request head was complete.
    pub arrived: Instant,
    /// When the request was first given to a connection.
    pub opened: Option<Instant>,
    /// When the whole request was sent, body included.
    pub uploaded: Option<Instant>,
    /// When the response head arrived.
    pub first_byte: Option<Instant>,
    /// The attempts, in order.
    pub attempts: Vec<AttemptRecord>,
    /// The pool's count of attempts. It is higher than the length of `attempts` if the client left
    /// before the last one was on a stream.
    pub attempts_ordered: u8,
    /// The status of the response to the client; 0 if there was none.
    pub status: u16,
    /// The outcome, if the pool accepted or rejected it.
    pub outcome: Option<Outcome>,
    /// The reason why Baton responded itself; `-` if it did not.
    pub reason: &'static str,
    /// The party that ended the request.
    pub ended_by: EndedBy,
    /// The state of the last failed attempt when it failed.
    pub evidence: Option<Evidence>,
    /// Bytes of content from the client.
    pub request_bytes: u64,
    /// Bytes of content to the client.
    pub response_bytes: u64,
    /// Bytes of content to backends, summed over all attempts.
    pub backend_request_bytes: u64,
    /// Bytes of content from backends.
    pub backend_response_bytes: u64,
    _open: Option<Open>,
}

impl AccessRecord {
    /// Creates the record of a request whose head has just arrived.
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

    /// Creates the record of a request whose head could not be parsed.
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

    /// Returns the kind of the outcome; a request that never reached the pool was rejected.
    #[must_use]
    pub fn outcome_kind(&self) -> OutcomeKind {
        self.outcome.map_or(OutcomeKind::Rejected, Outcome::kind)
    }

    /// Records that an attempt failed. It may be one that its connection returned unsent.
    pub fn attempt_failed(&mut self, failed: &AttemptRecord) {
        self.evidence = failed.failed.map(|(evidence, _)| evidence);
        match self.attempts.last_mut() {
            Some(known) if known.number == failed.number => known.failed = failed.failed,
            Some(_) | None => self.attempts.push(failed.clone()),
        }
    }

    /// Records the end.
    pub fn ended(&mut self, outcome: Outcome, attempts: u8, by: EndedBy) {
        self.outcome = Some(outcome);
        self.attempts_ordered = attempts;
        self.ended_by = by;
        // The client may leave before its response is made.
        if let Outcome::Rejected(rejection) = outcome {
            self.status = rejection.status();
            self.reason = rejection.name();
        }
    }
}
