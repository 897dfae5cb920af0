//! Local response normalisation across the channels of a pixel (Krizhevsky, Sutskever & Hinton
//! 2012, section 3.3), which the network A-LRN has:
//!
//! `sᵢ = k + α · Σ xⱼ²` over the channels j with `|j − i| ≤ size / 2`, and `yᵢ = xᵢ · sᵢ^−β`.
//!
//! Backward: `∂yⱼ/∂xᵢ` is `sᵢ^−β` for j = i, plus `−β · xⱼ · sⱼ^(−β−1) · 2α · xᵢ` for each j in the
//! window of i. Hence `dxᵢ = dyᵢ · sᵢ^−β − 2αβ · xᵢ · Σ dyⱼ · xⱼ · sⱼ^−β / sⱼ`, with the scale
//! computed anew from x, which is cheaper than to keep it.
//!
//! The paper's β = 3/4 needs two square roots, which every machine rounds alike; another power is
//! libm's, which is plain Rust and so gives the same bits on every machine too.

use crate::Kernels;
use crate::element::Element;
use crate::kernels::per_tier;
use crate::layout::{Map, TILE, blocks};
use crate::parallel::Pool;

/// What the normalisation is made with; the names are the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrnConstants {
    /// Channels in a window: odd, at most 33.
    pub size: usize,
    /// What is added to the sum: positive.
    pub k: f32,
    /// Factor of the sum itself; not divided by `size`, as some libraries do.
    pub alpha: f32,
    /// The power.
    pub beta: f32,
}

/// A run of 16 channels with the runs before and behind it, where a window may reach.
type Neighbourhood = [f32; 3 * TILE];

/// Normalises `x` into `y`. Channels of the padding and unused pictures become zero.
///
/// # Panics
/// When a slice does not have the length of its shape, the map is of another format, or the
/// size is even or above 33.
pub fn forward<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    constants: &LrnConstants,
    x: &[T],
    y: &mut [T],
) {
    check::<T>(batch, map, constants, &[x.len(), y.len()]);
    let row_len = map.width * map.pixel_len();
    pool.for_each_chunk(y, row_len, 1, |index, y| {
        let pictures = map.pictures(batch, index / map.height);
        let x = &x[index * row_len..][..row_len];
        for (x, y) in x.chunks_exact(map.pixel_len()).zip(y.chunks_exact_mut(map.pixel_len())) {
            forward_pixel(kernels, constants, &map, pictures, x, y);
        }
    });
}

/// Writes to `dx` the gradient by `x` that follows from the gradient `dy` by the output. Channels
/// of the padding and unused pictures become zero.
///
/// # Panics
/// As [`forward`].
#[allow(clippy::too_many_arguments)] // Three tensors, their shape, and what runs them.
pub fn backward<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    map: Map,
    constants: &LrnConstants,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    check::<T>(batch, map, constants, &[x.len(), dy.len(), dx.len()]);
    let (row_len, pixel_len) = (map.width * map.pixel_len(), map.pixel_len());
    pool.for_each_chunk(dx, row_len, 1, |index, dx| {
        let pictures = map.pictures(batch, index / map.height);
        let rows = index * row_len..(index + 1) * row_len;
        let pixels = x[rows.clone()].chunks_exact(pixel_len).zip(dy[rows].chunks_exact(pixel_len));
        for ((x, dy), dx) in pixels.zip(dx.chunks_exact_mut(pixel_len)) {
            backward_pixel(kernels, constants, &map, pictures, x, dy, dx);
        }
    });
}

fn check<T: Element>(batch: usize, map: Map, constants: &LrnConstants, lengths: &[usize]) {
    assert_eq!(map.format, T::FORMAT, "format of the values");
    for &length in lengths {
        assert_eq!(length, map.len(batch), "{batch} pictures of {map:?}");
    }
    assert!(constants.size % 2 == 1 && constants.size <= 2 * TILE + 1, "a window of {}", constants.size);
}

