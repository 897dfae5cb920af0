//! The one primitive: a batch-reduce product of tiles, `C = base + Σᵢ Aᵢ·Bᵢ`.
//!
//! C is at most 16 rows by two tiles of columns. The sum runs over a list of pairs of positions in
//! A and B and, for each pair, over a number of tiles at a fixed distance. Every value of C is one
//! chain of additions in the order of the list, started at zero, to which the base is added last.
//! With fused multiply-add (AVX2 and AVX-512) the chain is the same whatever the width of the
//! vectors, so these tiers give the same bits; the portable tier rounds products before it adds.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

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
    /// `k · 16 + row`.
    pub(crate) a: *const f32,
    /// Tiles of B; value (k, column) is at `k · 16 + column`.
    pub(crate) b: *const f32,
    /// Tiles of C; value (row, column) is at `row · 16 + column`.
    pub(crate) c: *mut f32,
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

/// A kernel for [`Product`].
///
/// # Safety
/// The processor has the kernel's instructions; every tile that the product names lies inside its
/// buffer; nobody else writes to those tiles of A, B and C or reads those of C meanwhile.
pub(crate) type ProductFn = unsafe fn(&Product<'_>);

/// Calls `$block` for runs of rows of the sizes listed, largest first, until all rows are done.
/// `$block` is a function generic over (rows, transposed).
macro_rules! for_rows {
    ($block:ident, $product:expr, $transposed:literal, [$($size:literal),*]) => {{
        let product = $product;
        let mut row = 0;
        while row < product.rows {
            let rest = product.rows - row;
            row += 'taken: {
                $(if rest >= $size {
                    // SAFETY: the caller's promises cover every row below `product.rows`.
                    unsafe { $block::<$size, $transposed>(product, row) };
                    break 'taken $size;
                })*
                unreachable!("the sizes end with 1")
            };
        }
    }};
}
pub(crate) use for_rows;
