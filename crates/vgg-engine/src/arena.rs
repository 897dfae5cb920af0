//! One allocation for everything an engine computes with, on huge pages where the system has them.
//!
//! The plan says which part belongs to which buffer; [`Arena::parts`] lends disjoint parts. They are
//! counted in words of four bytes, which are `f32` values or, by [`values`] and [`bytes`], others.

use crate::EngineError;
use std::alloc::{Layout, alloc, dealloc};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;
use vgg_kernels::{Element, Pool};

/// Size of a huge page on x86-64 and the alignment of the arena: a page that is only partly inside
/// cannot become huge.
const ALIGNMENT: usize = 2 << 20;

/// An aligned block of `f32` that starts as zeros.
pub(crate) struct Arena {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the arena owns its memory, as a `Vec<f32>` does.
unsafe impl Send for Arena {}
// SAFETY: through a shared reference the memory can only be read.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of `len` values. The threads of `pool` clear it together: the system hands memory out
    /// when it is first written, which takes longer than a training step.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when the system does not give that much.
    pub(crate) fn new(len: usize, pool: &Pool) -> Result<Self, EngineError> {
        let layout = Self::layout(len).ok_or(EngineError::Memory { bytes: len.saturating_mul(4) })?;
        // SAFETY: the layout's size is not zero.
        let memory = unsafe { alloc(layout) };
        let start = NonNull::new(memory.cast()).ok_or(EngineError::Memory { bytes: layout.size() })?;
        advise_huge_pages(memory, layout.size());
        // SAFETY: the block has `layout.size()` bytes, which nobody else knows yet, and may be uninitialised.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(memory.cast::<MaybeUninit<u8>>(), layout.size()) };
        // Zero bytes are the value 0.0.
        pool.for_each_chunk_of_two(bytes, &mut [(); 0], ALIGNMENT, |_, bytes, _| {
            bytes.fill(MaybeUninit::new(0));
        });
        Ok(Self { start, len })
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<f32>(len.max(1)).ok()?.align_to(ALIGNMENT).ok()
    }

    /// All values.
    pub(crate) fn values(&self) -> &[f32] {
        // SAFETY: the block holds `len` initialised values and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Several parts at once.
    ///
    /// # Panics
    /// When parts overlap or lie outside: the plan keeps the buffers of one step apart.
    pub(crate) fn parts<const N: usize>(&mut self, ranges: [Range<usize>; N]) -> [&mut [f32]; N] {
        // SAFETY: as for `values`, and `self` is borrowed mutably.
        let values = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) };
        values.get_disjoint_mut(ranges).expect("the plan keeps the buffers of one step apart")
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: the block was allocated with this layout and is not used any more.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

/// The values of format `T` that `words` hold.
pub(crate) fn values<T: Element>(words: &mut [f32]) -> &mut [T] {
    let len = size_of_val(words) / size_of::<T>();
    // SAFETY: the same memory, borrowed as long; `T` is at most as aligned as `f32`, and every
    // pattern of bits is a value of it.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}

/// The bytes of `values`, for buffers of bytes that live in the arena.
pub(crate) fn bytes(values: &mut [f32]) -> &mut [u8] {
    // SAFETY: the same memory, borrowed as long; every bit pattern is a valid `f32` and `u8`.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Asks for huge pages, which spare most of the misses in the address translation cache. The
/// memory works without them, so a refusal does not matter.
fn advise_huge_pages(memory: *mut u8, len: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the range is memory of ours; the advice changes no contents, neither there nor in what
    // else may lie on the last page.
    unsafe {
        libc::madvise(memory.cast(), len, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (memory, len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_disjoint_and_written_in_place() {
        let mut arena = Arena::new(1000, &Pool::new(2).unwrap()).unwrap();
        let [a, b] = arena.parts([10..20, 500..1000]);
        assert!(a.iter().chain(b.iter()).all(|v| *v == 0.0));
        a.fill(1.0);
        bytes(b)[0..4].copy_from_slice(&2.0f32.to_ne_bytes());
        assert_eq!(arena.values().iter().sum::<f32>(), 12.0);
        assert_eq!(arena.values()[500], 2.0);
    }

    #[test]
    #[should_panic(expected = "apart")]
    fn overlapping_parts_are_refused() {
        Arena::new(100, &Pool::new(1).unwrap()).unwrap().parts([0..50, 49..60]);
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(matches!(
            Arena::new(usize::MAX / 8, &Pool::new(1).unwrap()),
            Err(EngineError::Memory { .. })
        ));
    }
}