per_tier! {
    fn forward_pixel<T>(constants: &LrnConstants, map: &Map, pictures: usize, x: &[T], y: &mut [T]) {
        let channels = map.channels;
        y.fill(T::default());
        for picture in 0..pictures {
            for run in 0..blocks(channels) {
                let scales = scales(constants, map, picture, run, x);
                let start = map.index(picture, 0, run * TILE);
                for lane in 0..TILE.min(channels - run * TILE) {
                    let value = x[start + lane].to_f32() / power(scales[lane], constants.beta);
                    y[start + lane] = T::from_f32(value);
                }
            }
        }
    }
}

per_tier! {
    /// Goes through the runs with the terms of the sum computed one run ahead, so that each is
    /// computed once.
    fn backward_pixel<T>(
        constants: &LrnConstants,
        map: &Map,
        pictures: usize,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
    ) {
        let channels = map.channels;
        dx.fill(T::default());
        let factor = 2.0 * constants.alpha * constants.beta;
        for picture in 0..pictures {
            let mut terms: Neighbourhood = [0.0; 3 * TILE];
            let mut shares = [0.0; TILE];
            for ahead in 0..=blocks(channels) {
                let (next_shares, next_terms) = shares_and_terms(constants, map, picture, ahead, x, dy);
                terms.copy_within(TILE.., 0);
                terms[2 * TILE..].copy_from_slice(&next_terms);
                if let Some(run) = ahead.checked_sub(1) {
                    let sums = window_sums(constants.size, &terms);
                    let start = map.index(picture, 0, run * TILE);
                    for lane in 0..TILE.min(channels - run * TILE) {
                        let value = shares[lane] - factor * x[start + lane].to_f32() * sums[lane];
                        dx[start + lane] = T::from_f32(value);
                    }
                }
                shares = next_shares;
            }
        }
    }
}

/// For each channel of a run `dyⱼ · sⱼ^−β` and `dyⱼ · xⱼ · sⱼ^−β / sⱼ`; zero past the last one.
#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn shares_and_terms<T: Element>(
    constants: &LrnConstants,
    map: &Map,
    picture: usize,
    run: usize,
    x: &[T],
    dy: &[T],
) -> ([f32; TILE], [f32; TILE]) {
    let channels = map.channels;
    let (mut shares, mut terms) = ([0.0; TILE], [0.0; TILE]);
    if run < blocks(channels) {
        let scales = scales(constants, map, picture, run, x);
        let start = map.index(picture, 0, run * TILE);
        for lane in 0..TILE.min(channels - run * TILE) {
            shares[lane] = dy[start + lane].to_f32() / power(scales[lane], constants.beta);
            terms[lane] = shares[lane] * x[start + lane].to_f32() / scales[lane];
        }
    }
    (shares, terms)
}

/// The scales s of a run's channels in one pixel of one picture.
#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn scales<T: Element>(
    constants: &LrnConstants,
    map: &Map,
    picture: usize,
    run: usize,
    x: &[T],
) -> [f32; TILE] {
    let mut squares: Neighbourhood = [0.0; 3 * TILE];
    for (place, square) in squares.iter_mut().enumerate() {
        let channel = (run * TILE + place).wrapping_sub(TILE);
        if channel < map.channels {
            let value = x[map.index(picture, 0, channel)].to_f32();
            *square = value * value;
        }
    }
    window_sums(constants.size, &squares).map(|sum| constants.k + constants.alpha * sum)
}

/// `scale^beta` for a positive scale.
#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn power(scale: f32, beta: f32) -> f32 {
    if beta == 0.75 {
        let root = scale.sqrt();
        return root * root.sqrt();
    }
    libm::powf(scale, beta)
}

/// The sums over the windows around the channels of the middle run, first channel first.
#[inline(always)] // Into each tier's function, to be compiled with its instructions.
fn window_sums(size: usize, values: &Neighbourhood) -> [f32; TILE] {
    let mut sums = [0.0; TILE];
    for offset in 0..size {
        let values = &values[TILE - size / 2 + offset..][..TILE];
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    sums
}
