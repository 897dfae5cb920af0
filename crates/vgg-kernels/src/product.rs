//! The one primitive: a batch-reduce product of tiles, `C = base + Σᵢ Aᵢ·Bᵢ`.
//!
//! C is at most 16 rows by two tiles of columns. The sum runs over a list of pairs of positions in
//! A and B and, for each pair, over a number of tiles at a fixed distance. Every value of C is one
//! chain of additions in the order of the list, started at zero, to which the base is added last.
//! With fused multiply-add (AVX2 and AVX-512) the chain is the same whatever the width of the
//! vectors, so these tiers give the same bits; the portable tier rounds products before it adds.
//!
//! The rows of A may be the pictures of a tile, the columns of a tile (*transposed*), or pixels of a
//! single picture (*spread*), whose values lie in lines of 16 at some distance.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

use crate::layout::{TILE, TILE_LEN};

/// Positions, in tiles, of the first tile of one term of the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) a: u32,
    pub(crate) b: u32,
}

/// What the sum is added to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Zero,
    /// One value for each column: `columns` tiles' width of values.
    Bias(*const f32),
    /// The values that C holds.
    Accumulate,
}

/// One product. Pointers are to the first tile; steps are in tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    /// Tiles of A. The plain product reads value (row, k) at `row · 16 + k`, the transposed one at
    /// `k · 16 + row`. The spread product reads it at `(row · a_line) · 16 + k`, and counts positions
    /// in A and columns of C in lines of 16 values.
    pub(crate) a: *const f32,
    /// Tiles of B; value (k, column) is at `k · 16 + column`.
    pub(crate) b: *const f32,
    /// Tiles of C; value (row, column) is at `row · 16 + column`, or `(row · c_line) · 16 + column`.
    pub(crate) c: *mut f32,
    /// Lines from one row to the next in A and in C, for the spread product.
    pub(crate) a_line: usize,
    pub(crate) c_line: usize,
    /// The terms of the sum.
    pub(crate) pairs: &'a [Pair],
    /// Tiles in each term, and the distance between them in A and in B.
    pub(crate) k_blocks: usize,
    pub(crate) a_step: usize,
    pub(crate) b_step: usize,
    /// Values of k in the last tile of each term, 1 to 16; the tiles before it have 16.
    pub(crate) k_last: usize,
    /// Rows of C to compute, 1 to 16.
    pub(crate) rows: usize,
    /// Tiles of columns, 1 or 2, and the distance between them in B and in C.
    pub(crate) columns: usize,
    pub(crate) b_column: usize,
    pub(crate) c_column: usize,
    pub(crate) base: Base,
    /// Whether negative results become zero.
    pub(crate) relu: bool,
}

/// Rows of A are rows of its tiles.
pub(crate) const PLAIN: u8 = 0;
/// Rows of A are columns of its tiles.
pub(crate) const TRANSPOSED: u8 = 1;
/// Rows of A are lines at some distance.
pub(crate) const SPREAD: u8 = 2;

/// Distances in A and C for a kind of rows, in values: from row to row in A, from k to k, from one
/// position to the next, from row to row in C, and from one unit of `c_column` to the next.
#[inline(always)] // Into each kernel, where all but the spread ones become constants.
pub(crate) const fn distances<const KIND: u8>(product: &Product<'_>) -> [usize; 5] {
    match KIND {
        PLAIN => [TILE, 1, TILE_LEN, TILE, TILE_LEN],
        TRANSPOSED => [1, TILE, TILE_LEN, TILE, TILE_LEN],
        _ => [product.a_line * TILE, 1, TILE, product.c_line * TILE, TILE],
    }
}

/// A kernel for [`Product`].
///
/// # Safety
/// The processor has the kernel's instructions; every tile that the product names lies inside its
/// buffer; nobody else writes to those tiles of A, B and C or reads those of C meanwhile.
pub(crate) type ProductFn = unsafe fn(&Product<'_>);

/// Calls `$block` for runs of rows of the sizes listed, largest first, until all rows are done.
/// `$block` is a function generic over (rows, what rows of A are: [`PLAIN`] and so on).
macro_rules! for_rows {
    ($block:ident, $product:expr, $kind:ident, [$($size:literal),*]) => {{
        let product = $product;
        let mut row = 0;
        while row < product.rows {
            let rest = product.rows - row;
            row += 'taken: {
                $(if rest >= $size {
                    // SAFETY: the caller's promises cover every row below `product.rows`.
                    unsafe { $block::<$size, { $crate::product::$kind }>(product, row) };
                    break 'taken $size;
                })*
                unreachable!("the sizes end with 1")
            };
        }
    }};
}
pub(crate) use for_rows;
