//! The allocator of the simulator: mimalloc, as that of the `baton` command. In front of each block
//! is the number of its owner, so that it is taken off the right account, also if another thread
//! frees it.

#![expect(unsafe_code, reason = "an allocator is unsafe by its nature, and this one is C")]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_zalloc};

use super::{ACCOUNT, Number};

/// Bytes in front of a block, and its alignment: that of every block of the library which is at
/// least this large.
const FRONT: usize = 16;
const _: () = assert!(FRONT >= size_of::<Number>());

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

struct Allocator;

/// The bytes in front of a block with this alignment: they keep it aligned.
fn front(layout: Layout) -> usize {
    layout.align().max(FRONT)
}

/// Marks a fresh block, if there is one. Returns where the caller's part begins.
///
/// # Safety
/// `block` is null or has `front` bytes in front of `size` others; `front` is a multiple of 16.
unsafe fn mark(block: *mut u8, front: usize, size: usize) -> *mut u8 {
    if block.is_null() {
        return block;
    }
    let owner = ACCOUNT.with(|account| account.allocated(size));
    // SAFETY: the block has as many bytes and its begin is aligned to 16.
    unsafe {
        let piece = block.add(front);
        piece.cast::<Number>().sub(1).write(owner);
        piece
    }
}

// SAFETY: the library returns blocks of at least the requested size, with the requested or the
// default alignment; what is in front of a block belongs to this allocator alone. A block has one
// owner until it is freed. Neither the library nor the account unwinds or allocates.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (front, size) = (front(layout), layout.size());
        // SAFETY: any size and any power of two are allowed. A size that overflows is refused by
        // the library, as it is above its limit.
        unsafe {
            let all = front.saturating_add(size);
            let block = match front {
                FRONT => mi_malloc(all),
                _ => mi_malloc_aligned(all, front),
            };
            mark(block.cast(), front, size)
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (front, size) = (front(layout), layout.size());
        if front != FRONT {
            // SAFETY: the layout is the caller's. The block has that many bytes.
            unsafe {
                let piece = self.alloc(layout);
                if !piece.is_null() {
                    ptr::write_bytes(piece, 0, size);
                }
                return piece;
            }
        }
        // SAFETY: as in `alloc`.
        unsafe { mark(mi_zalloc(FRONT.saturating_add(size)).cast(), FRONT, size) }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: the piece is of this allocator and has this layout, so its owner and the block
        // are where `mark` has put them, and the caller no longer uses it.
        unsafe {
            let owner = piece.cast::<Number>().sub(1).read();
            ACCOUNT.with(|account| account.resized(owner, -(layout.size() as i64)));
            mi_free(piece.sub(front(layout)).cast());
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if front(layout) != FRONT {
            // SAFETY: the layout and the size are the caller's. Both blocks have as many bytes as
            // are copied, and they are apart.
            unsafe {
                let fresh = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !fresh.is_null() {
                    ptr::copy_nonoverlapping(piece, fresh, size.min(layout.size()));
                    self.dealloc(piece, layout);
                }
                return fresh;
            }
        }
        // SAFETY: as in `dealloc`; the library keeps the bytes, those in front among them.
        unsafe {
            let owner = piece.cast::<Number>().sub(1).read();
            let block = mi_realloc(piece.sub(FRONT).cast(), FRONT.saturating_add(size));
            if block.is_null() {
                return ptr::null_mut();
            }
            ACCOUNT.with(|account| account.resized(owner, size as i64 - layout.size() as i64));
            block.cast::<u8>().add(FRONT)
        }
    }
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
        // SAFETY: the block has this size, and `alloc_zeroed` initialised it.
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
        let layout = Layout::from_size_align(size, layout.align()).expect("a power of two");
        // SAFETY: this is the layout of the block now.
        unsafe { ALLOCATOR.dealloc(grown, layout) };
    }
}
