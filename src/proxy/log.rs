//! The log: readable on a terminal, one JSON object a line elsewhere. Written by a thread of its own,
//! so that nobody waits for whoever reads it; see [`LineWriter`].

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::line_writer::{self, LineWriter};

/// How long the end of the process waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A process has one standard error, and one queue of lines for it.
static STANDARD_ERROR: OnceLock<Arc<LineWriter>> = OnceLock::new();

/// Starts logging to standard error. Other libraries are heard from `warn` up, and in full at
/// `trace`.
///
/// # Panics
/// If called twice.
pub fn init(level: tracing::Level) {
    let libraries = if level == tracing::Level::TRACE { level } else { tracing::Level::WARN };
    let ours = filter_fn(move |metadata: &Metadata<'_>| {
        // What h2 warns of is what a peer did, as often as the peer does it.
        let told = metadata.target().starts_with("h2::") && libraries == tracing::Level::WARN;
        let libraries = if told { tracing::Level::ERROR } else { libraries };
        metadata.target() == "baton" || *metadata.level() <= libraries
    });
    let filter = LevelFilter::from_level(level).and(ours);
    let subscriber = tracing_subscriber::registry();
    let lines = standard_error();
    if is_for_people() {
        let layer = fmt::layer().with_writer(lines).with_target(false);
        subscriber.with(layer.with_filter(filter)).init();
    } else {
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(lines);
        subscriber.with(layer.with_filter(filter)).init();
    }
}

/// Whether standard error is a terminal, so that lines are text.
#[must_use]
pub fn is_for_people() -> bool {
    io::stderr().is_terminal()
}

/// The one queue of lines to standard error.
#[must_use]
pub fn standard_error() -> Arc<LineWriter> {
    Arc::clone(STANDARD_ERROR.get_or_init(|| Arc::new(LineWriter::standard_error())))
}

/// Writes the present time as the log does: RFC 3339, UTC, microseconds.
pub fn write_time(text: &mut String) {
    // It fails only if the text does not take it, and it always does.
    let _ = fmt::time::SystemTime.format_time(&mut Writer::new(text));
}

/// Waits until what was logged is written, the access log included, unless nobody reads it. To be called
/// before the process ends.
pub fn flush() {
    line_writer::flush_all(FLUSH_TIME);
}
