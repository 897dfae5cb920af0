//! Backward by weights with fewer multiplications: dW = Gᵀ[Σ (Bᵀ d B) ⊙ (A dy Aᵀ)]G, summed over
//! cells and pictures.
//!
//! A task computes one row of points for a run of output blocks: it takes the cells that have these
//! points in chunks, writes the row's share of both transforms to scratch of its own, and adds their
//! products to the sums of each point. Then every tile of inputs and outputs takes its sums through
//! Gᵀ p G to the nine taps. In a cut cell the first point of an axis is the first weight's input and
//! the fifth the middle weight's; both have the one output.

use super::transform::{self, Combine, Tile};
use super::{Cell, Cells, POINTS, Pixels};
use crate::contraction::gradient::{Place, Sink, Square};
use crate::contraction::{Contraction, Run, WeightGradient};
use crate::layout::{Map, TILE, TILE_LEN, blocks};
use crate::parallel::SharedMut;
use crate::product::{Base, Pair, Product};
use std::ops::Range;

/// Tiles of both transforms that a chunk of cells takes, at most, unless one cell takes more. The
/// number belongs to the problem: it fixes the order of the sums.
const CHUNK_TILES: usize = 768;

/// Most cells of a chunk.
const MOST_CELLS: usize = 16;

/// Most output blocks that a task computes; even.
const RUN_BLOCKS: usize = 16;

/// For each point of an axis, two of a cell's four inputs and how they are combined. The fourth has
/// its sign changed, and so has the fourth of [`GRADIENTS`].
const INPUTS: [(usize, usize, Combine); POINTS] = [
    (0, 2, Combine::Difference),
    (1, 2, Combine::Sum),
    (2, 1, Combine::Difference),
    (3, 1, Combine::Difference),
];

/// The same for a cell's two gradients of outputs.
const GRADIENTS: [(usize, usize, Combine); POINTS] =
    [(0, 1, Combine::First), (0, 1, Combine::Sum), (0, 1, Combine::Difference), (1, 0, Combine::First)];

/// Backward by weights of one convolution and batch.
pub(in crate::contraction) struct Weights {
    input: Map,
    output: Map,
    batch: usize,
}

impl Weights {
    pub(in crate::contraction) fn new(contraction: &Contraction, batch: usize) -> Self {
        Self { input: contraction.input, output: contraction.output, batch }
    }

    /// Values of scratch: the sums of all points, and room for each thread.
    pub(in crate::contraction) fn scratch_len(&self, threads: usize) -> usize {
        self.sums_len() + threads * self.room_len()
    }

    fn cells(&self) -> Cells {
        Cells::of(self.input)
    }

    fn sums_len(&self) -> usize {
        self.cells().weight_points() * self.input.blocks() * self.output.blocks() * TILE_LEN
    }

    /// Tiles of one point of one cell of all groups in the inputs, and in the longest run of outputs.
    fn cell_tiles(&self) -> (usize, usize) {
        let groups = blocks(self.batch);
        (groups * self.input.blocks(), groups * self.output.blocks().min(RUN_BLOCKS))
    }

    /// Cells of a chunk.
    fn chunk(&self) -> usize {
        let (inputs, outputs) = self.cell_tiles();
        let (_, points) = self.cells().weight_axes();
        (CHUNK_TILES / (points * (inputs + outputs)).max(1)).clamp(1, MOST_CELLS)
    }

    /// Tiles from one point to the next: odd numbers, so that the points spread over the sets of the
    /// first-level cache.
    fn point_tiles(&self) -> (usize, usize) {
        let (inputs, outputs) = self.cell_tiles();
        ((self.chunk() * inputs) | 1, (self.chunk() * outputs) | 1)
    }

    /// At least what [`Weights::point_tiles`] takes for all points of a row. It grows with the batch,
    /// as a chunk of cells times the groups does not, so that a plan's room fits a smaller batch.
    fn room_len(&self) -> usize {
        let ((_, points), (inputs, outputs)) = (self.cells().weight_axes(), self.cell_tiles());
        points * ((CHUNK_TILES / points).max(inputs + outputs) + 2) * TILE_LEN
    }

    /// Output blocks of a task: fewer where there would be too few tasks for all threads. It changes
    /// no sum.
    fn run_blocks(&self, threads: usize) -> usize {
        let (rows, _) = self.cells().weight_axes();
        let pairs = self.output.blocks().div_ceil(2);
        let runs = (2 * threads).div_ceil(rows).min(pairs);
        (2 * pairs.div_ceil(runs)).min(RUN_BLOCKS)
    }

