//! Memory that workers no longer need goes back to the system. Which allocator a program has, and how
//! that is done with it, is the program's to say.

use std::sync::OnceLock;
use std::time::Duration;

use super::seams;

/// From one time to the next.
const INTERVAL: Duration = Duration::from_secs(1);

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Each worker calls this once a second from now on. It should take microseconds. Only what is said
/// first counts.
pub fn give_back_by(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Gives memory back for as long as the worker runs.
pub(super) async fn run() {
    let Some(give_back) = GIVE_BACK.get() else { return };
    loop {
        seams::sleep(INTERVAL).await;
        give_back();
    }
}
