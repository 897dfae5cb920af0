//! The batch-reduce product with bf16 operands and `f32` sums, `C = [C +] Σᵢ Aᵢ·Bᵢ`.
//!
//! It is [`crate::product`] for tiles of 16 rows × 64 bytes of bf16, which are what instructions
//! for bf16 take: a tile of A is 16 rows × 32 values of k, a tile of B is
//! `[pair of k][column][k of the pair]` for 32 values of k and 16 columns, a tile of C is 16×16
//! `f32`. C is at most two tiles of rows by two of columns, so that each tile of A and B that is
//! loaded serves two products.
//!
//! The products of two bf16 numbers are exact in `f32`; in which order an instruction adds them is
//! its own, so tiers differ in the last bits. Bias, ReLU and the conversion to bf16 are a pass over
//! C while it is in the nearest cache (`finish`).

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(all(test, target_arch = "x86_64"))]
mod definition;
pub(crate) mod portable;

use crate::element::Bf16;
use crate::product::Pair;

/// Values of bf16 in a tile of A or B.
pub(crate) const TILE16_LEN: usize = 512;

/// One product. Pointers are to the first tile; distances and positions are in tiles of 1 KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product16<'a> {
    /// Tiles of A; value (row, k) is at `row · 32 + k`.
    pub(crate) a: *const Bf16,
    /// Tiles of B; value (k, column) is at `k / 2 · 32 + column · 2 + k % 2`.
    pub(crate) b: *const Bf16,
    /// Tiles of C; value (row, column) is at `row · 16 + column`.
    pub(crate) c: *mut f32,
    /// The terms of the sum.
    pub(crate) pairs: &'a [Pair],
    /// Tiles in each term, at least 1, and the distance between them in A and in B.
    pub(crate) k_blocks: usize,
    pub(crate) a_step: usize,
    pub(crate) b_step: usize,
    /// Pairs of k in the last tile of each term, 1 to 16; the tiles before it have 16. Where there
    /// are fewer, the rest holds numbers in A and zeros in B: a kernel may add them.
    pub(crate) k_pairs_last: usize,
    /// Rows of each tile of rows: 1 to 16, then 0 to 16, where 0 is no second tile. A kernel may
    /// compute and write all 16 rows of a tile that is there: A's tile is readable, C's writable.
    pub(crate) rows: [usize; 2],
    /// Lines from one row of A to the next, for the spread product: its rows are pixels of a single
    /// picture, and it counts positions in A (not in C) in lines of 32 values instead of tiles.
    pub(crate) a_line: usize,
    /// Distance between the two tiles of rows in A and in C.
    pub(crate) a_row: usize,
    pub(crate) c_row: usize,
    /// Tiles of columns, 1 or 2, and the distance between them in B and in C.
    pub(crate) columns: usize,
    pub(crate) b_column: usize,
    pub(crate) c_column: usize,
    /// Whether the sum is added to what C holds, in all rows that are written.
    pub(crate) accumulate: bool,
}

/// A kernel for [`Product16`].
///
/// # Safety
/// The processor has the kernel's instructions, and the thread holds what [`crate::Kernels::tiles`]
/// gave; every tile that the product names lies inside its buffer; nobody else writes to those tiles
/// of A, B and C or reads those of C meanwhile.
pub(crate) type Product16Fn = unsafe fn(&Product16<'_>);

/// What becomes of 16 × 32 sums in two tiles of C, side by side: `max(0, sum + bias)` in bf16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish<'a> {
    /// Two tiles of C.
    pub(crate) c: &'a [f32; 512],
    /// Rows to write, and lines of 32 values from one to the next.
    pub(crate) rows: usize,
    pub(crate) y_line: usize,
    /// One value for each column.
    pub(crate) bias: Option<&'a [f32; 32]>,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
}

/// A kernel for [`Finish`]: writes the rows, of 32 values each, from the second argument on.
///
/// # Safety
/// The processor has the kernel's instructions; the rows lie inside the buffer that is pointed into,
/// and nobody else uses them meanwhile.
pub(crate) type FinishFn = unsafe fn(&Finish<'_>, *mut Bf16);

/// Transposes the first rows of a tile of 16 rows × 16 pairs of values, as if the other rows were
/// zero: number `16 · pair + row` becomes the pair, its first value in the lower half.
///
/// # Safety
/// The processor has the kernel's instructions.
pub(crate) type TransposeFn = unsafe fn(&[Bf16; TILE16_LEN], usize, &mut [u32; 256]);

/// Transposes a tile of B: from rows of pairs of k to rows of pairs of columns. Value
/// `k / 2 · 32 + column · 2 + k % 2` becomes value `column / 2 · 32 + k % 16 · 2 + column % 2` of eight rows,
/// those for k below 16 in the first place to write to and the others in the second.
///
/// # Safety
/// The processor has the kernel's instructions.
pub(crate) type TurnFn = unsafe fn(&[Bf16; TILE16_LEN], [&mut [Bf16; TILE16_LEN / 2]; 2]);
