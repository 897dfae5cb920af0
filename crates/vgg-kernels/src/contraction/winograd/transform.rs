//! The transforms of Winograd's convolution: additions of whole tiles, one row of 16 values at a
//! time. Halves are exact, so every transform of small integers is exact.

use super::POINTS;
use crate::kernels::per_tier;
use crate::layout::{TILE, TILE_LEN};

/// A row of a tile.
pub(super) type Lanes = [f32; TILE];

/// A tile by rows.
pub(super) type Tile = [Lanes; TILE];

/// A tile of zeros that starts at a cache line.
#[repr(align(64))]
pub(super) struct Zeros(pub(super) Tile);

/// What lies outside a picture.
pub(super) static ZEROS: Zeros = Zeros([[0.0; TILE]; TILE]);

/// On which axes a cell has one output instead of two.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) down: bool,
    pub(super) right: bool,
}

/// How two values of an axis become one.
#[derive(Clone, Copy)]
pub(super) enum Combine {
    First,
    Sum,
    Difference,
}

/// A tile by rows.
pub(super) fn as_tile(tile: &[f32; TILE_LEN]) -> &Tile {
    let (rows, _) = tile.as_chunks();
    rows.try_into().expect("a tile has 16 rows")
}

/// Writes `value` to a row of tile `tile`.
#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn put(to: &mut [[f32; TILE_LEN]], tile: usize, row: usize, value: Lanes) {
    to[tile].as_chunks_mut().0[row] = value;
}

#[inline(always)]
fn add(mut a: Lanes, b: Lanes) -> Lanes {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
    a
}

#[inline(always)]
fn sub(mut a: Lanes, b: Lanes) -> Lanes {
    for (a, b) in a.iter_mut().zip(b) {
        *a -= b;
    }
    a
}

#[inline(always)]
fn half(mut a: Lanes) -> Lanes {
    for a in &mut a {
        *a *= 0.5;
    }
    a
}

/// Bᵀ d; a cut axis keeps its first two values.
#[inline(always)]
fn input_axis<const CUT: bool>(d0: Lanes, d1: Lanes, d2: Lanes, d3: Lanes) -> [Lanes; 4] {
    if CUT { [d0, d1, d0, d1] } else { [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)] }
}

/// Aᵀ m; a cut axis has one point and one output.
#[inline(always)]
fn result_axis<const CUT: bool>(m0: Lanes, m1: Lanes, m2: Lanes, m3: Lanes) -> [Lanes; 2] {
    if CUT { [m0, m0] } else { [add(add(m0, m1), m2), sub(sub(m1, m2), m3)] }
}

/// G w, and the middle weight as the fifth point.
#[inline(always)]
fn weight_axis(w0: Lanes, w1: Lanes, w2: Lanes) -> [Lanes; 5] {
    let outer = add(w0, w2);
    [w0, half(add(outer, w1)), half(sub(outer, w1)), w2, w1]
}

/// Gᵀ p, with the sums of the fifth point.
#[inline(always)]
fn gradient_axis(p0: Lanes, p1: Lanes, p2: Lanes, p3: Lanes, p4: Lanes) -> [Lanes; 3] {
    let sum = half(add(p1, p2));
    [add(p0, sum), add(half(sub(p1, p2)), p4), add(sum, p3)]
}

#[inline(always)]
fn input_body<const DOWN: bool, const RIGHT: bool>(
    d: &[&Tile; 16],
    pictures: usize,
    to: &mut [f32],
    step: usize,
) {
    let (to, _) = to.as_chunks_mut();
    for row in 0..pictures.min(TILE) {
        let c0 = input_axis::<DOWN>(d[0][row], d[4][row], d[8][row], d[12][row]);
        let c1 = input_axis::<DOWN>(d[1][row], d[5][row], d[9][row], d[13][row]);
        let c2 = input_axis::<DOWN>(d[2][row], d[6][row], d[10][row], d[14][row]);
        let c3 = input_axis::<DOWN>(d[3][row], d[7][row], d[11][row], d[15][row]);
        for y in 0..if DOWN { 2 } else { POINTS } {
            let points = input_axis::<RIGHT>(c0[y], c1[y], c2[y], c3[y]);
            for x in 0..if RIGHT { 2 } else { POINTS } {
                put(to, (y * POINTS + x) * step, row, points[x]);
            }
        }
    }
}

