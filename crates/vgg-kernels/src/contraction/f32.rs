//! Contractions of `f32`: directly, or by [`super::winograd`] where the contraction says so.

use super::gradient::{Place, Sink, Square, WeightGradient};
use super::winograd::{self, Pixelwise, Target};
use super::{
    Algorithm, CACHED_INPUT_BLOCKS, CACHED_WEIGHTS, Checked, Contraction, NO_TERMS, Operand, Run,
    for_each_task, runs, terms,
};
use crate::layout::{Map, TILE, TILE_LEN, blocks};
use crate::parallel::SharedMut;
use crate::product::{Base, Pair, Product, ProductFn};
use std::ops::Range;

/// Tiles summed in registers by backward-by-weights before the result is added to memory. 16 of A
/// and 32 of B fit the second-level cache with room for the weights. The number belongs to the
/// problem: it fixes the order of the sum.
const TILES_PER_CHUNK: usize = 16;

impl Operand for f32 {
    fn partial_len(contraction: &Contraction, batch: usize) -> usize {
        let chunked = contraction.algorithm == Algorithm::Direct && contraction.chunks(batch) > 1;
        if chunked { contraction.weights_len() } else { 0 }
    }

    fn forward_scratch_len(contraction: &Contraction, threads: usize) -> usize {
        match contraction.algorithm {
            Algorithm::Direct => 0,
            Algorithm::Winograd => Pixelwise::forward(contraction).scratch_len(threads),
        }
    }

    fn scratch_len(contraction: &Contraction, batch: usize, threads: usize) -> usize {
        match contraction.algorithm {
            Algorithm::Direct => threads * contraction.panel_len(),
            Algorithm::Winograd => {
                let data = Pixelwise::backward_data(contraction).scratch_len(threads);
                data.max(winograd::Weights::new(contraction, batch).scratch_len(threads))
            }
        }
    }

    fn forward(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        relu: bool,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        if contraction.algorithm == Algorithm::Winograd {
            let target = Target { y, bias: Some(bias), relu };
            return Pixelwise::forward(contraction).run(run, x, weights, target, scratch);
        }
        let sum = PixelSum {
            run,
            kernel: contraction.kernel,
            mirrored: false,
            source: contraction.input,
            target: contraction.output,
            x,
            y: SharedMut(y.as_mut_ptr()),
            relu,
        };
        let column_tiles = contraction.weight_tiles();
        let by_row = size_of_val(weights) <= CACHED_WEIGHTS;
        sum.for_each_task(by_row.then_some(1), &|_worker, block, rows| {
            let weights = weights[block * column_tiles * TILE_LEN..].as_ptr();
            sum.rows(rows, block, weights, column_tiles, Base::Bias(bias[block * TILE..].as_ptr()));
        });
    }

    fn logits(
        checked: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[f32],
        weights: &[f32],
        bias: &[f32],
        y: &mut [f32],
    ) {
        let dense = contraction.with_algorithm(Algorithm::Direct);
        Self::forward(checked, &dense, run, x, weights, bias, false, y, &mut []);
    }

    fn backward_data(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        dy: &[f32],
        weights: &[f32],
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        if contraction.algorithm == Algorithm::Winograd {
            let target = Target { y: dx, bias: None, relu: false };
            return Pixelwise::backward_data(contraction).run(run, dy, weights, target, scratch);
        }
        let sum = PixelSum {
            run,
            kernel: contraction.kernel,
            mirrored: true,
            source: contraction.output,
            target: contraction.input,
            x: dy,
            y: SharedMut(dx.as_mut_ptr()),
            relu: false,
        };
        let panel_len = contraction.panel_len();
        let panels = SharedMut(scratch.as_mut_ptr());
        sum.for_each_task(None, &|worker, block, rows| {
            // SAFETY: `scratch` has a panel for each worker, borrowed for the whole operation, and
            // a worker runs one task at a time.
            let panel = unsafe {
                std::slice::from_raw_parts_mut(panels.pointer().add(worker * panel_len), panel_len)
            };
            contraction.transpose_weights(weights, block, panel);
            sum.rows(rows, block, panel.as_ptr(), panel_len / 2 / TILE_LEN, Base::Zero);
        });
    }

    fn backward_weights(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[f32],
        dy: &[f32],
        gradient: WeightGradient<'_>,
        scratch: &mut [f32],
    ) {
        if contraction.algorithm == Algorithm::Winograd {
            return winograd::Weights::new(contraction, run.batch).run(run, x, dy, gradient, scratch);
        }
        let column_pairs = contraction.output.blocks().div_ceil(2);
        let (chunks, pixels) = (contraction.chunks(run.batch), pixels_per_chunk(run.batch));
        let units = contraction.taps() * contraction.input.blocks() * column_pairs;
        // Every task reads all activations of the layer, chunk by chunk, so more tasks than
        // threads would cost memory traffic.
        let wanted = if chunks > 1 { run.pool.threads() } else { 8 * run.pool.threads() };
        let tasks = wanted.min(units);
        let tiles = [contraction.input.blocks(), contraction.output.blocks()];
        let sink = Sink::new(gradient, chunks > 1);
        run.pool.run(tasks, &|task, _worker| {
            let mut square = Square([0.0; 4 * TILE_LEN]);
            for chunk in 0..chunks {
                let positions = chunk * pixels..(chunk + 1) * pixels;
                let base = if chunk == 0 { Base::Zero } else { Base::Accumulate };
                for unit in task * units / tasks..(task + 1) * units / tasks {
                    let mut pairs = [Pair { a: 0, b: 0 }; TILES_PER_CHUNK];
                    let (pair, tap, in_block) = contraction.unit(unit, column_pairs, CACHED_INPUT_BLOCKS);
                    let count = contraction.meetings(tap, positions.clone(), tiles, &mut pairs);
                    let place = contraction.place(2 * pair, tap, in_block);
                    if chunk == 0 || count > 0 {
                        let target = sink.target(place, &mut square);
                        let product = (2 * pair, in_block, &pairs[..count]);
                        contraction.weight_tiles_product(run, x, dy, product, target, base);
                    }
                    if chunk + 1 == chunks {
                        sink.finish(run.kernels, place, &mut square);
                    }
                }
            }
        });
    }
}

