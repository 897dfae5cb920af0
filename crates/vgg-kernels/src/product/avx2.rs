//! The product with AVX2 and FMA: one tile row of B is two 256-bit registers.
//!
//! Six rows by one column of tiles are 12 of the 16 registers; each k takes two loads of B and six
//! broadcasts of A for 12 multiply-adds. Columns of tiles are computed one after the other.

use super::{Base, Product, distances, for_rows};
use crate::layout::{TILE, TILE_LEN};
use std::arch::x86_64::*;

/// Values in a register.
const LANES: usize = 8;

/// # Safety
/// As [`super::ProductFn`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn product(product: &Product<'_>) {
    for_rows!(block, product, PLAIN, [6, 4, 2, 1]);
}

/// # Safety
/// As [`super::ProductFn`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn product_transposed(product: &Product<'_>) {
    for_rows!(block, product, TRANSPOSED, [6, 4, 2, 1]);
}

/// # Safety
/// As [`super::ProductFn`], with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn product_spread(product: &Product<'_>) {
    for_rows!(block, product, SPREAD, [6, 4, 2, 1]);
}

/// `ROWS` rows from `row` on, all columns.
///
/// # Safety
/// As [`product`]; the product has `ROWS` rows from `row` on.
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const ROWS: usize, const KIND: u8>(product: &Product<'_>, row: usize) {
    let [row_step, k_step, a_unit, ..] = distances::<KIND>(product);
    for column in 0..product.columns {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
        // SAFETY: the caller promises that every tile named lies inside its buffer.
        unsafe {
            let first_b = product.b.add(column * product.b_column * TILE_LEN);
            for pair in product.pairs {
                let mut a = product.a.add(pair.a as usize * a_unit + row * row_step);
                let mut b = first_b.add(pair.b as usize * TILE_LEN);
                for _ in 1..product.k_blocks {
                    for k in 0..TILE {
                        step(&mut sums, a.add(k * k_step), row_step, b.add(k * TILE));
                    }
                    a = a.add(product.a_step * a_unit);
                    b = b.add(product.b_step * TILE_LEN);
                }
                for k in 0..product.k_last {
                    step(&mut sums, a.add(k * k_step), row_step, b.add(k * TILE));
                }
            }
            store::<ROWS, KIND>(&sums, product, row, column);
        }
    }
}

/// Adds the outer product of `ROWS` values of A and one row of B.
///
/// # Safety
/// As [`product`]; `a` points to the first of `ROWS` values at distances of `row_step`, `b` to 16 values.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn step<const ROWS: usize>(
    sums: &mut [[__m256; 2]; ROWS],
    a: *const f32,
    row_step: usize,
    b: *const f32,
) {
    // SAFETY: the caller promises that both point into their tiles.
    unsafe {
        let halves = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(LANES))];
        for row in 0..ROWS {
            let value = _mm256_set1_ps(*a.add(row * row_step));
            sums[row][0] = _mm256_fmadd_ps(value, halves[0], sums[row][0]);
            sums[row][1] = _mm256_fmadd_ps(value, halves[1], sums[row][1]);
        }
    }
}

/// Adds the base, applies ReLU and writes C. ReLU keeps NaN, so that a run that diverges shows.
///
/// # Safety
/// As [`product`]; the product has `ROWS` rows from `row` on, and column `column`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn store<const ROWS: usize, const KIND: u8>(
    sums: &[[__m256; 2]; ROWS],
    product: &Product<'_>,
    row: usize,
    column: usize,
) {
    let [.., c_line, c_unit] = distances::<KIND>(product);
    let zero = _mm256_setzero_ps();
    for r in 0..ROWS {
        for half in 0..2 {
            // SAFETY: the caller promises that C's tiles and the bias lie inside their buffers.
            unsafe {
                let offset = column * product.c_column * c_unit + (row + r) * c_line + half * LANES;
                let c = product.c.add(offset);
                let base = match product.base {
                    Base::Zero => zero,
                    Base::Bias(bias) => _mm256_loadu_ps(bias.add(column * TILE + half * LANES)),
                    Base::Accumulate => _mm256_loadu_ps(c),
                };
                let mut value = _mm256_add_ps(base, sums[r][half]);
                if product.relu {
                    // The second operand is returned when either is NaN.
                    value = _mm256_max_ps(zero, value);
                }
                _mm256_storeu_ps(c, value);
            }
        }
    }
}
