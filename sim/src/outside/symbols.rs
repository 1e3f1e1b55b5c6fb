//! The functions of the C library that lead outside. Each has the name and the signature of the one
//! that it hides.

#![expect(unsafe_code, reason = "the C library's interface is one of raw pointers")]

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::mem;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use super::{ClockKind, Purpose, Resource};

/// The function that one of this module hides: the next of that name.
macro_rules! hidden {
    ($name:literal as $type:ty) => {{
        static FUNCTION: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        let mut function = FUNCTION.load(Ordering::Relaxed);
        if function.is_null() {
            // SAFETY: the name is a string of C, and looking it up has no other condition.
            function = unsafe { libc::dlsym(libc::RTLD_NEXT, $name.as_ptr()) };
            // A panic must not leave a function that C may call.
            if function.is_null() {
                std::process::abort();
            }
            FUNCTION.store(function, Ordering::Relaxed);
        }
        // SAFETY: it is the C library's function of that name, whose type this is.
        unsafe { mem::transmute::<*mut c_void, $type>(function) }
    }};
}

/// The clocks that advance with the time of a run. The others measure the work of a process or a
/// thread.
fn kind_of(clock: libc::clockid_t) -> Option<ClockKind> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => {
            Some(ClockKind::Date)
        }
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_BOOTTIME => Some(ClockKind::Uptime),
        _ => None,
    }
}

fn simulated(clock: libc::clockid_t) -> Option<Duration> {
    let kind = kind_of(clock);
    if kind.is_none() {
        super::forbidden(Resource::Clock);
    }
    super::clock(kind?)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, answer: *mut libc::timespec) -> c_int {
    let Some(time) = simulated(clock) else {
        let real = hidden!(
            c"clock_gettime" as unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int
        );
        // SAFETY: the arguments are the caller's.
        return unsafe { real(clock, answer) };
    };
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: c_long::from(time.subsec_nanos()),
    };
    // SAFETY: the caller passes room for the answer.
    unsafe { answer.write(time) };
    0
}

/// Fills a buffer with simulated entropy. Returns false outside of a run.
///
/// # Safety
/// `bytes` is valid for writes of `length` bytes.
unsafe fn fill(bytes: *mut c_void, length: usize, flags: c_uint) -> bool {
    let bytes = if length == 0 {
        &mut []
    } else {
        // SAFETY: as promised by the caller; zeros are written first, because it may be
        // uninitialised.
        unsafe {
            bytes.cast::<u8>().write_bytes(0, length);
            slice::from_raw_parts_mut(bytes.cast::<u8>(), length)
        }
    };
    // The standard library asks with a flag, because keys of hash maps need not wait for good
    // entropy.
    let purpose = if flags == 0 { Purpose::Other } else { Purpose::HashKeys };
    super::entropy(purpose, bytes)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(bytes: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the caller passes a buffer of this length.
    if unsafe { fill(bytes, length, flags) } {
        return length as isize;
    }
    let real = hidden!(c"getrandom" as unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize);
    // SAFETY: the arguments are the caller's.
    unsafe { real(bytes, length, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(bytes: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller passes a buffer of this length.
    if unsafe { fill(bytes, length, 0) } {
        return 0;
    }
    let real = hidden!(c"getentropy" as unsafe extern "C" fn(*mut c_void, usize) -> c_int);
    // SAFETY: the arguments are the caller's.
    unsafe { real(bytes, length) }
}

/// `ring` asks for entropy by the number of the system call. The C library's `syscall` reads six
/// arguments, whatever the call needs, and so does this one.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    match number {
        libc::SYS_getrandom => {
            // SAFETY: these are the arguments of `getrandom`.
            return unsafe {
                getrandom(first as *mut c_void, second as usize, third as c_uint) as c_long
            };
        }
        libc::SYS_clock_gettime => {
            // SAFETY: these are the arguments of `clock_gettime`.
            return unsafe {
                clock_gettime(first as libc::clockid_t, second as *mut libc::timespec).into()
            };
        }
        libc::SYS_openat => super::forbidden(Resource::File),
        libc::SYS_socket => super::forbidden(Resource::Socket),
        _ => {}
    }
    let real = hidden!(
        c"syscall"
            as unsafe extern "C" fn(
                c_long,
                c_long,
                c_long,
                c_long,
                c_long,
                c_long,
                c_long,
            ) -> c_long
    );
    // SAFETY: the arguments are the caller's.
    unsafe { real(number, first, second, third, fourth, fifth, sixth) }
}

/// Defines functions that report the call and then make it. The arguments are integers and
/// pointers, so a variable argument that the caller leaves out is a register of no meaning, which
/// the C library does not read either.
#[cfg(not(fuzzing))]
macro_rules! report {
    ($($text:literal $resource:ident fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $answer {
            super::forbidden(Resource::$resource);
            let real = hidden!($text as unsafe extern "C" fn($($type),*) -> $answer);
            // SAFETY: the arguments are the caller's.
            unsafe { real($($argument),*) }
        }
    )+};
}

// A sanitizer has its own versions of some of these, and relies on them.
#[cfg(not(fuzzing))]
report! {
    c"pthread_create" Thread fn pthread_create(
        thread: *mut c_void, attributes: *const c_void, start: *const c_void, argument: *mut c_void
    ) -> c_int;
    c"open" File fn open(path: *const c_void, flags: c_int, mode: c_uint) -> c_int;
    c"open64" File fn open64(path: *const c_void, flags: c_int, mode: c_uint) -> c_int;
    c"openat" File fn openat(
        directory: c_int, path: *const c_void, flags: c_int, mode: c_uint
    ) -> c_int;
    c"openat64" File fn openat64(
        directory: c_int, path: *const c_void, flags: c_int, mode: c_uint
    ) -> c_int;
    c"opendir" File fn opendir(path: *const c_void) -> *mut c_void;
    c"socket" Socket fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    c"fork" Process fn fork() -> c_int;
    c"posix_spawnp" Process fn posix_spawnp(
        process: *mut c_void, file: *const c_void, actions: *const c_void,
        attributes: *const c_void, arguments: *const c_void, environment: *const c_void
    ) -> c_int;
    c"nanosleep" Sleep fn nanosleep(duration: *const c_void, rest: *mut c_void) -> c_int;
    c"clock_nanosleep" Sleep fn clock_nanosleep(
        clock: c_int, flags: c_int, duration: *const c_void, rest: *mut c_void
    ) -> c_int;
}

/// Writes the addresses of the functions on the stack, the innermost first; returns their number.
pub(super) fn stack(addresses: &mut [usize]) -> usize {
    let room = c_int::try_from(addresses.len()).expect("a short list");
    // SAFETY: pointers have the size of addresses, and there is room for that many.
    let count = unsafe { libc::backtrace(addresses.as_mut_ptr().cast(), room) };
    usize::try_from(count).expect("a count")
}
