//! Convolutions and dense layers, forward and backward, as batch-reduce products of tiles.
//!
//! For each output pixel a 3×3 convolution is the sum, over the taps that fall inside the picture,
//! of (pictures × input channels) · (input channels × output channels). A tap outside the picture
//! is not computed. Backward by data is the same sum with transposed weights, taken over the
//! output pixels that an input pixel reaches. Backward by weights is, for each tap, the product
//! summed over pixels and pictures. A dense layer is one tap at one pixel whose channels are all
//! values of the picture.
//!
//! Which tiles meet depends on the shapes only.

use crate::kernels::Kernels;
use crate::layout::{Map, TILE, TILE_LEN, WeightLayout, blocks, pictures_in_group};
use crate::parallel::{Pool, SharedMut};
use crate::product::{Base, Pair, Product, ProductFn};
use std::ops::Range;

/// Weights up to this size stay in a core's second-level cache, so the tasks of a forward pass
/// take one row of pixels through all outputs; above it they take all pixels through one pair of
/// output blocks.
const CACHED_WEIGHTS: usize = 512 * 1024 / size_of::<f32>();

/// Tiles summed in registers by backward-by-weights before the result is added to memory. 16 of A
/// and 32 of B fit the second-level cache with room for the weights. The number belongs to the
/// problem: it fixes the order of the sum.
const TILES_PER_CHUNK: usize = 16;

/// Input blocks that backward-by-weights takes through all outputs before the next ones, so that
/// their activations stay in the second-level cache.
const CACHED_INPUT_BLOCKS: usize = 16;

/// A convolution or dense layer of given shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contraction {
    input: Map,
    output: Map,
    /// Side of the window.
    kernel: usize,
}

/// The tables that every operation needs.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The kernels to compute with.
    pub kernels: &'a Kernels,
    /// The threads to compute on.
    pub pool: &'a Pool,
    /// Number of pictures.
    pub batch: usize,
}

impl Contraction {
    /// A `kernel`×`kernel` convolution (1 or 3), stride 1, same padding.
    ///
    /// # Panics
    /// When the kernel is neither 1 nor 3, or the input has no pixel or channel.
    pub fn convolution(input: Map, out_channels: usize, kernel: usize) -> Self {
        assert!(kernel == 1 || kernel == 3, "kernel {kernel}");
        assert!(input.pixels() * input.channels * out_channels > 0, "an empty convolution");
        Self { input, output: Map { channels: out_channels, ..input }, kernel }
    }

    /// A dense layer over all values of a picture.
    ///
    /// # Panics
    /// When the input has no pixel or channel.
    pub fn dense(input: Map, outputs: usize) -> Self {
        // The tiles of one group's pixels are contiguous, so they are the blocks of one pixel.
        let channels = if input.pixels() == 1 { input.channels } else { input.group_len() / TILE };
        Self::convolution(Map::new(1, 1, channels), outputs, 1)
    }

    /// Shape of the input; a dense layer over several pixels has them all in its channels.
    pub fn input(&self) -> Map {
        self.input
    }

    /// Shape of the output.
    pub fn output(&self) -> Map {
        self.output
    }

    /// Values in the packed weights (see [`crate::WeightLayout`]).
    pub fn weights_len(&self) -> usize {
        self.layout().packed_len()
    }

    /// The packed form of the weights, as far as lengths go.
    fn layout(&self) -> WeightLayout {
        let (outputs, channels) = (self.output.channels, self.input.channels);
        WeightLayout { outputs, channels, positions: self.taps(), gathered: false }
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Tiles of weights in one output block.
    fn weight_tiles(&self) -> usize {
        self.taps() * self.input.blocks()
    }

    /// Values of scratch that [`Contraction::backward_data`] needs with `threads` threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        threads * self.panel_len()
    }

    /// Values in the transposed weights of two input blocks.
    fn panel_len(&self) -> usize {
        2 * self.taps() * self.output.blocks() * TILE_LEN
    }

    /// `y = x · weights + bias`, with ReLU if `relu`. The bias has a value for each output of the
    /// packed blocks, zero past the last one.
    ///
    /// # Panics
    /// When a slice does not have the length that the shapes and the batch need.
    pub fn forward(&self, run: Run<'_>, x: &[f32], weights: &[f32], bias: &[f32], relu: bool, y: &mut [f32]) {
        assert_eq!(x.len(), self.input.len(run.batch), "x");
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(bias.len(), self.output.blocks() * TILE, "bias");
        assert_eq!(y.len(), self.output.len(run.batch), "y");
        let sum = PixelSum {
            run,
            kernel: self.kernel,
            mirrored: false,
            source: self.input,
            target: self.output,
            x,
            y: SharedMut(y.as_mut_ptr()),
            relu,
        };
        let by_row = weights.len() <= CACHED_WEIGHTS;
        let column_len = self.weight_tiles() * TILE_LEN;
        sum.for_each_task(by_row, &|_worker, block, rows| {
            let bias = Base::Bias(bias[block * TILE..].as_ptr());
            sum.rows(rows, block, weights[block * column_len..].as_ptr(), self.weight_tiles(), bias);
        });
    }

