//! Returns memory that workers no longer need to the system. The program supplies the function,
//! since it chooses the allocator.

use std::sync::OnceLock;

use super::limits::MEMORY_RETURN_INTERVAL;
use super::seams;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Sets the function that each worker calls once a second. It should take microseconds. Only the
/// first call has an effect.
pub fn give_back_by(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Returns memory once a second until the worker ends.
pub(super) async fn run() {
    let Some(give_back) = GIVE_BACK.get() else { return };
    loop {
        seams::sleep(MEMORY_RETURN_INTERVAL).await;
        give_back();
    }
}
