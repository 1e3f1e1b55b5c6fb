//! Panics of the code under test, which become findings.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::checker::{Invariant, Violation};

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Turns assertions in the pool into findings: keeps their messages for the report.
pub(crate) fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|panic| {
            let text = panic.payload_as_str().unwrap_or("a panic without a message");
            let place =
                panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
            let text = format!("{text}{}", place.unwrap_or_default());
            PANIC.with(|last| *last.borrow_mut() = Some(text));
        }));
    });
}

/// Keeps the messages of panics, which are reported as ever, so that a test learns of a panic in a
/// task that it does not wait for.
#[cfg(feature = "proxy")]
pub(crate) fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            report(panic);
            let text = panic.payload_as_str().unwrap_or("a panic without a message");
            PANIC.with(|last| last.borrow_mut().get_or_insert_with(|| text.to_owned()).len());
        }));
    });
}

/// The panic of this thread that was not reported yet, if there is one.
#[cfg(feature = "proxy")]
pub(crate) fn panicked() -> Option<String> {
    PANIC.with(|last| last.borrow_mut().take())
}

/// Returns what `run` returns; a panic in it breaks an invariant.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let text = PANIC.with(|last| last.borrow_mut().take());
        let what = text.unwrap_or_else(|| "a panic".to_owned());
        Err(Violation { invariant: Invariant::PoolAssert, what })
    })
}
