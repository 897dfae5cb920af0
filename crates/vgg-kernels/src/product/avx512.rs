//! The product with AVX-512: one tile row of B is one 512-bit register.
//!
//! Eight rows by two columns of tiles are 16 accumulators. Each k takes two loads of B and eight
//! broadcasts of A for 16 multiply-adds, so the loads stay hidden on processors with one
//! 512-bit multiply-add unit or two, and 16 independent chains cover a latency of four cycles on
//! both.

use super::{Base, Product, distances, for_rows};
use crate::layout::{TILE, TILE_LEN};
use std::arch::x86_64::*;

/// # Safety
/// As [`super::ProductFn`], with AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn product(product: &Product<'_>) {
    if product.columns == 2 {
        for_rows!(two_columns, product, PLAIN, [8, 4, 2, 1]);
    } else {
        for_rows!(one_column, product, PLAIN, [8, 4, 2, 1]);
    }
}

/// # Safety
/// As [`super::ProductFn`], with AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn product_transposed(product: &Product<'_>) {
    if product.columns == 2 {
        for_rows!(two_columns, product, TRANSPOSED, [8, 4, 2, 1]);
    } else {
        for_rows!(one_column, product, TRANSPOSED, [8, 4, 2, 1]);
    }
}

/// # Safety
/// As [`super::ProductFn`], with AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn product_spread(product: &Product<'_>) {
    if product.columns == 2 {
        for_rows!(two_columns, product, SPREAD, [8, 4, 2, 1]);
    } else {
        for_rows!(one_column, product, SPREAD, [8, 4, 2, 1]);
    }
}

/// # Safety
/// As [`block`], with two columns.
#[target_feature(enable = "avx512f")]
unsafe fn two_columns<const ROWS: usize, const KIND: u8>(product: &Product<'_>, row: usize) {
    // SAFETY: the caller's promises are passed on.
    unsafe { block::<ROWS, 2, KIND>(product, row) }
}

/// # Safety
/// As [`block`], with one column.
#[target_feature(enable = "avx512f")]
unsafe fn one_column<const ROWS: usize, const KIND: u8>(product: &Product<'_>, row: usize) {
    // SAFETY: the caller's promises are passed on.
    unsafe { block::<ROWS, 1, KIND>(product, row) }
}

/// `ROWS` rows from `row` on, `COLUMNS` tiles wide.
///
/// # Safety
/// As [`product`]; the product has `ROWS` rows from `row` on, and `COLUMNS` columns.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn block<const ROWS: usize, const COLUMNS: usize, const KIND: u8>(product: &Product<'_>, row: usize) {
    let [row_step, k_step, a_unit, ..] = distances::<KIND>(product);
    let mut sums = [[_mm512_setzero_ps(); COLUMNS]; ROWS];
    // SAFETY: the caller promises that every tile named lies inside its buffer.
    unsafe {
        for pair in product.pairs {
            let mut a = product.a.add(pair.a as usize * a_unit + row * row_step);
            let mut b = product.b.add(pair.b as usize * TILE_LEN);
            for _ in 1..product.k_blocks {
                for k in 0..TILE {
                    step(&mut sums, a.add(k * k_step), row_step, b.add(k * TILE), product.b_column);
                }
                a = a.add(product.a_step * a_unit);
                b = b.add(product.b_step * TILE_LEN);
            }
            for k in 0..product.k_last {
                step(&mut sums, a.add(k * k_step), row_step, b.add(k * TILE), product.b_column);
            }
        }
        store::<ROWS, COLUMNS, KIND>(&sums, product, row);
    }
}

/// Adds the outer product of `ROWS` values of A and `COLUMNS` rows of B.
///
/// # Safety
/// As [`product`]; `a` points to the first of `ROWS` values at distances of `row_step`, `b` to the first
/// of `COLUMNS` rows of 16 values at distances of `b_column` tiles.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn step<const ROWS: usize, const COLUMNS: usize>(
    sums: &mut [[__m512; COLUMNS]; ROWS],
    a: *const f32,
    row_step: usize,
    b: *const f32,
    b_column: usize,
) {
    let mut columns = [_mm512_setzero_ps(); COLUMNS];
    // SAFETY: the caller promises that both point into their tiles.
    unsafe {
        for column in 0..COLUMNS {
            columns[column] = _mm512_loadu_ps(b.add(column * b_column * TILE_LEN));
        }
        for row in 0..ROWS {
            let value = _mm512_set1_ps(*a.add(row * row_step));
            for column in 0..COLUMNS {
                sums[row][column] = _mm512_fmadd_ps(value, columns[column], sums[row][column]);
            }
        }
    }
}

/// Adds the base, applies ReLU and writes C. ReLU keeps NaN, so that a run that diverges shows.
///
/// # Safety
/// As [`block`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store<const ROWS: usize, const COLUMNS: usize, const KIND: u8>(
    sums: &[[__m512; COLUMNS]; ROWS],
    product: &Product<'_>,
    row: usize,
) {
    let [.., c_line, c_unit] = distances::<KIND>(product);
    let zero = _mm512_setzero_ps();
    for column in 0..COLUMNS {
        for r in 0..ROWS {
            // SAFETY: the caller promises that C's tiles and the bias lie inside their buffers.
            unsafe {
                let c = product.c.add(column * product.c_column * c_unit + (row + r) * c_line);
                let base = match product.base {
                    Base::Zero => zero,
                    Base::Bias(bias) => _mm512_loadu_ps(bias.add(column * TILE)),
                    Base::Accumulate => _mm512_loadu_ps(c),
                };
                let mut value = _mm512_add_ps(base, sums[r][column]);
                if product.relu {
                    // The second operand is returned when either is NaN.
                    value = _mm512_max_ps(zero, value);
                }
                _mm512_storeu_ps(c, value);
            }
        }
    }
}
