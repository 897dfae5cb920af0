//! The product in plain Rust, two rows at a time, for processors without a tier of their own. The
//! inner loops run over the 16 columns of a tile, which compilers turn into vector instructions.

use super::{Base, Product, distances, for_rows};
use crate::layout::{TILE, TILE_LEN};

/// # Safety
/// As [`super::ProductFn`]; any processor will do.
pub(crate) unsafe fn product(product: &Product<'_>) {
    for_rows!(block, product, PLAIN, [2, 1]);
}

/// # Safety
/// As [`super::ProductFn`]; any processor will do.
pub(crate) unsafe fn product_transposed(product: &Product<'_>) {
    for_rows!(block, product, TRANSPOSED, [2, 1]);
}

/// # Safety
/// As [`super::ProductFn`]; any processor will do.
pub(crate) unsafe fn product_spread(product: &Product<'_>) {
    for_rows!(block, product, SPREAD, [2, 1]);
}

/// `ROWS` rows from `row` on, all columns.
///
/// # Safety
/// As [`super::ProductFn`]; the product has `ROWS` rows from `row` on.
unsafe fn block<const ROWS: usize, const KIND: u8>(product: &Product<'_>, row: usize) {
    let [row_step, k_step, a_unit, ..] = distances::<KIND>(product);
    for column in 0..product.columns {
        let mut sums = [[0.0; TILE]; ROWS];
        // SAFETY: the caller promises that every tile named lies inside its buffer.
        unsafe {
            let first_b = product.b.add(column * product.b_column * TILE_LEN);
            for pair in product.pairs {
                for block in 0..product.k_blocks {
                    let a =
                        product.a.add((pair.a as usize + block * product.a_step) * a_unit + row * row_step);
                    let b = first_b.add((pair.b as usize + block * product.b_step) * TILE_LEN);
                    let depth = if block + 1 == product.k_blocks { product.k_last } else { TILE };
                    for k in 0..depth {
                        step(&mut sums, a.add(k * k_step), row_step, &*b.add(k * TILE).cast());
                    }
                }
            }
            store::<ROWS, KIND>(&sums, product, row, column);
        }
    }
}

/// Adds the outer product of `ROWS` values of A and one row of B.
///
/// # Safety
/// `a` points to `ROWS` values at a distance of `row_step`.
#[inline(always)]
unsafe fn step<const ROWS: usize>(
    sums: &mut [[f32; TILE]; ROWS],
    a: *const f32,
    row_step: usize,
    b: &[f32; TILE],
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller promises it.
        let value = unsafe { *a.add(row * row_step) };
        *sums = std::array::from_fn(|lane| sums[lane] + value * b[lane]);
    }
}

/// Adds the base, applies ReLU and writes C. ReLU keeps NaN, so that a run that diverges shows.
///
/// # Safety
/// As [`super::ProductFn`]; the product has `ROWS` rows from `row` on, and column `column`.
unsafe fn store<const ROWS: usize, const KIND: u8>(
    sums: &[[f32; TILE]; ROWS],
    product: &Product<'_>,
    row: usize,
    column: usize,
) {
    let [.., c_line, c_unit] = distances::<KIND>(product);
    for (r, sums) in sums.iter().enumerate() {
        for (lane, sum) in sums.iter().enumerate() {
            // SAFETY: the caller promises that C's tiles and the bias lie inside their buffers.
            unsafe {
                let c = product.c.add(column * product.c_column * c_unit + (row + r) * c_line + lane);
                let base = match product.base {
                    Base::Zero => 0.0,
                    Base::Bias(bias) => *bias.add(column * TILE + lane),
                    Base::Accumulate => *c,
                };
                let value = base + sum;
                *c = if product.relu && value < 0.0 { 0.0 } else { value };
            }
        }
    }
}