/// Pixels that one product of backward-by-weights sums over at most; the middle tap meets every
/// pixel, the others fewer.
fn pixels_per_chunk(batch: usize) -> usize {
    (TILES_PER_CHUNK / blocks(batch).max(1)).max(1)
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
    /// every row of pixels of every group once. `shared` is that of [`for_each_task`].
    fn for_each_task(&self, shared: Option<usize>, task: &(dyn Fn(usize, usize, Range<usize>) + Sync)) {
        let rows = self.target.groups(self.run.batch) * self.target.height;
        let column_pairs = self.target.blocks().div_ceil(2);
        for_each_task(self.run.pool, column_pairs, rows, shared, &|worker, pair, rows| {
            task(worker, 2 * pair, rows);
        });
    }

    /// Computes the pixels of `rows` (counted through all groups) in the target's blocks `block`
    /// and `block + 1`, if there is one. `weights` points to the tiles of the first block, those
    /// of the second are `column_tiles` tiles further.
    fn rows(&self, rows: Range<usize>, block: usize, weights: *const f32, column_tiles: usize, base: Base) {
        let spread = self.source.group == 1;
        let kernels = self.run.kernels;
        let kernel: ProductFn = if spread { kernels.product_spread } else { kernels.product };
        let mut room = NO_TERMS;
        for row in rows {
            let (group, y) = (row / self.target.height, row % self.target.height);
            let x = self.x[group * self.source.group_len()..].as_ptr();
            for columns in runs(self.target, self.kernel, TILE) {
                let pixel = y * self.target.width + columns.start;
                let tile = (group * self.target.pixels() + pixel) * self.target.blocks() + block;
                let pairs = terms(self.kernel, self.mirrored, self.source, (y, columns.start), &mut room);
                let product = Product {
                    a: x,
                    b: weights,
                    // SAFETY: the tile is inside `y`, whose length was checked.
                    c: unsafe { self.y.pointer().add(tile * self.target.tile_len()) },
                    a_line: self.source.blocks(),
                    c_line: self.target.blocks(),
                    pairs,
                    k_blocks: self.source.blocks(),
                    a_step: 1,
                    b_step: 1,
                    k_last: self.source.channels - (self.source.blocks() - 1) * TILE,
                    rows: if spread { columns.len() } else { self.target.pictures(self.run.batch, group) },
                    columns: (self.target.blocks() - block).min(2),
                    b_column: column_tiles,
                    c_column: 1,
                    base,
                    relu: self.relu,
                };
                // SAFETY: holding the kernels is the proof that this processor has them; the lists name
                // pixels inside the maps and taps inside the weights, whose
                // buffers' lengths were checked; tasks differ in blocks or rows, so no two write
                // the same tile.
                unsafe { kernel(&product) };
            }
        }
    }
}

impl Contraction {
    /// Tiles of weights in one output block.
    fn weight_tiles(&self) -> usize {
        self.taps() * self.input.blocks()
    }

    /// Values in the transposed weights of two input blocks.
    fn panel_len(&self) -> usize {
        2 * self.taps() * self.output.blocks() * TILE_LEN
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

    fn chunks(&self, batch: usize) -> usize {
        self.output.pixels().div_ceil(pixels_per_chunk(batch))
    }

    /// The tile of weights of one tap, input block and output block, with that of the next output
    /// block, if there is one.
    fn place(&self, block: usize, tap: usize, in_block: usize) -> Place {
        Place {
            first: block * self.weight_tiles() + tap * self.input.blocks() + in_block,
            rows: 1,
            columns: (self.output.blocks() - block).min(2),
            column_step: self.weight_tiles(),
        }
    }

    /// One tile of the weights' gradient, or two side by side. All 16 rows are computed: inputs past
    /// the last one are zero.
    fn weight_tiles_product(
        &self,
        run: Run<'_>,
        x: &[f32],
        dy: &[f32],
        (block, in_block, pairs): (usize, usize, &[Pair]),
        (c, c_column): (*mut f32, usize),
        base: Base,
    ) {
        let groups = blocks(run.batch);
        let product = Product {
            a_line: 1,
            c_line: 1,
            a: x[in_block * TILE_LEN..].as_ptr(),
            b: dy[block * TILE_LEN..].as_ptr(),
            c,
            pairs,
            k_blocks: groups,
            a_step: self.input.pixels() * self.input.blocks(),
            b_step: self.output.pixels() * self.output.blocks(),
            k_last: self.input.pictures(run.batch, groups - 1),
            rows: TILE,
            columns: (self.output.blocks() - block).min(2),
            b_column: 1,
            c_column,
            base,
            relu: false,
        };
        // SAFETY: holding the kernels is the proof that this processor has them; the lists name
        // pixels inside the two maps, whose buffers' lengths were checked;
        // `c` is what the sink gave for these tiles, which are this task's own.
        unsafe { (run.kernels.product_transposed)(&product) };
    }
}

pub(super) fn transpose(from: &[f32; TILE_LEN], to: &mut [f32; TILE_LEN]) {
    for row in 0..TILE {
        for column in 0..TILE {
            to[column * TILE + row] = from[row * TILE + column];
        }
    }
}