    /// Computes the gradient; the slices have the lengths that their maps need.
    pub(in crate::contraction) fn run(
        &self,
        run: Run<'_>,
        x: &[f32],
        dy: &[f32],
        gradient: WeightGradient<'_>,
        scratch: &mut [f32],
    ) {
        let (sums, rest) = scratch.split_at_mut(self.sums_len());
        let (rooms, room_len) = (SharedMut(rest.as_mut_ptr()), self.room_len());
        let (rows, _) = self.cells().weight_axes();
        let run_blocks = self.run_blocks(run.pool.threads());
        let runs = self.output.blocks().div_ceil(run_blocks);
        let row = PointRow { pass: self, run, x, dy, sums: SharedMut(sums.as_mut_ptr()) };
        run.pool.run(rows * runs, &|index, worker| {
            // SAFETY: `scratch` has room for each worker, borrowed for the whole operation, and a
            // worker runs one task at a time.
            let room =
                unsafe { std::slice::from_raw_parts_mut(rooms.pointer().add(worker * room_len), room_len) };
            let outputs =
                index % runs * run_blocks..self.output.blocks().min((index % runs + 1) * run_blocks);
            row.compute(index / runs, outputs, room);
        });
        self.transform_sums(run, sums, gradient);
    }

    /// Takes the sums of all points to the gradient.
    fn transform_sums(&self, run: Run<'_>, sums: &[f32], gradient: WeightGradient<'_>) {
        let (in_blocks, cells) = (self.input.blocks(), self.cells());
        let sink = Sink::new(gradient, false);
        run.pool.run(self.output.blocks(), &|block, _worker| {
            let mut square = Square([0.0; 4 * TILE_LEN]);
            let mut taps = [[0.0; TILE_LEN]; 9];
            for in_block in 0..in_blocks {
                let sums = &sums[(block * cells.weight_points() * in_blocks + in_block) * TILE_LEN..];
                transform::gradient(run.kernels, sums, cells.weight_axes(), in_blocks, &mut taps);
                for (tap, values) in taps.iter().enumerate() {
                    let first = (block * 9 + tap) * in_blocks + in_block;
                    let place = Place { first, rows: 1, columns: 1, column_step: 1 };
                    let (target, _) = sink.target(place, &mut square);
                    // SAFETY: the sink gives room for the tile, which belongs to this task, and `taps`
                    // lies elsewhere.
                    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), target, TILE_LEN) };
                    sink.finish(run.kernels, place, &mut square);
                }
            }
        });
    }
}

/// What the tasks share.
struct PointRow<'a> {
    pass: &'a Weights,
    run: Run<'a>,
    x: &'a [f32],
    dy: &'a [f32],
    sums: SharedMut<f32>,
}