    /// `dx = dy · weightsᵀ`, the gradient of the input. `scratch` is overwritten.
    ///
    /// # Panics
    /// When a slice does not have the length that the shapes, the batch and the threads need.
    pub fn backward_data(
        &self,
        run: Run<'_>,
        dy: &[f32],
        weights: &[f32],
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        assert_eq!(dy.len(), self.output.len(run.batch), "dy");
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(dx.len(), self.input.len(run.batch), "dx");
        assert!(scratch.len() >= self.scratch_len(run.pool.threads()), "scratch");
        let sum = PixelSum {
            run,
            kernel: self.kernel,
            mirrored: true,
            source: self.output,
            target: self.input,
            x: dy,
            y: SharedMut(dx.as_mut_ptr()),
            relu: false,
        };
        let panels = SharedMut(scratch.as_mut_ptr());
        sum.for_each_task(false, &|worker, block, rows| {
            // SAFETY: `scratch` has a panel for each worker, borrowed for the whole operation, and
            // a worker runs one task at a time.
            let panel = unsafe {
                let start = panels.pointer().add(worker * self.panel_len());
                std::slice::from_raw_parts_mut(start, self.panel_len())
            };
            self.transpose_weights(weights, block, panel);
            sum.rows(rows, block, panel.as_ptr(), self.panel_len() / 2 / TILE_LEN, Base::Zero);
        });
    }

    /// Transposes the weights of the input blocks `block` and `block + 1` (if there is one) into
    /// `[input block][tap][output block]`.
    fn transpose_weights(&self, weights: &[f32], block: usize, panel: &mut [f32]) {
        let (in_blocks, out_blocks) = (self.input.blocks(), self.output.blocks());
        let (source, _) = weights.as_chunks::<TILE_LEN>();
        let (target, _) = panel.as_chunks_mut::<TILE_LEN>();
        for column in 0..(in_blocks - block).min(2) {
            for tap in 0..self.taps() {
                for out_block in 0..out_blocks {
                    let from = (out_block * self.taps() + tap) * in_blocks + block + column;
                    transpose(
                        &source[from],
                        &mut target[(column * self.taps() + tap) * out_blocks + out_block],
                    );
                }
            }
        }
    }

    /// `gradient = xᵀ · dy`, the gradient of the weights in packed form. Rows of inputs past the
    /// last one are not written.
    ///
    /// # Panics
    /// When a slice does not have the length that the shapes and the batch need.
    pub fn backward_weights(&self, run: Run<'_>, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
        assert_eq!(x.len(), self.input.len(run.batch), "x");
        assert_eq!(dy.len(), self.output.len(run.batch), "dy");
        assert_eq!(gradient.len(), self.weights_len(), "gradient");
        assert!(run.batch > 0, "a gradient of no pictures");
        // The middle tap meets every pixel, the others fewer.
        let pixels_per_chunk = (TILES_PER_CHUNK / blocks(run.batch)).max(1);
        let chunks = self.output.pixels().div_ceil(pixels_per_chunk);
        let units = self.taps() * self.input.blocks() * self.output.blocks().div_ceil(2);
        // Every task reads all activations of the layer, chunk by chunk, so more tasks than
        // threads would cost memory traffic.
        let wanted = if chunks > 1 { run.pool.threads() } else { 8 * run.pool.threads() };
        let tasks = wanted.min(units);
        let gradient = SharedMut(gradient.as_mut_ptr());
        run.pool.run(tasks, &|task, _worker| {
            for chunk in 0..chunks {
                let positions = chunk * pixels_per_chunk..(chunk + 1) * pixels_per_chunk;
                let base = if chunk == 0 { Base::Zero } else { Base::Accumulate };
                for unit in task * units / tasks..(task + 1) * units / tasks {
                    let mut pairs = [Pair { a: 0, b: 0 }; TILES_PER_CHUNK];
                    let (block, tap, in_block) = self.unit(unit);
                    let count = self.meetings(tap, positions.clone(), &mut pairs);
                    if chunk == 0 || count > 0 {
                        self.weight_tile(run, x, dy, gradient, (block, tap, in_block), &pairs[..count], base);
                    }
                }
            }
        });
    }

