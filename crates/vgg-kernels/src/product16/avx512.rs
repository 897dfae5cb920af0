//! bf16 products with AVX-512 BF16: one instruction multiplies 16 pairs with 16 pairs and adds
//! each pair's two products to one of 16 sums.
//!
//! Eight rows by two columns of tiles are 16 accumulators. Each pair of k takes two loads of B and
//! eight broadcasts of a pair of A for 16 instructions, as in the product of `f32`.

use super::{Finish, Product16, TILE16_LEN};
use crate::TILE;
use crate::element::Bf16;
use std::arch::x86_64::*;

/// # Safety
/// As [`super::Product16Fn`], with AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn product(product: &Product16<'_>) {
    // SAFETY: the caller's promises are passed on.
    unsafe { all_rows::<false>(product) }
}

/// # Safety
/// As [`super::Product16Fn`], with AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn product_spread(product: &Product16<'_>) {
    // SAFETY: the caller's promises are passed on.
    unsafe { all_rows::<true>(product) }
}

/// # Safety
/// As [`product`].
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn all_rows<const SPREAD: bool>(product: &Product16<'_>) {
    for tile in 0..2 {
        let mut row = 0;
        while row < product.rows[tile] {
            // SAFETY: the caller's promises cover every row below `rows` of the tile.
            row += unsafe { rows::<SPREAD>(product, tile, row, product.rows[tile] - row) };
        }
    }
}

/// Computes at most `rest` rows, and returns how many.
///
/// # Safety
/// As [`product`]; the tile has `rest` rows from `row` on.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rows<const SPREAD: bool>(product: &Product16<'_>, tile: usize, row: usize, rest: usize) -> usize {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        match (rest, product.columns) {
            (8.., 2) => block::<8, 2, SPREAD>(product, tile, row),
            (8.., _) => block::<8, 1, SPREAD>(product, tile, row),
            (4.., 2) => block::<4, 2, SPREAD>(product, tile, row),
            (4.., _) => block::<4, 1, SPREAD>(product, tile, row),
            (2.., 2) => block::<2, 2, SPREAD>(product, tile, row),
            (2.., _) => block::<2, 1, SPREAD>(product, tile, row),
            (_, 2) => block::<1, 2, SPREAD>(product, tile, row),
            _ => block::<1, 1, SPREAD>(product, tile, row),
        }
    }
}

/// # Safety
/// As [`product`]; the tile has `ROWS` rows from `row` on, and there are `COLUMNS` columns.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn block<const ROWS: usize, const COLUMNS: usize, const SPREAD: bool>(
    product: &Product16<'_>,
    tile: usize,
    row: usize,
) -> usize {
    let mut sums = [[_mm512_setzero_ps(); COLUMNS]; ROWS];
    // SAFETY: the caller promises that every tile named lies inside its buffer.
    unsafe {
        let (unit, line) = if SPREAD { (32, product.a_line * 32) } else { (TILE16_LEN, 32) };
        let first = product.a.add(tile * product.a_row * unit + row * line);
        for pair in product.pairs {
            let mut a = first.add(pair.a as usize * unit);
            let mut b = product.b.add(pair.b as usize * TILE16_LEN);
            for _ in 1..product.k_blocks {
                for k_pair in 0..16 {
                    step(&mut sums, a.add(2 * k_pair), line, b.add(32 * k_pair), product.b_column);
                }
                a = a.add(product.a_step * unit);
                b = b.add(product.b_step * TILE16_LEN);
            }
            for k_pair in 0..product.k_pairs_last {
                step(&mut sums, a.add(2 * k_pair), line, b.add(32 * k_pair), product.b_column);
            }
        }
        for column in 0..COLUMNS {
            for r in 0..ROWS {
                let tile = tile * product.c_row + column * product.c_column;
                let c = product.c.add(tile * 256 + (row + r) * TILE);
                let base = if product.accumulate { _mm512_loadu_ps(c) } else { _mm512_setzero_ps() };
                _mm512_storeu_ps(c, _mm512_add_ps(base, sums[r][column]));
            }
        }
    }
    ROWS
}

