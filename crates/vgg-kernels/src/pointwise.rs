//! Operations on each value by itself, and the sums over a batch that go with them.
//!
//! The gradient of a bias is the sum of its channel's gradient over pictures and pixels. Its
//! length grows with the batch and the picture, so it is cut into blocks that depend on nothing
//! else: the 16 pictures of a tile, the tiles of a row, the rows of a *segment*, the segments. A
//! value goes through at most 16 + width + rows in a segment + segments roundings, instead of as
//! many as there are values. Segments times blocks of channels are the tasks, so that a layer of
//! few channels keeps all threads busy; a thread never adds to another's sum.

use crate::Kernels;
use crate::kernels::per_tier;
use crate::layout::{Map, TILE, TILE_LEN, blocks, pictures_in_group};
use crate::parallel::{Pool, SharedMut};

/// How many sums of 16 channels may be under way before they are merged: they lie on the stack,
/// 4 KiB, since an operation allocates nothing.
const PARTIAL_SUMS: usize = 64;

/// Sets `dy` to zero where `y`, the output of the ReLU, is not positive, and writes the sum of
/// what is left over pictures and pixels to `bias_gradient`, which has 16 values for each block of
/// channels; those past the last channel become zero. Where `y` is NaN the gradient passes.
///
/// # Panics
/// When a slice does not have the length of its shape.
pub fn relu_backward(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    y: &[f32],
    dy: &mut [f32],
    bias_gradient: &mut [f32],
) {
    assert_eq!(y.len(), map.len(batch), "{batch} pictures of {map:?}");
    assert_eq!(dy.len(), map.len(batch), "{batch} pictures of {map:?}");
    let base = SharedMut(dy.as_mut_ptr());
    sum_tiles(pool, batch, map, bias_gradient, |start, pictures, sum| {
        let y = &y[start..start + TILE_LEN];
        // SAFETY: `y` is as long as `dy`, so the tile lies inside `dy`, which is borrowed for the
        // whole operation; `sum_tiles` names each tile once, so no other task has it.
        let dy = unsafe { std::slice::from_raw_parts_mut(base.pointer().add(start), TILE_LEN) };
        mask_and_add_tile(kernels, y, dy, pictures, sum);
    });
}

/// Writes the sum of `dy` over pictures and pixels to `bias_gradient`, as [`relu_backward`] does.
///
/// # Panics
/// When a slice does not have the length of its shape.
pub fn bias_gradient(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    dy: &[f32],
    bias_gradient: &mut [f32],
) {
    assert_eq!(dy.len(), map.len(batch), "{batch} pictures of {map:?}");
    sum_tiles(pool, batch, map, bias_gradient, |start, pictures, sum| {
        add_tile(kernels, &dy[start..start + TILE_LEN], pictures, sum);
    });
}

/// Multiplies by `scale` each value of `x` whose byte in `keep` is not zero, and sets the others
/// to zero: dropout and, since it is linear, its gradient.
///
/// # Panics
/// When `x` is not made of tiles or `keep` is not as long.
pub fn scale_kept(kernels: &Kernels, pool: &Pool, keep: &[u8], scale: f32, x: &mut [f32]) {
    assert_eq!(keep.len(), x.len(), "one byte per value");
    pool.for_each_chunk(x, TILE_LEN, TILE, |index, x| {
        scale_kept_tile(kernels, &keep[index * TILE_LEN..][..TILE_LEN], scale, x);
    });
}

/// Calls `add_tile(start, pictures, sum)` once for each tile of the batch, to add the tile that
/// starts at `start` over its first `pictures` pictures to `sum`, and merges the sums.
fn sum_tiles(
    pool: &Pool,
    batch: usize,
    map: Map,
    total: &mut [f32],
    add_tile: impl Fn(usize, usize, &mut [f32; TILE]) + Sync,
) {
    let blocks_of_map = map.blocks();
    assert_eq!(total.len(), blocks_of_map * TILE, "16 sums for each block of {map:?}");
    let rows = blocks(batch) * map.height;
    let segments = (PARTIAL_SUMS / blocks_of_map.max(1)).clamp(1, rows.max(1));
    let sum_segment = |index: usize, segment_sum: &mut [f32]| {
        let (segment, block) = (index / blocks_of_map, index % blocks_of_map);
        segment_sum.fill(0.0);
        for row in segment * rows / segments..(segment + 1) * rows / segments {
            let pictures = pictures_in_group(batch, row / map.height);
            let mut row_sum = [0.0; TILE];
            for pixel in row * map.width..(row + 1) * map.width {
                add_tile(pixel * map.pixel_len() + block * TILE_LEN, pictures, &mut row_sum);
            }
            add(segment_sum, &row_sum);
        }
    };
    if segments == 1 {
        pool.for_each_chunk(total, TILE, 1, sum_segment);
    } else {
        let mut partial_sums = [0.0; PARTIAL_SUMS * TILE];
        let partial_sums = &mut partial_sums[..segments * total.len()];
        pool.for_each_chunk(partial_sums, TILE, 1, sum_segment);
        total.fill(0.0);
        partial_sums.chunks_exact(total.len()).for_each(|sums| add(total, sums));
    }
    total[map.channels..].fill(0.0);
}

#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn add(total: &mut [f32], values: &[f32]) {
    for (total, &value) in total.iter_mut().zip(values) {
        *total += value;
    }
}

#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn add_pictures(tile: &[f32], pictures: usize, sum: &mut [f32; TILE]) {
    let mut tile_sum = [0.0; TILE];
    for values in tile.chunks_exact(TILE).take(pictures) {
        add(&mut tile_sum, values);
    }
    add(sum, &tile_sum);
}

per_tier! {
    fn add_tile(dy: &[f32], pictures: usize, sum: &mut [f32; TILE]) {
        add_pictures(dy, pictures, sum);
    }
}

per_tier! {
    fn mask_and_add_tile(y: &[f32], dy: &mut [f32], pictures: usize, sum: &mut [f32; TILE]) {
        for (dy, &y) in dy.iter_mut().zip(y) {
            *dy = if y <= 0.0 { 0.0 } else { *dy };
        }
        add_pictures(dy, pictures, sum);
    }
}

per_tier! {
    fn scale_kept_tile(keep: &[u8], scale: f32, x: &mut [f32]) {
        for (x, &keep) in x.iter_mut().zip(keep) {
            *x = if keep != 0 { *x * scale } else { 0.0 };
        }
    }
}