    /// Writes the pairs of input and output pixels that meet through `tap`, from position
    /// `positions.start` to before `positions.end` in the order of the output pixels, and returns
    /// how many there are.
    fn meetings(&self, tap: usize, positions: Range<usize>, pairs: &mut [Pair; TILES_PER_CHUNK]) -> usize {
        let (rows, row_shift) = meeting_range(self.output.height, tap / self.kernel, self.kernel);
        let (columns, column_shift) = meeting_range(self.output.width, tap % self.kernel, self.kernel);
        let end = positions.end.min(rows.len() * columns.len());
        for (pair, position) in pairs.iter_mut().zip(positions.start..end) {
            let row = rows.start + position / columns.len();
            let column = columns.start + position % columns.len();
            let in_pixel =
                (row + tap / self.kernel - row_shift) * self.input.width + column + tap % self.kernel
                    - column_shift;
            let out_pixel = row * self.output.width + column;
            *pair = pair_of(in_pixel * self.input.blocks(), out_pixel * self.output.blocks());
        }
        end.saturating_sub(positions.start)
    }

    /// The (first output block, tap, input block) of unit `unit` of backward-by-weights: runs of
    /// input blocks outermost, then pairs of output blocks, then taps, then the blocks of the run.
    fn unit(&self, unit: usize) -> (usize, usize, usize) {
        let in_blocks = self.input.blocks();
        let column_pairs = self.output.blocks().div_ceil(2);
        let run_units = CACHED_INPUT_BLOCKS * column_pairs * self.taps();
        let first = unit / run_units * CACHED_INPUT_BLOCKS;
        let run_blocks = CACHED_INPUT_BLOCKS.min(in_blocks - first);
        let rest = unit % run_units;
        (rest / (run_blocks * self.taps()) * 2, rest / run_blocks % self.taps(), first + rest % run_blocks)
    }

    /// One tile of the weights' gradient, or two side by side.
    #[allow(clippy::too_many_arguments)]
    fn weight_tile(
        &self,
        run: Run<'_>,
        x: &[f32],
        dy: &[f32],
        gradient: SharedMut<f32>,
        (block, tap, in_block): (usize, usize, usize),
        pairs: &[Pair],
        base: Base,
    ) {
        let groups = blocks(run.batch);
        let tile = block * self.weight_tiles() + tap * self.input.blocks() + in_block;
        let product = Product {
            a: x[in_block * TILE_LEN..].as_ptr(),
            b: dy[block * TILE_LEN..].as_ptr(),
            // SAFETY: the tile is inside the gradient, whose length was checked.
            c: unsafe { gradient.pointer().add(tile * TILE_LEN) },
            pairs,
            k_blocks: groups,
            a_step: self.input.pixels() * self.input.blocks(),
            b_step: self.output.pixels() * self.output.blocks(),
            k_last: pictures_in_group(run.batch, groups - 1),
            rows: (self.input.channels - in_block * TILE).min(TILE),
            columns: (self.output.blocks() - block).min(2),
            b_column: 1,
            c_column: self.weight_tiles(),
            base,
            relu: false,
        };
        // SAFETY: the lists name pixels inside the two maps, whose buffers' lengths were checked;
        // each unit has tiles of the gradient of its own.
        unsafe { (run.kernels.product_transposed)(&product) };
    }
}

/// A sum for each pixel of `target` over pixels of `source`: forward, or backward by data.
struct PixelSum<'a> {
    run: Run<'a>,
    kernel: usize,
    /// Whether the taps are mirrored: backward by data, where tap t of an output pixel comes back
    /// to the input pixel.
    mirrored: bool,
    source: Map,
    target: Map,
    x: &'a [f32],
    y: SharedMut<f32>,
    relu: bool,
}

