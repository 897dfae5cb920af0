//! Asking for memory before it is needed.

/// Asks the processor to bring `len` values from `values` on into its nearest cache, to be written. They
/// need not be there: an address that is none is ignored. Nothing happens where it cannot be asked.
#[inline]
pub(crate) fn prefetch_to_write<T>(values: *const T, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len * size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction or ignores it; it reads and writes nothing
        // that a program could see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(values.cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, len);
}
