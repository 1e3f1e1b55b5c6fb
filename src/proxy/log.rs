//! The log: text on a terminal, otherwise one JSON object per line. A separate thread writes it, so
//! that no worker waits for a slow reader; see [`LineWriter`].

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::limits::LOG_FLUSH_TIMEOUT;
use super::line_writer::{self, LineWriter};

/// The queue of lines to standard error; a process has one.
static STANDARD_ERROR: OnceLock<Arc<LineWriter>> = OnceLock::new();

/// Starts logging to standard error.
///
/// # Panics
/// If called twice.
pub fn init(level: tracing::Level) {
    subscriber(level).init();
}

/// The log to standard error. Other libraries are logged from `warn` up, and in full at `trace`.
pub fn subscriber(level: tracing::Level) -> impl Subscriber + Send + Sync {
    let libraries = if level == tracing::Level::TRACE { level } else { tracing::Level::WARN };
    let ours = filter_fn(move |metadata: &Metadata<'_>| {
        // Warnings of h2 are about peers, and a peer can cause any number of them.
        let from_h2 = metadata.target().starts_with("h2::") && libraries == tracing::Level::WARN;
        let libraries = if from_h2 { tracing::Level::ERROR } else { libraries };
        metadata.target() == "baton" || *metadata.level() <= libraries
    });
    let filter = LevelFilter::from_level(level).and(ours);
    let layer = fmt::layer().with_writer(standard_error()).with_target(false);
    let layer = if is_for_people() {
        layer.boxed()
    } else {
        let layer = layer.json().flatten_event(true);
        layer.with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// True if standard error is a terminal: then lines are text.
#[must_use]
pub fn is_for_people() -> bool {
    io::stderr().is_terminal()
}

/// Returns the queue of lines to standard error.
#[must_use]
pub fn standard_error() -> Arc<LineWriter> {
    Arc::clone(STANDARD_ERROR.get_or_init(|| Arc::new(LineWriter::standard_error())))
}

/// Appends the present time as in the log: RFC 3339, UTC, microseconds.
pub fn write_time(text: &mut String) {
    // Writing to a String does not fail.
    let _ = fmt::time::SystemTime.format_time(&mut Writer::new(text));
}

/// Waits until the log and the access log are written, or a deadline passes. Call before the
/// process ends.
pub fn flush() {
    line_writer::flush_all(LOG_FLUSH_TIMEOUT);
}
