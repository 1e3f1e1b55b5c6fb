//! The allocator of the `baton` command. A request allocates two dozen times, and this one takes a
//! quarter of what the system's takes for that.
//!
//! The `mimalloc` crate would do, but it asks for every piece as an aligned one. For version 3 of the
//! library that means a larger piece and a longer way, unless the size is a power of two; what Rust asks
//! for hardly ever needs more than the alignment that any piece has. It is built without huge pages
//! (`no_thp`), which would keep what connections have given back.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature, and this one is C")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// The alignment of every piece that is at least as large (`MI_MAX_ALIGN_SIZE` of the library: that of
/// C's `max_align_t`).
const ALIGNMENT: usize = 16;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// Whether a piece of this size has this alignment without being asked for.
fn is_aligned(size: usize, alignment: usize) -> bool {
    alignment <= ALIGNMENT && alignment <= size
}

// SAFETY: the library gives pieces of at least the size, with the alignment that is asked for or implied,
// that are nobody else's until they are given back; it does not unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two may be asked for.
        let piece = unsafe {
            if is_aligned(size, alignment) {
                mi_malloc(size)
            } else {
                mi_malloc_aligned(size, alignment)
            }
        };
        piece.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: as above.
        let piece = unsafe {
            if is_aligned(size, alignment) {
                mi_zalloc(size)
            } else {
                mi_zalloc_aligned(size, alignment)
            }
        };
        piece.cast()
    }

    unsafe fn dealloc(&self, piece: *mut u8, _: Layout) {
        // SAFETY: the caller got it from here and does not use it any more.
        unsafe { mi_free(piece.cast()) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller got it from here; pieces that were asked for either way may be given to
        // either function.
        let piece = unsafe {
            if is_aligned(size, layout.align()) {
                mi_realloc(piece.cast(), size)
            } else {
                mi_realloc_aligned(piece.cast(), size, layout.align())
            }
        };
        piece.cast()
    }
}

/// Gives memory back to the system that the calling thread has not used for a second. By itself the
/// allocator does that only while it is asked for more.
pub(crate) fn give_back() {
    // SAFETY: it may be called at any time by any thread; it frees nothing that is in use.
    unsafe { mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each size, pieces enough that not all of them begin where a page of memory does.
    #[test]
    fn every_piece_is_aligned_as_asked_and_keeps_its_bytes() {
        for alignment in [1, 2, 4, 8, 16, 32, 64, 128, 4096] {
            for size in (1..200).chain([1000, 1500, 3688, 20_000, 100_000]) {
                let layout = Layout::from_size_align(size, alignment).expect("a power of two");
                let pieces: Vec<_> = (0..8).map(|_| taken(layout)).collect();
                for (mark, piece) in (1..).zip(&pieces) {
                    // SAFETY: it is as large as that.
                    unsafe { piece.write_bytes(mark, size) };
                }
                for (mark, piece) in (1..).zip(pieces) {
                    grown_keeps(piece, layout, mark);
                }
            }
        }
    }

    fn taken(layout: Layout) -> *mut u8 {
        // SAFETY: the size is above zero.
        let piece = unsafe { ALLOCATOR.alloc_zeroed(layout) };
        assert!(piece.addr() != 0 && piece.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: it is as large as that, and was written to by whoever cleared it.
        let bytes = unsafe { std::slice::from_raw_parts(piece, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
        piece
    }

    fn grown_keeps(piece: *mut u8, layout: Layout, mark: u8) {
        let size = layout.size() * 3;
        // SAFETY: it was taken with this layout; the size is above zero.
        let grown = unsafe { ALLOCATOR.realloc(piece, layout, size) };
        assert!(grown.addr() != 0 && grown.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: so much of it was written before it grew.
        let bytes = unsafe { std::slice::from_raw_parts(grown, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == mark), "{layout:?}");
        let layout = Layout::from_size_align(size, layout.align()).expect("it was one before");
        // SAFETY: that is its layout now.
        unsafe { ALLOCATOR.dealloc(grown, layout) };
    }
}
