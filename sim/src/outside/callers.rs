//! The caller: the function that reaches outside, and whether it is allowed to.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Reached, Resource};

/// The callers that may read the simulated clock or draw simulated entropy: how the names of their
/// functions begin.
const ALLOWED: [(Resource, &str); 8] = [
    // The timestamps of log lines: this library has no other way to format a time.
    (Resource::Clock, "tracing_subscriber::fmt::time::"),
    // The time after which h2 forgets a stream that was reset.
    (Resource::Clock, "h2::proto::streams::"),
    // The start of a paused clock, and how long the runtime was busy.
    (Resource::Clock, "tokio::time::clock::"),
    (Resource::Clock, "tokio::runtime::metrics::"),
    // The allocator gives memory back to the system some time after it was freed.
    (Resource::Clock, "sim::memory::allocator::"),
    // The validity of certificates.
    (Resource::Clock, "rustls_pki_types::"),
    // Key shares, nonces and session ids.
    (Resource::Entropy, "ring::"),
    (Resource::Entropy, "getrandom::"),
];
/// The crates that call on behalf of others.
const CARRIERS: [&str; 3] = ["std", "core", "alloc"];
/// The functions between the caller and the backtrace.
const OWN: [&str; 7] = [
    "sim::outside::callers::",
    "sim::outside::symbols::",
    "sim::outside::clock",
    "sim::outside::entropy",
    "sim::outside::forbidden",
    "sim::outside::reach",
    "sim::memory::uncharged",
];
/// The functions that a backtrace shows.
const SHOWN_MAX: usize = 40;
/// The function at which a backtrace ends: it begins the thread.
const OUTERMOST: &str = "__rust_begin_short_backtrace";
/// The innermost functions by which calls are distinguished.
const DISTINCT: usize = 16;
/// Stacks that are remembered as allowed.
const REMEMBERED_MAX: usize = 10_000;

thread_local! {
    static REMEMBERED: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
}

/// Returns the call that is being made, unless its caller is allowed to make it.
pub(super) fn examine(resource: Resource) -> Option<Reached> {
    let stack = fingerprint(resource);
    if stack.is_some_and(|stack| REMEMBERED.with_borrow(|known| known.contains(&stack))) {
        return None;
    }
    let text = Backtrace::force_capture().to_string();
    let frames = frames(&text);
    let place = frames.iter().position(|frame| is_caller(frame.function)).unwrap_or(0);
    let caller = frames.get(place).map_or("a function without a name", |frame| frame.function);
    if is_allowed(resource, caller) {
        if let Some(stack) = stack {
            REMEMBERED.with_borrow_mut(|known| {
                if known.len() < REMEMBERED_MAX {
                    known.insert(stack);
                }
            });
        }
        return None;
    }
    let mut backtrace = String::new();
    let is_in_thread = |frame: &&Frame<'_>| !frame.function.contains(OUTERMOST);
    for frame in frames.iter().skip(place).take_while(is_in_thread).take(SHOWN_MAX) {
        let Frame { function, place } = frame;
        let separator = if place.is_empty() { "" } else { "  " };
        writeln!(backtrace, "  {function}{separator}{place}").expect("writing to a string");
    }
    Some(Reached { resource, caller: caller.to_owned(), backtrace })
}

/// A number for the innermost functions on the stack.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn fingerprint(resource: Resource) -> Option<u64> {
    let mut addresses = [0; DISTINCT];
    let count = super::symbols::stack(&mut addresses);
    let mixed = addresses[..count].iter().fold(resource as u64, |mixed, address| {
        (mixed ^ *address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    Some(mixed)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn fingerprint(_: Resource) -> Option<u64> {
    None
}

/// A function on the stack.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    function: &'a str,
    /// File, line and column, if they are known.
    place: &'a str,
}

/// Reads a backtrace as the standard library prints it: a line for each function, most with a
/// number, and perhaps a line for its place.
fn frames(text: &str) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let (Some(place), Some(frame)) = (line.strip_prefix("at "), frames.last_mut()) {
            frame.place = place;
            continue;
        }
        let function = match line.split_once(": ") {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => line,
        };
        frames.push(Frame { function, place: "" });
    }
    frames
}

/// The crate whose function it is, or the crate whose type it belongs to.
fn crate_of(function: &str) -> Option<&str> {
    let start = function.trim_start_matches(['<', '&', '*', '(', '[', ' ']);
    let start = ["mut ", "const ", "dyn "]
        .iter()
        .fold(start, |start, word| start.strip_prefix(word).unwrap_or(start));
    let (name, _) = start.split_once("::")?;
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(of_name).then_some(name)
}

/// True for a function that calls on its own behalf: not for the standard library, for C, and for
/// what reports the call.
fn is_caller(function: &str) -> bool {
    let is_own = OWN.iter().any(|start| function.starts_with(start));
    !is_own && crate_of(function).is_some_and(|name| !CARRIERS.contains(&name))
}

fn is_allowed(resource: Resource, caller: &str) -> bool {
    let caller = caller.trim_start_matches(['<', '&']);
    ALLOWED.iter().any(|(allowed, start)| *allowed == resource && caller.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_is_read_with_its_inlined_functions() {
        let text = "   0: std::time::Instant::now
             at /rustc/x/time.rs:3:5
   1: <h2::a::B as core::c::D>::e
      h2::a::f
             at ./h2/a.rs:7:1
   2: main
";
        let frames = frames(text);
        let functions: Vec<_> = frames.iter().map(|frame| frame.function).collect();
        assert_eq!(
            functions,
            ["std::time::Instant::now", "<h2::a::B as core::c::D>::e", "h2::a::f", "main"]
        );
        assert_eq!(frames[2].place, "./h2/a.rs:7:1");
        assert_eq!(frames.iter().position(|frame| is_caller(frame.function)), Some(1));
    }

    #[test]
    fn the_crate_of_a_function_is_that_of_its_type() {
        let crates = [
            ("h2::proto::a", Some("h2")),
            ("<h2::A as core::B>::c", Some("h2")),
            ("<&mut tokio::A as core::B>::c", Some("tokio")),
            ("<alloc::boxed::Box<h2::A> as core::B>::c", Some("alloc")),
            ("clock_gettime", None),
            ("__rust_begin_short_backtrace", None),
        ];
        for (function, expected) in crates {
            assert_eq!(crate_of(function), expected, "{function}");
        }
    }

    #[test]
    fn what_is_allowed_for_one_resource_is_not_for_another() {
        assert!(is_allowed(Resource::Clock, "<h2::proto::streams::recv::Recv>::enqueue"));
        assert!(!is_allowed(Resource::Clock, "h2::client::handshake"));
        assert!(!is_allowed(Resource::Entropy, "h2::proto::streams::recv::Recv::enqueue"));
        assert!(!is_allowed(
            Resource::Clock,
            "baton_simulated::proxy::exchange::h2::proto::streams::"
        ));
        assert!(!is_allowed(Resource::Thread, "ring::"));
    }
}
