//! Operations on each value by itself, and the sums over a batch that go with them.
//!
//! The gradient of a bias is the sum of its channel's gradient over pictures and pixels. Its
//! length grows with the batch and the picture, so it is cut into blocks that depend on nothing
//! else: the 16 pictures of a tile, the tiles of a row, the rows of a *segment*, the segments. A
//! value goes through at most 16 + width + rows in a segment + segments roundings, instead of as
//! many as there are values. Segments times runs of blocks of channels are the tasks, so that a
//! layer of few channels keeps all threads busy; a thread never adds to another's sum.

use crate::Kernels;
use crate::element::Element;
use crate::kernels::per_tier;
use crate::layout::{Map, TILE, blocks};
use crate::parallel::{Pool, SharedMut};

/// How many sums may be under way before they are merged: they lie on the stack, 4 KiB, since an
/// operation allocates nothing.
const PARTIAL_SUMS: usize = 1024;

/// Sets `dy` to zero where `y`, the output of the ReLU, is not positive, and writes the sum of
/// what is left over pictures and pixels to `bias_gradient`, which has a value for each channel
/// of the blocks; those past the last channel become zero. Where `y` is NaN the gradient passes.
///
/// # Panics
/// When a slice does not have the length of its shape, or the map is of another format.
pub fn relu_backward<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    y: &[T],
    dy: &mut [T],
    bias_gradient: &mut [f32],
) {
    assert_eq!(y.len(), map.len(batch), "{batch} pictures of {map:?}");
    assert_eq!(dy.len(), map.len(batch), "{batch} pictures of {map:?}");
    let base = SharedMut(dy.as_mut_ptr());
    sum_tiles::<T>(pool, batch, map, bias_gradient, |start, pictures, sum| {
        let y = &y[start..start + T::TILE_LEN];
        // SAFETY: `y` is as long as `dy`, so the tile lies inside `dy`, which is borrowed for the
        // whole operation; `sum_tiles` names each tile once, so no other task has it.
        let dy = unsafe { std::slice::from_raw_parts_mut(base.pointer().add(start), T::TILE_LEN) };
        mask_and_add_tile(kernels, y, dy, pictures, sum);
    });
}

/// Writes the sum of `dy` over pictures and pixels to `bias_gradient`, as [`relu_backward`] does.
///
/// # Panics
/// When a slice does not have the length of its shape, or the map is of another format.
pub fn bias_gradient<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    dy: &[T],
    bias_gradient: &mut [f32],
) {
    assert_eq!(dy.len(), map.len(batch), "{batch} pictures of {map:?}");
    sum_tiles::<T>(pool, batch, map, bias_gradient, |start, pictures, sum| {
        add_tile(kernels, &dy[start..start + T::TILE_LEN], pictures, sum);
    });
}

/// Multiplies by `scale` each value of `x` whose byte in `keep` is not zero, and sets the others
/// to zero: dropout and, since it is linear, its gradient.
///
/// # Panics
/// When `x` is not made of tiles or `keep` is not as long.
pub fn scale_kept<T: Element>(kernels: &Kernels, pool: &Pool, keep: &[u8], scale: f32, x: &mut [T]) {
    assert_eq!(keep.len(), x.len(), "one byte per value");
    pool.for_each_chunk(x, T::TILE_LEN, TILE, |index, x| {
        scale_kept_tile(kernels, &keep[index * T::TILE_LEN..][..T::TILE_LEN], scale, x);
    });
}

