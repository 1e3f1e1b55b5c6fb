//! Metrics of reloads.

use super::exposition::Text;
use crate::proxy::reload::counts::Counts;

/// Adds the families of metrics.
pub(super) fn encode(text: &mut Text, counts: &Counts) {
    let mut family = text.counter(
        "baton_reloads_total",
        "Reloads of the configuration and its certificates, by outcome.",
    );
    let Counts { changed, unchanged, failed, last_went_well } = counts;
    for (outcome, count) in [("changed", changed), ("unchanged", unchanged), ("failed", failed)] {
        family.sample(&[("outcome", outcome)], count.get());
    }
    text.gauge(
        "baton_last_reload_successful",
        "0 if the last reload failed: the running configuration then differs from the file.",
    )
    .sample(&[], u8::from(last_went_well.get()));
}
