//! Max pooling over 2×2 windows with stride 2, in ceil mode: where the size is odd, the windows of
//! the last row or column are cut at the edge (28 → 14 → 7 → 4 → 2 → 1).
//!
//! The first of equal values wins, and a NaN in a window is its result, so that a diverged network
//! shows in the loss. Windows do not overlap, so the gradient of an input value comes from one
//! output at most: backward splits over the inputs and sums nothing.

use crate::Kernels;
use crate::kernels::per_tier;
use crate::layout::{Map, TILE_LEN};
use crate::parallel::Pool;

/// The shape that pooling makes of `input`.
pub const fn output(input: Map) -> Map {
    Map::new(input.height.div_ceil(2), input.width.div_ceil(2), input.channels)
}

/// Writes the largest value of each window of `x` to `y`, and to `argmax`, one byte per value of
/// `y`, its position in the window: 0 to 3, row by row.
///
/// # Panics
/// When a slice does not have the length of its shape.
pub fn forward(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    input: Map,
    x: &[f32],
    y: &mut [f32],
    argmax: Option<&mut [u8]>,
) {
    let output = output(input);
    assert_eq!(x.len(), input.len(batch), "input of {batch} pictures of {input:?}");
    assert_eq!(y.len(), output.len(batch), "output of {batch} pictures of {output:?}");
    let positions = argmax.as_ref().map_or(y.len(), |argmax| argmax.len());
    assert_eq!(positions, y.len(), "one position per output value");
    let pixel_len = output.pixel_len();
    pool.for_each_chunk_of_two(
        y,
        argmax.unwrap_or_default(),
        output.width * pixel_len,
        |index, y, argmax| {
            let (group, row) = (index / output.height, index % output.height);
            let x = &x[group * input.group_len()..][..input.group_len()];
            for (column, y) in y.chunks_exact_mut(pixel_len).enumerate() {
                let argmax =
                    if argmax.is_empty() { &mut [] } else { &mut argmax[column * pixel_len..][..pixel_len] };
                max_pixel(kernels, &window(input, x, row, column), y, argmax);
            }
        },
    );
}

/// Writes to `dx` the gradient `dy` of each output at the input that `argmax` names, and zero
/// elsewhere.
///
/// # Panics
/// When a slice does not have the length of its shape.
pub fn backward(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    input: Map,
    dy: &[f32],
    argmax: &[u8],
    dx: &mut [f32],
) {
    let output = output(input);
    assert_eq!(dx.len(), input.len(batch), "input of {batch} pictures of {input:?}");
    assert_eq!(dy.len(), output.len(batch), "output of {batch} pictures of {output:?}");
    assert_eq!(argmax.len(), dy.len(), "one position per output value");
    let pixel_len = input.pixel_len();
    pool.for_each_chunk(dx, input.width * pixel_len, 2, |index, dx| {
        let (group, row) = (index / input.height, index % input.height);
        for (column, dx) in dx.chunks_exact_mut(pixel_len).enumerate() {
            let pixel = (group * output.height + row / 2) * output.width + column / 2;
            let from = pixel * pixel_len..(pixel + 1) * pixel_len;
            let position = (row % 2 * 2 + column % 2) as u8;
            spread_pixel(kernels, position, &dy[from.clone()], &argmax[from], dx);
        }
    });
}

/// The pixels of a window in one group's values; empty where the window is cut at the edge.
fn window(input: Map, x: &[f32], row: usize, column: usize) -> [&[f32]; 4] {
    std::array::from_fn(|position| {
        let (row, column) = (2 * row + position / 2, 2 * column + position % 2);
        if row < input.height && column < input.width {
            &x[(row * input.width + column) * input.pixel_len()..][..input.pixel_len()]
        } else {
            &[]
        }
    })
}

per_tier! {
    /// The maximum over a window, one tile at a time so that it stays in the nearest cache. The
    /// first position is inside every window, so it is where the search begins.
    fn max_pixel(window: &[&[f32]; 4], y: &mut [f32], argmax: &mut [u8]) {
        let mut unwanted = [0; TILE_LEN];
        for (tile, y) in y.chunks_exact_mut(TILE_LEN).enumerate() {
            let range = tile * TILE_LEN..(tile + 1) * TILE_LEN;
            let argmax = if argmax.is_empty() { &mut unwanted[..] } else { &mut argmax[range.clone()] };
            y.copy_from_slice(&window[0][range.clone()]);
            argmax.fill(0);
            for position in 1..4 {
                if window[position].is_empty() {
                    continue;
                }
                let values = &window[position][range.clone()];
                for ((y, argmax), &value) in y.iter_mut().zip(argmax.iter_mut()).zip(values) {
                    let take = (value > *y) | (value.is_nan() & !y.is_nan());
                    *y = if take { value } else { *y };
                    *argmax = if take { position as u8 } else { *argmax };
                }
            }
        }
    }
}

per_tier! {
    fn spread_pixel(position: u8, dy: &[f32], argmax: &[u8], dx: &mut [f32]) {
        for ((dx, &dy), &argmax) in dx.iter_mut().zip(dy).zip(argmax) {
            *dx = if argmax == position { dy } else { 0.0 };
        }
    }
}