/// Calls `add_tile(start, pictures, sum)` once for each tile of the batch, to add the tile that
/// starts at `start` over its first `pictures` pictures to `sum`, and merges the sums.
fn sum_tiles<T: Element>(
    pool: &Pool,
    batch: usize,
    map: Map,
    total: &mut [f32],
    add_tile: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let blocks_of_map = map.blocks();
    assert_eq!(map.format, T::FORMAT, "format of the values");
    assert_eq!(map.group, TILE, "pictures in a group");
    assert_eq!(total.len(), blocks_of_map * T::BLOCK, "a sum for each channel of the blocks of {map:?}");
    let rows = blocks(batch) * map.height;
    let segments = (PARTIAL_SUMS / total.len().max(1)).clamp(1, rows.max(1));
    let run = blocks_of_a_task::<T>(blocks_of_map, segments, pool.threads());
    let sum_segment = |index: usize, segment_sum: &mut [f32]| {
        let (segment, first) = (index / (blocks_of_map / run), index % (blocks_of_map / run) * run);
        let mut row_sum = [0.0; PARTIAL_SUMS];
        let row_sum = &mut row_sum[..segment_sum.len()];
        segment_sum.fill(0.0);
        for row in segment * rows / segments..(segment + 1) * rows / segments {
            let pictures = map.pictures(batch, row / map.height);
            row_sum.fill(0.0);
            for pixel in row * map.width..(row + 1) * map.width {
                for (block, sum) in row_sum.chunks_exact_mut(T::BLOCK).enumerate() {
                    add_tile(pixel * map.pixel_len() + (first + block) * T::TILE_LEN, pictures, sum);
                }
            }
            add(segment_sum, row_sum);
        }
    };
    if segments == 1 {
        pool.for_each_chunk(total, run * T::BLOCK, 1, sum_segment);
    } else {
        let mut partial_sums = [0.0; PARTIAL_SUMS];
        let partial_sums = &mut partial_sums[..segments * total.len()];
        pool.for_each_chunk(partial_sums, run * T::BLOCK, 1, sum_segment);
        total.fill(0.0);
        partial_sums.chunks_exact(total.len()).for_each(|sums| add(total, sums));
    }
    total[map.channels..].fill(0.0);
}

/// Neighbouring blocks of channels that a task takes, a divisor of `blocks`: as many as leave four
/// tasks a thread, since memory is read fastest from one end to the other.
fn blocks_of_a_task<T: Element>(blocks: usize, segments: usize, threads: usize) -> usize {
    let most = (segments * blocks / (4 * threads)).min(PARTIAL_SUMS / T::BLOCK).min(blocks);
    (1..=most).rev().find(|&run| blocks.is_multiple_of(run)).unwrap_or(1)
}

#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn add(total: &mut [f32], values: &[f32]) {
    for (total, &value) in total.iter_mut().zip(values) {
        *total += value;
    }
}

#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn add_pictures<T: Element>(tile: &[T], pictures: usize, sum: &mut [f32]) {
    for (index, sum) in sum.chunks_exact_mut(TILE).enumerate() {
        // Sums of sixteen channels at a time stay in registers.
        let mut tile_sum = [0.0; TILE];
        for values in tile.chunks_exact(T::BLOCK).take(pictures) {
            let values = &values[index * TILE..][..TILE];
            add(&mut tile_sum, &std::array::from_fn::<_, TILE, _>(|lane| values[lane].to_f32()));
        }
        add(sum, &tile_sum);
    }
}

per_tier! {
    fn add_tile<T>(dy: &[T], pictures: usize, sum: &mut [f32]) {
        add_pictures(dy, pictures, sum);
    }
}

per_tier! {
    fn mask_and_add_tile<T>(y: &[T], dy: &mut [T], pictures: usize, sum: &mut [f32]) {
        for (dy, &y) in dy.iter_mut().zip(y) {
            *dy = if y.to_f32() <= 0.0 { T::default() } else { *dy };
        }
        add_pictures(dy, pictures, sum);
    }
}

per_tier! {
    fn scale_kept_tile<T>(keep: &[u8], scale: f32, x: &mut [T]) {
        for (x, &keep) in x.iter_mut().zip(keep) {
            *x = if keep != 0 { T::from_f32(x.to_f32() * scale) } else { T::default() };
        }
    }
}