impl PointRow<'_> {
    /// Computes the sums of row `row` of the points for the output blocks `outputs`.
    fn compute(&self, row: usize, outputs: Range<usize>, room: &mut [f32]) {
        let (cells, chunk) = (self.pass.cells(), self.pass.chunk());
        let ((_, points), (in_tiles, _)) = (cells.weight_axes(), self.pass.point_tiles());
        let (inputs, gradients) = room.split_at_mut(points * in_tiles * TILE_LEN);
        // A cut row of cells has the first and the fifth point, the others have the first four.
        let whole_rows = cells.height / 2;
        let first = if row == POINTS { whole_rows } else { 0 };
        let end = if row.is_multiple_of(POINTS) { cells.down() } else { whole_rows };
        let (first, end) = (first * cells.right(), end * cells.right());
        // A row of points that no cell has, as in a picture of one row, still begins its sums.
        for number in 0..(end - first).div_ceil(chunk).max(1) {
            let start = first + number * chunk;
            let indices = start..end.min(start + chunk);
            for (place, index) in indices.clone().enumerate() {
                for group in 0..blocks(self.run.batch) {
                    self.transform_cell(row, cells.cell(index), place, group, &outputs, inputs, gradients);
                }
            }
            let base = if number == 0 { Base::Zero } else { Base::Accumulate };
            for column in 0..points {
                self.products((row, column), indices.clone(), &outputs, inputs, gradients, base);
            }
        }
    }

    /// Writes one row of both transforms of a cell and group, `[point][cell][group][block]`.
    #[allow(clippy::too_many_arguments)]
    fn transform_cell(
        &self,
        row: usize,
        Cell { down, right, cut }: Cell,
        place: usize,
        group: usize,
        outputs: &Range<usize>,
        inputs: &mut [f32],
        gradients: &mut [f32],
    ) {
        let (in_tiles, out_tiles) = self.pass.point_tiles();
        let pictures = self.pass.input.pictures(self.run.batch, group);
        let first = place * blocks(self.run.batch) + group;
        let point = if cut.down { (row / POINTS, 0, Combine::First) } else { INPUTS[row] };
        let pixels = Pixels::of(self.pass.input, self.x, group);
        for block in 0..self.pass.input.blocks() {
            let tiles = [point.0, point.1].map(|y| -> [&Tile; 4] {
                let row = (2 * down + y).wrapping_sub(1);
                std::array::from_fn(|x| pixels.tile(row, (2 * right + x).wrapping_sub(1), block))
            });
            let to = &mut inputs[(first * self.pass.input.blocks() + block) * TILE_LEN..];
            let d = [&tiles[0], &tiles[1]];
            transform::input_row(self.run.kernels, d, point.2, cut.right, pictures, to, in_tiles);
        }
        let point = if cut.down { (0, 0, Combine::First) } else { GRADIENTS[row] };
        let pixels = Pixels::of(self.pass.output, self.dy, group);
        for (position, block) in outputs.clone().enumerate() {
            let tiles = [point.0, point.1].map(|y| -> [&Tile; 2] {
                std::array::from_fn(|x| pixels.tile(2 * down + y, 2 * right + x, block))
            });
            let to = &mut gradients[(first * outputs.len() + position) * TILE_LEN..];
            let d = [&tiles[0], &tiles[1]];
            transform::gradient_row(self.run.kernels, d, point.2, cut.right, pictures, to, out_tiles);
        }
    }

    /// Adds the products of one point over a chunk of cells to its sums, or begins them.
    fn products(
        &self,
        (row, column): (usize, usize),
        indices: Range<usize>,
        outputs: &Range<usize>,
        inputs: &[f32],
        gradients: &[f32],
        base: Base,
    ) {
        let (cells, groups, in_blocks) =
            (self.pass.cells(), blocks(self.run.batch), self.pass.input.blocks());
        let (in_tiles, out_tiles) = self.pass.point_tiles();
        let mut pairs = [Pair { a: 0, b: 0 }; MOST_CELLS];
        let mut count = 0;
        for (place, index) in indices.enumerate() {
            let cut = cells.cell(index).cut.right;
            if (cut && column.is_multiple_of(POINTS)) || (!cut && column < POINTS) {
                let (a, b) = (place * groups * in_blocks, place * groups * outputs.len());
                pairs[count] = crate::contraction::pair_of(column * in_tiles + a, column * out_tiles + b);
                count += 1;
            }
        }
        if count == 0 && matches!(base, Base::Accumulate) {
            return;
        }
        let (_, weight_columns) = cells.weight_axes();
        let column_step = cells.weight_points() * in_blocks;
        for block in outputs.clone().step_by(2) {
            for in_block in 0..in_blocks {
                let tile = block * column_step + (row * weight_columns + column) * in_blocks + in_block;
                let product = Product {
                    a_line: 1,
                    c_line: 1,
                    a: inputs[in_block * TILE_LEN..].as_ptr(),
                    b: gradients[(block - outputs.start) * TILE_LEN..].as_ptr(),
                    // SAFETY: the tile is inside the sums, which have one for each point and blocks.
                    c: unsafe { self.sums.pointer().add(tile * TILE_LEN) },
                    pairs: &pairs[..count],
                    k_blocks: groups,
                    a_step: in_blocks,
                    b_step: outputs.len(),
                    k_last: self.pass.input.pictures(self.run.batch, groups - 1),
                    rows: TILE,
                    columns: (outputs.end - block).min(2),
                    b_column: 1,
                    c_column: column_step,
                    base,
                    relu: false,
                };
                // SAFETY: holding the kernels is the proof that this processor has them; the pairs name
                // points of cells that were written for this chunk, inside
                // both transforms; tasks differ in points or blocks, so no two write the same sums.
                unsafe { (self.run.kernels.product_transposed)(&product) };
            }
        }
    }
}
