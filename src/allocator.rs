//! The allocator of the `baton` command. A request allocates two dozen times, and this one takes a
//! quarter of what the system's takes for that.

#![allow(unsafe_code, reason = "what the allocator offers besides allocating is C")]

/// Without huge pages: they would keep what connections have given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives memory back to the system that the calling thread has not used for a second. By itself the
/// allocator does that only while it is asked for more.
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time by any thread; it frees nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(false) };
}