impl PixelSum<'_> {
    /// Calls `task(worker, first block, rows)` so that every pair of blocks of the target meets
    /// every row of pixels of every group once. With `by_row` a task is one row and neighbouring
    /// tasks share it; otherwise neighbouring tasks share the pair of blocks.
    fn for_each_task(&self, by_row: bool, task: &(dyn Fn(usize, usize, Range<usize>) + Sync)) {
        let column_pairs = self.target.blocks().div_ceil(2);
        let rows = blocks(self.run.batch) * self.target.height;
        // Eight tasks a thread keep all threads busy to the end.
        let runs = (8 * self.run.pool.threads()).div_ceil(column_pairs);
        let runs = if by_row { rows } else { runs.min(rows) };
        self.run.pool.run(column_pairs * runs, &|index, worker| {
            let (pair, run) = if by_row {
                (index % column_pairs, index / column_pairs)
            } else {
                (index / runs, index % runs)
            };
            task(worker, 2 * pair, run * rows / runs..(run + 1) * rows / runs);
        });
    }

    /// The terms of the sum for one pixel of the target: for each tap that falls inside the
    /// picture, in order, the source pixel's tiles and the tap's tiles in the weights.
    fn terms(&self, y: usize, x: usize) -> ([Pair; 9], usize) {
        let half = self.kernel / 2;
        let mut pairs = [Pair { a: 0, b: 0 }; 9];
        let mut count = 0;
        for tap in 0..self.kernel * self.kernel {
            let (mut down, mut right) = (tap / self.kernel, tap % self.kernel);
            if self.mirrored {
                (down, right) = (2 * half - down, 2 * half - right);
            }
            // A row above the picture wraps round to a number that is never below the height.
            let (row, column) = ((y + down).wrapping_sub(half), (x + right).wrapping_sub(half));
            if row < self.source.height && column < self.source.width {
                let blocks = self.source.blocks();
                pairs[count] = pair_of((row * self.source.width + column) * blocks, tap * blocks);
                count += 1;
            }
        }
        (pairs, count)
    }

    /// Computes the pixels of `rows` (counted through all groups) in the target's blocks `block`
    /// and `block + 1`, if there is one. `weights` points to the tiles of the first block, those
    /// of the second are `column_tiles` tiles further.
    fn rows(&self, rows: Range<usize>, block: usize, weights: *const f32, column_tiles: usize, base: Base) {
        let kernel: ProductFn = self.run.kernels.product;
        for row in rows {
            let group = row / self.target.height;
            let x = self.x[group * self.source.group_len()..].as_ptr();
            for column in 0..self.target.width {
                let pixel = row % self.target.height * self.target.width + column;
                let tile = (group * self.target.pixels() + pixel) * self.target.blocks() + block;
                let (pairs, count) = self.terms(row % self.target.height, column);
                let product = Product {
                    a: x,
                    b: weights,
                    // SAFETY: the tile is inside `y`, whose length was checked.
                    c: unsafe { self.y.pointer().add(tile * TILE_LEN) },
                    pairs: &pairs[..count],
                    k_blocks: self.source.blocks(),
                    a_step: 1,
                    b_step: 1,
                    k_last: self.source.channels - (self.source.blocks() - 1) * TILE,
                    rows: pictures_in_group(self.run.batch, group),
                    columns: (self.target.blocks() - block).min(2),
                    b_column: column_tiles,
                    c_column: 1,
                    base,
                    relu: self.relu,
                };
                // SAFETY: the lists name pixels inside the maps and taps inside the weights, whose
                // buffers' lengths were checked; tasks differ in blocks or rows, so no two write
                // the same tile.
                unsafe { kernel(&product) };
            }
        }
    }
}

fn pair_of(a: usize, b: usize) -> Pair {
    debug_assert!(a <= u32::MAX as usize && b <= u32::MAX as usize, "a picture of over 4 billion tiles");
    Pair { a: a as u32, b: b as u32 }
}

/// Which of `length` output positions tap `tap` of a window of `kernel` meets inside the input,
/// and by how much a window starts before its output.
fn meeting_range(length: usize, tap: usize, kernel: usize) -> (Range<usize>, usize) {
    let half = kernel / 2;
    (half.saturating_sub(tap)..length.min((length + half).saturating_sub(tap)), half)
}

fn transpose(from: &[f32; TILE_LEN], to: &mut [f32; TILE_LEN]) {
    for row in 0..TILE {
        for column in 0..TILE {
            to[column * TILE + row] = from[row * TILE + column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cover_every_tile_once() {
        for (channels, outputs, kernel) in [(16, 16, 3), (300, 40, 3), (530, 70, 1)] {
            let contraction = Contraction::convolution(Map::new(2, 3, channels), outputs, kernel);
            let column_pairs = contraction.output.blocks().div_ceil(2);
            let units = contraction.taps() * contraction.input.blocks() * column_pairs;
            let mut seen = std::collections::HashSet::new();
            for unit in 0..units {
                let (block, tap, in_block) = contraction.unit(unit);
                assert!(block < contraction.output.blocks() && tap < contraction.taps());
                assert!(in_block < contraction.input.blocks());
                assert!(seen.insert((block, tap, in_block)), "{channels} {outputs} {unit}");
            }
        }
    }

    /// At 28, 14, 7, 4 and 2 pixels, 95, 91, 82, 69 and 44 % of the taps are inside the picture.
    #[test]
    fn taps_outside_the_picture_are_left_out() {
        for (side, percent) in [(28, 95), (14, 91), (7, 82), (4, 69), (2, 44), (1, 11)] {
            let contraction = Contraction::convolution(Map::new(side, side, 16), 16, 3);
            let mut pairs = [Pair { a: 0, b: 0 }; TILES_PER_CHUNK];
            let meetings: usize = (0..9)
                .flat_map(|tap| (0..side * side).map(move |position| (tap, position)))
                .map(|(tap, position)| contraction.meetings(tap, position..position + 1, &mut pairs))
                .sum();
            let inside = meetings as f64 / (9 * side * side) as f64;
            assert_eq!((100.0 * inside).round() as usize, percent);
        }
    }
}