per_tier! {
    /// Writes Bᵀ d B of the 4×4 tiles of a cell to tiles `step` apart, for the first `pictures`.
    pub(super) fn inputs(d: &[&Tile; 16], cut: Cut, pictures: usize, to: &mut [f32], step: usize) {
        match (cut.down, cut.right) {
            (false, false) => input_body::<false, false>(d, pictures, to, step),
            (false, true) => input_body::<false, true>(d, pictures, to, step),
            (true, false) => input_body::<true, false>(d, pictures, to, step),
            (true, true) => input_body::<true, true>(d, pictures, to, step),
        }
    }
}

/// Adds the bias, applies ReLU and writes one pixel, if the cell has it. ReLU keeps NaN.
#[inline(always)]
fn finish(pixel: &mut Option<&mut Tile>, row: usize, bias: &Lanes, sum: Lanes, relu: bool) {
    let Some(pixel) = pixel else { return };
    let mut value = add(*bias, sum);
    if relu {
        for value in &mut value {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
    }
    pixel[row] = value;
}

#[inline(always)]
fn result_body<const DOWN: bool, const RIGHT: bool>(
    m: &[f32],
    pictures: usize,
    bias: &Lanes,
    relu: bool,
    pixels: &mut [Option<&mut Tile>; 4],
) {
    let (m, _) = m.as_chunks::<TILE_LEN>();
    assert!(m.len() > 15 * super::RESULT_STEP, "results of 16 points");
    let [p0, p1, p2, p3] = pixels;
    let at = |point: usize, row: usize| m[point * super::RESULT_STEP].as_chunks::<TILE>().0[row];
    for row in 0..pictures.min(TILE) {
        let c0 = result_axis::<DOWN>(at(0, row), at(4, row), at(8, row), at(12, row));
        let c1 = result_axis::<DOWN>(at(1, row), at(5, row), at(9, row), at(13, row));
        let c2 = result_axis::<DOWN>(at(2, row), at(6, row), at(10, row), at(14, row));
        let c3 = result_axis::<DOWN>(at(3, row), at(7, row), at(11, row), at(15, row));
        let upper = result_axis::<RIGHT>(c0[0], c1[0], c2[0], c3[0]);
        let lower = result_axis::<RIGHT>(c0[1], c1[1], c2[1], c3[1]);
        finish(p0, row, bias, upper[0], relu);
        finish(p1, row, bias, upper[1], relu);
        finish(p2, row, bias, lower[0], relu);
        finish(p3, row, bias, lower[1], relu);
    }
}

per_tier! {
    /// Writes Aᵀ m A plus bias, with ReLU, to the 2×2 pixels of a cell, of which a cut one lacks
    /// some. The points of `m` are [`super::RESULT_STEP`] tiles apart; a cut axis has only the first.
    pub(super) fn results(
        m: &[f32],
        cut: Cut,
        pictures: usize,
        bias: &Lanes,
        relu: bool,
        pixels: &mut [Option<&mut Tile>; 4],
    ) {
        match (cut.down, cut.right) {
            (false, false) => result_body::<false, false>(m, pictures, bias, relu, pixels),
            (false, true) => result_body::<false, true>(m, pictures, bias, relu, pixels),
            (true, false) => result_body::<true, false>(m, pictures, bias, relu, pixels),
            (true, true) => result_body::<true, true>(m, pictures, bias, relu, pixels),
        }
    }
}

per_tier! {
    /// Writes G w Gᵀ of nine taps, `axes` points, to tiles `step` apart.
    pub(super) fn weights(taps: &[&Tile; 9], axes: (usize, usize), to: &mut [f32], step: usize) {
        let (to, _) = to.as_chunks_mut();
        for row in 0..TILE {
            let c0 = weight_axis(taps[0][row], taps[3][row], taps[6][row]);
            let c1 = weight_axis(taps[1][row], taps[4][row], taps[7][row]);
            let c2 = weight_axis(taps[2][row], taps[5][row], taps[8][row]);
            for y in 0..axes.0 {
                let points = weight_axis(c0[y], c1[y], c2[y]);
                for x in 0..axes.1 {
                    put(to, (y * axes.1 + x) * step, row, points[x]);
                }
            }
        }
    }
}

per_tier! {
    /// Writes Gᵀ p G, nine taps, from `axes` points of tiles `step` apart.
    pub(super) fn gradient(sums: &[f32], axes: (usize, usize), step: usize, taps: &mut [[f32; TILE_LEN]; 9]) {
        let (sums, _) = sums.as_chunks();
        for row in 0..TILE {
            let mut columns = [[[0.0; TILE]; 3]; 5];
            for (x, column) in columns[..axes.1].iter_mut().enumerate() {
                let mut points = [[0.0; TILE]; 5];
                for (y, point) in points[..axes.0].iter_mut().enumerate() {
                    *point = as_tile(&sums[(y * axes.1 + x) * step])[row];
                }
                let [p0, p1, p2, p3, p4] = points;
                *column = gradient_axis(p0, p1, p2, p3, p4);
            }
            let [c0, c1, c2, c3, c4] = columns;
            for y in 0..3 {
                let values = gradient_axis(c0[y], c1[y], c2[y], c3[y], c4[y]);
                for x in 0..3 {
                    put(taps, y * 3 + x, row, values[x]);
                }
            }
        }
    }
}

#[inline(always)]
fn combine(how: Combine, a: Lanes, b: Lanes) -> Lanes {
    match how {
        Combine::First => a,
        Combine::Sum => add(a, b),
        Combine::Difference => sub(a, b),
    }
}

#[inline(always)]
fn input_row_body(
    d: [&[&Tile; 4]; 2],
    how: Combine,
    cut: bool,
    pictures: usize,
    to: &mut [f32],
    step: usize,
) {
    let (to, _) = to.as_chunks_mut();
    for row in 0..pictures.min(TILE) {
        let c0 = combine(how, d[0][0][row], d[1][0][row]);
        let c1 = combine(how, d[0][1][row], d[1][1][row]);
        if cut {
            put(to, 0, row, c0);
            put(to, POINTS * step, row, c1);
            continue;
        }
        let c2 = combine(how, d[0][2][row], d[1][2][row]);
        let c3 = combine(how, d[0][3][row], d[1][3][row]);
        put(to, 0, row, sub(c0, c2));
        put(to, step, row, add(c1, c2));
        put(to, 2 * step, row, sub(c2, c1));
        put(to, 3 * step, row, sub(c3, c1));
    }
}

per_tier! {
    /// Writes one row of points of a cell's inputs for backward by weights, made from two rows of its
    /// pixels: Bᵀ d B with the sign of the fourth column changed. A cut row has its first and fifth point.
    pub(super) fn input_row(
        d: [&[&Tile; 4]; 2],
        how: Combine,
        cut: bool,
        pictures: usize,
        to: &mut [f32],
        step: usize,
    ) {
        match (how, cut) {
            (Combine::First, false) => input_row_body(d, Combine::First, false, pictures, to, step),
            (Combine::Sum, false) => input_row_body(d, Combine::Sum, false, pictures, to, step),
            (Combine::Difference, false) => input_row_body(d, Combine::Difference, false, pictures, to, step),
            (how, true) => input_row_body(d, how, true, pictures, to, step),
        }
    }
}

#[inline(always)]
fn gradient_row_body(
    d: [&[&Tile; 2]; 2],
    how: Combine,
    cut: bool,
    pictures: usize,
    to: &mut [f32],
    step: usize,
) {
    let (to, _) = to.as_chunks_mut();
    for row in 0..pictures.min(TILE) {
        let c0 = combine(how, d[0][0][row], d[1][0][row]);
        if cut {
            put(to, 0, row, c0);
            put(to, POINTS * step, row, c0);
            continue;
        }
        let c1 = combine(how, d[0][1][row], d[1][1][row]);
        put(to, 0, row, c0);
        put(to, step, row, add(c0, c1));
        put(to, 2 * step, row, sub(c0, c1));
        put(to, 3 * step, row, c1);
    }
}

per_tier! {
    /// Writes one row of points of a cell's gradient for backward by weights, made from two rows of its
    /// pixels: A dy Aᵀ with the sign of the fourth column changed. A cut row has its first and fifth point.
    pub(super) fn gradient_row(
        d: [&[&Tile; 2]; 2],
        how: Combine,
        cut: bool,
        pictures: usize,
        to: &mut [f32],
        step: usize,
    ) {
        match (how, cut) {
            (Combine::First, false) => gradient_row_body(d, Combine::First, false, pictures, to, step),
            (Combine::Sum, false) => gradient_row_body(d, Combine::Sum, false, pictures, to, step),
            (Combine::Difference, false) => gradient_row_body(d, Combine::Difference, false, pictures, to, step),
            (how, true) => gradient_row_body(d, how, true, pictures, to, step),
        }
    }
}
