//! Max pooling over 2×2 windows with stride 2, in ceil mode: where the size is odd, the windows of
//! the last row or column are cut at the edge (28 → 14 → 7 → 4 → 2 → 1).
//!
//! The first of equal values wins, and a NaN in a window is its result, so that a diverged network
//! shows in the loss. Windows do not overlap, so the gradient of an input value comes from one
//! output at most: backward splits over the inputs and sums nothing.

use crate::Kernels;
use crate::element::Element;
use crate::kernels::per_tier;
use crate::layout::Map;
use crate::parallel::Pool;

/// Values whose maximum is sought at a time: a divisor of every tile.
const RUN: usize = 16;

/// The shape that pooling makes of `input`.
pub const fn output(input: Map) -> Map {
    Map { height: input.height.div_ceil(2), width: input.width.div_ceil(2), ..input }
}

/// Writes the largest value of each window of `x` to `y`, zero as the positive one, and to `argmax`, one
/// byte per value of `y`, its position in the window: 0 to 3, row by row.
///
/// # Panics
/// When a slice does not have the length of its shape, or the map is of another format.
pub fn forward<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    input: Map,
    x: &[T],
    y: &mut [T],
    argmax: Option<&mut [u8]>,
) {
    let output = output(input);
    assert_eq!(input.format, T::FORMAT, "format of the values");
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
/// When a slice does not have the length of its shape, or the map is of another format.
pub fn backward<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    input: Map,
    dy: &[T],
    argmax: &[u8],
    dx: &mut [T],
) {
    let output = output(input);
    assert_eq!(input.format, T::FORMAT, "format of the values");
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

/// The pixels of a window in one group's values. Where the window is cut at the edge, its first
/// pixel stands in, whose values as equals never win.
fn window<T>(input: Map, x: &[T], row: usize, column: usize) -> [&[T]; 4] {
    std::array::from_fn(|position| {
        let (mut y, mut x_of) = (2 * row + position / 2, 2 * column + position % 2);
        if y >= input.height || x_of >= input.width {
            (y, x_of) = (2 * row, 2 * column);
        }
        &x[(y * input.width + x_of) * input.pixel_len()..][..input.pixel_len()]
    })
}

per_tier! {
    /// The maximum over a window and, where `argmax` has room for it, its position: a sum of comparisons, since
    /// compilers make branches of choices between numbers, which nobody can predict.
    fn max_pixel<T>(window: &[&[T]; 4], y: &mut [T], argmax: &mut [u8]) {
        let mut largest = [T::Rank::default(); RUN];
        let mut ranks = [[T::Rank::default(); RUN]; 4];
        for (run, y) in y.chunks_exact_mut(RUN).enumerate() {
            let range = run * RUN..(run + 1) * RUN;
            for (ranks, values) in ranks.iter_mut().zip(window) {
                for (rank, value) in ranks.iter_mut().zip(&values[range.clone()]) {
                    *rank = value.rank();
                }
            }
            for i in 0..RUN {
                largest[i] = ranks[0][i].max(ranks[1][i]).max(ranks[2][i].max(ranks[3][i]));
            }
            for (y, &largest) in y.iter_mut().zip(&largest) {
                *y = T::of_rank(largest);
            }
            if let Some(argmax) = argmax.get_mut(range) {
                for i in 0..RUN {
                    let not = [0, 1, 2].map(|position| u8::from(ranks[position][i] != largest[i]));
                    argmax[i] = not[0] + (not[0] & not[1]) + (not[0] & not[1] & not[2]);
                }
            }
        }
    }
}

per_tier! {
    fn spread_pixel<T>(position: u8, dy: &[T], argmax: &[u8], dx: &mut [T]) {
        for ((dx, &dy), &argmax) in dx.iter_mut().zip(dy).zip(argmax) {
            *dx = if argmax == position { dy } else { T::default() };
        }
    }
}