/// Adds the products of `ROWS` pairs of A and the rows of B for one pair of k.
///
/// # Safety
/// As [`product`]; `a` points to the first of `ROWS` pairs at distances of `line`, `b` to the first of
/// `COLUMNS` rows of 16 pairs at distances of `b_column` tiles.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn step<const ROWS: usize, const COLUMNS: usize>(
    sums: &mut [[__m512; COLUMNS]; ROWS],
    a: *const Bf16,
    line: usize,
    b: *const Bf16,
    b_column: usize,
) {
    let mut columns = [_mm512_setzero_si512(); COLUMNS];
    // SAFETY: the caller promises that both point into their tiles.
    unsafe {
        for column in 0..COLUMNS {
            columns[column] = _mm512_loadu_si512(b.add(column * b_column * TILE16_LEN).cast());
        }
        for row in 0..ROWS {
            let pair = as_bf16(_mm512_set1_epi32(a.add(row * line).cast::<i32>().read_unaligned()));
            for column in 0..COLUMNS {
                sums[row][column] = _mm512_dpbf16_ps(sums[row][column], pair, as_bf16(columns[column]));
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
#[inline]
fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, and every pattern of bits is a value of either.
    unsafe { std::mem::transmute(bits) }
}

/// ReLU keeps NaN, so that a run that diverges shows.
///
/// # Safety
/// As [`super::FinishFn`], with AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn finish(finish: &Finish<'_>, y: *mut Bf16) {
    let zero = _mm512_setzero_ps();
    let mut bias = [zero; 2];
    // SAFETY: the arrays of 32 biases and 512 sums hold all values that are read; the caller promises
    // that the rows lie inside the buffer.
    unsafe {
        if let Some(values) = finish.bias {
            bias = [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(TILE))];
        }
        for row in 0..finish.rows.min(TILE) {
            let c = finish.c.as_ptr().add(row * TILE);
            let mut low = _mm512_add_ps(_mm512_loadu_ps(c), bias[0]);
            let mut high = _mm512_add_ps(_mm512_loadu_ps(c.add(TILE * TILE)), bias[1]);
            if finish.relu {
                // The second operand is returned when either is NaN.
                (low, high) = (_mm512_max_ps(zero, low), _mm512_max_ps(zero, high));
            }
            let rounded = _mm512_cvtne2ps_pbh(high, low);
            let y = y.add(row * finish.y_line * 32);
            _mm512_storeu_si512(y.cast(), std::mem::transmute::<__m512bh, __m512i>(rounded));
        }
    }
}

/// Four rounds of exchanges: of single numbers, of pairs, of fours and of eights.
///
/// # Safety
/// As [`super::TransposeFn`], with AVX-512 F.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn transpose(from: &[Bf16; TILE16_LEN], used: usize, to: &mut [u32; 256]) {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (index, row) in rows.iter_mut().enumerate() {
        let mask = if index < used { 0xFFFF } else { 0 };
        // SAFETY: the array holds the 64 bytes that are read.
        *row = unsafe { _mm512_maskz_loadu_epi32(mask, from.as_ptr().add(index * 32).cast()) };
    }
    let mut pairs = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // fours[4i + j]: column j of each quarter of four columns, from rows 4i to 4i + 3.
    let mut fours = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        for j in 0..2 {
            fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(pairs[4 * i + j], pairs[4 * i + j + 2]);
            fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[4 * i + j], pairs[4 * i + j + 2]);
        }
    }
    for j in 0..4 {
        let low = [0, 8].map(|i| _mm512_shuffle_i32x4::<0x88>(fours[i + j], fours[i + 4 + j]));
        let high = [0, 8].map(|i| _mm512_shuffle_i32x4::<0xDD>(fours[i + j], fours[i + 4 + j]));
        let columns = [
            (j, _mm512_shuffle_i32x4::<0x88>(low[0], low[1])),
            (j + 8, _mm512_shuffle_i32x4::<0xDD>(low[0], low[1])),
            (j + 4, _mm512_shuffle_i32x4::<0x88>(high[0], high[1])),
            (j + 12, _mm512_shuffle_i32x4::<0xDD>(high[0], high[1])),
        ];
        for (column, values) in columns {
            // SAFETY: the array has the 64 bytes that are written.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(column * TILE).cast(), values) };
        }
    }
}

/// A pair of k and a pair of columns are four values, 64 bits. In each the middle two change places, and
/// then eight rows of eight such fours are transposed, twice.
///
/// # Safety
/// As [`super::TurnFn`], with AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) unsafe fn turn(from: &[Bf16; TILE16_LEN], to: [&mut [Bf16; TILE16_LEN / 2]; 2]) {
    for (half, to) in to.into_iter().enumerate() {
        let mut rows = [_mm512_setzero_si512(); 8];
        for (index, row) in rows.iter_mut().enumerate() {
            // SAFETY: the array holds the 64 bytes that are read.
            let fours = unsafe { _mm512_loadu_si512(from.as_ptr().add((8 * half + index) * 32).cast()) };
            *row = _mm512_shufflehi_epi16::<0b11_01_10_00>(_mm512_shufflelo_epi16::<0b11_01_10_00>(fours));
        }
        for odd in 0..2 {
            // Quarter j of pairs[i]: column 2j + odd from rows 2i and 2i + 1.
            let pairs: [_; 4] = std::array::from_fn(|i| match odd {
                0 => _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]),
                _ => _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]),
            });
            let even = [0, 2].map(|i| _mm512_shuffle_i64x2::<0x88>(pairs[i], pairs[i + 1]));
            let uneven = [0, 2].map(|i| _mm512_shuffle_i64x2::<0xDD>(pairs[i], pairs[i + 1]));
            let columns = [
                (odd, _mm512_shuffle_i64x2::<0x88>(even[0], even[1])),
                (odd + 2, _mm512_shuffle_i64x2::<0x88>(uneven[0], uneven[1])),
                (odd + 4, _mm512_shuffle_i64x2::<0xDD>(even[0], even[1])),
                (odd + 6, _mm512_shuffle_i64x2::<0xDD>(uneven[0], uneven[1])),
            ];
            for (column, values) in columns {
                // SAFETY: the array has the 64 bytes that are written.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().add(column * 32).cast(), values) };
            }
        }
    }
}
