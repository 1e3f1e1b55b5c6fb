//! The log: readable on a terminal, one JSON object a line elsewhere.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

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
    if io::stderr().is_terminal() {
        let layer = fmt::layer().with_writer(io::stderr).with_target(false);
        subscriber.with(layer.with_filter(filter)).init();
    } else {
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(io::stderr);
        subscriber.with(layer.with_filter(filter)).init();
    }
}
