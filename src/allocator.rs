//! The allocator of the `baton` command: mimalloc. A request makes about two dozen allocations,
//! which take a quarter of the system allocator's time.
//!
//! The `mimalloc` crate is not used because it requests every block with an explicit alignment. In
//! version 3 of the library this takes a larger block and a slower path, unless the size is a power
//! of two, and Rust rarely needs more than the alignment that every block has. The library is built
//! without huge pages (`no_thp`), which would keep the memory that connections have freed.

#![allow(unsafe_code, reason = "an allocator is unsafe by its nature, and this one is C")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc,
    mi_zalloc_aligned,
};

/// The alignment of every block that is at least this large: `MI_MAX_ALIGN_SIZE` of the library,
/// which is that of C's `max_align_t`.
const ALIGNMENT: usize = 16;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// True if every block of this size has this alignment by default.
fn is_aligned(size: usize, alignment: usize) -> bool {
    alignment <= ALIGNMENT && alignment <= size
}

// SAFETY: the library returns blocks of at least the requested size, with the requested or the
// default alignment. A block has one owner until it is freed. The library does not unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, alignment) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two are allowed.
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
        // SAFETY: the block came from this allocator, and the caller no longer uses it.
        unsafe { mi_free(piece.cast()) }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block came from this allocator; both functions accept blocks from either
        // allocation function.
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

/// Returns memory to the system that the calling thread has not used for a second. The allocator
/// does this by itself only during allocations.
pub(crate) fn give_back() {
    // SAFETY: any thread may call this at any time; it frees nothing that is in use.
    unsafe { mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough blocks of each size that not all of them start at a page boundary.
    #[test]
    fn every_block_is_aligned_and_keeps_its_bytes() {
        for alignment in [1, 2, 4, 8, 16, 32, 64, 128, 4096] {
            for size in (1..200).chain([1000, 1500, 3688, 20_000, 100_000]) {
                let layout = Layout::from_size_align(size, alignment).expect("a power of two");
                let pieces: Vec<_> = (0..8).map(|_| taken(layout)).collect();
                for (mark, piece) in (1..).zip(&pieces) {
                    // SAFETY: the block has `size` bytes.
                    unsafe { piece.write_bytes(mark, size) };
                }
                for (mark, piece) in (1..).zip(pieces) {
                    grown_keeps(piece, layout, mark);
                }
            }
        }
    }

    fn taken(layout: Layout) -> *mut u8 {
        // SAFETY: the size is not zero.
        let piece = unsafe { ALLOCATOR.alloc_zeroed(layout) };
        assert!(piece.addr() != 0 && piece.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: the block has this size, and `alloc_zeroed` initialized it.
        let bytes = unsafe { std::slice::from_raw_parts(piece, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
        piece
    }

    fn grown_keeps(piece: *mut u8, layout: Layout, mark: u8) {
        let size = layout.size() * 3;
        // SAFETY: the block was allocated with this layout; the new size is not zero.
        let grown = unsafe { ALLOCATOR.realloc(piece, layout, size) };
        assert!(grown.addr() != 0 && grown.addr().is_multiple_of(layout.align()), "{layout:?}");
        // SAFETY: these bytes were written before the block grew.
        let bytes = unsafe { std::slice::from_raw_parts(grown, layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == mark), "{layout:?}");
        let layout =
            Layout::from_size_align(size, layout.align()).expect("the alignment is a power of two");
        // SAFETY: this is the layout of the block now.
        unsafe { ALLOCATOR.dealloc(grown, layout) };
    }
}
