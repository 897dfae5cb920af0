//! 3×3 convolutions of `f32` with fewer multiplications: Winograd's F(2×2, 3×3).
//!
//! A *cell* is 2×2 output pixels; they depend on 4×4 input pixels d. With
//!
//! ```text
//!      1  0 −1  0          1  0  0            1  1  1  0
//! Bᵀ = 0  1  1  0     G =  ½  ½  ½       Aᵀ = 0  1 −1 −1
//!      0 −1  1  0          ½ −½  ½
//!      0  1  0 −1          0  0  1
//! ```
//!
//! they are Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A: 16 products, one for each *point*, instead of 36 (Lavin and
//! Gray, Fast Algorithms for Convolutional Neural Networks, 2015). Summed over channels, each point
//! is an ordinary product of tiles, and in this layout the transforms are additions of whole tiles.
//! Where a side is odd, the last cells are *cut*: one output on that axis, which is w₀·d₀ + w₁·d₁,
//! two products without transforms. So an axis of the weights has a fifth point, w₁ itself, and a
//! picture of 7×7 pixels takes 14² products instead of 16² (and 19² directly).
//!
//! Backward by data is the same with mirrored, transposed weights. Backward by weights is in
//! `weights.rs`, the transforms are in `transform.rs`.
//!
//! A task takes a strip of cells through the outputs of a run of blocks, in scratch of its own, so
//! every value is computed by one thread in an order that belongs to the shapes.

mod transform;
mod weights;

pub(super) use weights::Weights;

use super::f32::transpose;
use super::{Contraction, Run};
use crate::layout::{Map, TILE, TILE_LEN, blocks};
use crate::parallel::SharedMut;
use crate::product::{Base, Pair, Product};
use std::ops::Range;
use transform::{Cut, Tile, ZEROS, as_tile};

/// Points of a whole cell on one axis.
const POINTS: usize = 4;

/// Points of a whole cell.
const CELL_POINTS: usize = POINTS * POINTS;

/// Bytes of transformed inputs that a strip of cells takes at most, unless one cell takes more. They
/// share the second-level cache (1 MiB or more) with their results and two blocks of weights.
const STRIP_BYTES: usize = 256 * 1024;

/// Output blocks that a task computes from one transform of its inputs, which then costs little.
const RUN_BLOCKS: usize = 16;

/// Tiles from one point of the results to the next: two are in use, and three instead of two spread
/// the points over the sets of the first-level cache.
const RESULT_STEP: usize = 3;

/// Whether Winograd beats the direct sum by a tenth at least for batches of `batch` pictures. The
/// unit is the time of multiplying one pixel of one picture by the weights of one tap. Measured on a
/// Zen 4 core, both transforms of a cell take as long as 96 · (1/inputs + 1/outputs) units, and those
/// of the weights as long as 600 (the gradient's; those of the other passes take half of it).
pub(super) fn pays(input: Map, outputs: usize, batch: usize) -> bool {
    let direct = |length: usize| (3 * length - 2) as f64;
    let points = |length: usize| (length / 2 * POINTS + length % 2 * 2) as f64;
    let cells = Cells::of(input).count() as f64;
    let transforms = cells * 96.0 * (1.0 / input.channels as f64 + 1.0 / outputs as f64);
    let winograd = batch as f64 * (points(input.height) * points(input.width) + transforms) + 600.0;
    1.1 * winograd <= batch as f64 * direct(input.height) * direct(input.width)
}

/// The cells of a map.
#[derive(Clone, Copy)]
struct Cells {
    height: usize,
    width: usize,
}

/// One cell: its position among the cells, and where it is cut.
#[derive(Clone, Copy)]
struct Cell {
    down: usize,
    right: usize,
    cut: Cut,
}

impl Cells {
    fn of(map: Map) -> Self {
        Self { height: map.height, width: map.width }
    }

    fn down(&self) -> usize {
        self.height.div_ceil(2)
    }

    fn right(&self) -> usize {
        self.width.div_ceil(2)
    }

    fn count(&self) -> usize {
        self.down() * self.right()
    }

    fn cell(&self, index: usize) -> Cell {
        let (down, right) = (index / self.right(), index % self.right());
        let cut = Cut { down: 2 * down + 1 == self.height, right: 2 * right + 1 == self.width };
        Cell { down, right, cut }
    }

    /// Points of the weights on the axes: where a side is odd, the fifth is the middle weight.
    fn weight_axes(&self) -> (usize, usize) {
        (POINTS + self.height % 2, POINTS + self.width % 2)
    }

    /// Points of the weights.
    fn weight_points(&self) -> usize {
        let (rows, columns) = self.weight_axes();
        rows * columns
    }
}

/// The values of one group of pictures, in tiles.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    map: Map,
    tiles: &'a [[f32; TILE_LEN]],
}

impl<'a> Pixels<'a> {
    fn of(map: Map, values: &'a [f32], group: usize) -> Self {
        let (tiles, _) = values[group * map.group_len()..][..map.group_len()].as_chunks();
        Self { map, tiles }
    }

    /// The tile of `block` at a pixel; zero outside the picture, where what lies above or left of it
    /// has wrapped round to a number beyond its size.
    fn tile(&self, row: usize, column: usize, block: usize) -> &'a Tile {
        if row < self.map.height && column < self.map.width {
            as_tile(&self.tiles[(row * self.map.width + column) * self.map.blocks() + block])
        } else {
            &ZEROS.0
        }
    }
}

/// Where a pass ends: the results, and what is added to them.
pub(super) struct Target<'a> {
    pub(super) y: &'a mut [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
}

/// Forward, or backward by data.
pub(super) struct Pixelwise {
    source: Map,
    target: Map,
    /// Whether the weights are to be transposed and mirrored.
    backward: bool,
}

impl Pixelwise {
    pub(super) fn forward(contraction: &Contraction) -> Self {
        Self { source: contraction.input, target: contraction.output, backward: false }
    }

    pub(super) fn backward_data(contraction: &Contraction) -> Self {
        Self { source: contraction.output, target: contraction.input, backward: true }
    }

    /// Values of scratch: the transformed weights, and room for each thread.
    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        self.weights_len() + threads * self.strip() * (self.inputs_len() + self.results_len())
    }

    fn cells(&self) -> Cells {
        Cells::of(self.source)
    }

    /// Tiles of weights in one output block.
    fn weight_tiles(&self) -> usize {
        self.cells().weight_points() * self.source.blocks()
    }

    fn weights_len(&self) -> usize {
        self.weight_tiles() * self.target.blocks() * TILE_LEN
    }

    /// Cells of a strip.
    fn strip(&self) -> usize {
        (STRIP_BYTES / (CELL_POINTS * self.source.pixel_len() * size_of::<f32>())).max(1)
    }

    /// Tiles from one point of a cell's transformed inputs to the next: an odd number, so that the
    /// points spread over the sets of the first-level cache.
    fn point_tiles(&self) -> usize {
        self.source.blocks() | 1
    }

    /// Values of a cell's transformed inputs.
    fn inputs_len(&self) -> usize {
        CELL_POINTS * self.point_tiles() * TILE_LEN
    }

    /// Values of a cell's results at all points in two output blocks.
    fn results_len(&self) -> usize {
        CELL_POINTS * RESULT_STEP * TILE_LEN
    }

    /// Computes the pass; the slices have the lengths that their maps need.
    pub(super) fn run(
        &self,
        run: Run<'_>,
        x: &[f32],
        weights: &[f32],
        target: Target<'_>,
        scratch: &mut [f32],
    ) {
        let (transformed, rest) = scratch.split_at_mut(self.weights_len());
        self.transform_weights(run, weights, transformed);
        let cells = blocks(run.batch) * self.cells().count();
        let strips = cells.div_ceil(self.strip());
        let room_len = self.strip() * (self.inputs_len() + self.results_len());
        let (rooms, y) = (SharedMut(rest.as_mut_ptr()), SharedMut(target.y.as_mut_ptr()));
        let strip =
            Strip { pass: self, run, x, weights: transformed, bias: target.bias, relu: target.relu, y };
        run.pool.run(strips * self.target.blocks().div_ceil(RUN_BLOCKS), &|index, worker| {
            // SAFETY: `scratch` has room for each worker, borrowed for the whole operation, and a
            // worker runs one task at a time.
            let room =
                unsafe { std::slice::from_raw_parts_mut(rooms.pointer().add(worker * room_len), room_len) };
            let (out_run, index) = (index / strips, index % strips);
            let outputs = out_run * RUN_BLOCKS..self.target.blocks().min((out_run + 1) * RUN_BLOCKS);
            strip.compute(index * cells / strips..(index + 1) * cells / strips, outputs, room);
        });
    }

    /// Writes G w Gᵀ for all weights, `[output block][point][input block]`.
    fn transform_weights(&self, run: Run<'_>, weights: &[f32], transformed: &mut [f32]) {
        let (in_blocks, out_blocks) = (self.source.blocks(), self.target.blocks());
        let (tiles, _) = weights.as_chunks::<TILE_LEN>();
        let axes = self.cells().weight_axes();
        run.pool.for_each_chunk(transformed, self.weight_tiles() * TILE_LEN, 1, |block, transformed| {
            let mut turned = [[0.0; TILE_LEN]; 9];
            for in_block in 0..in_blocks {
                let to = &mut transformed[in_block * TILE_LEN..];
                let taps: [&Tile; 9] = if self.backward {
                    for (tap, to) in turned.iter_mut().enumerate() {
                        transpose(&tiles[(in_block * 9 + 8 - tap) * out_blocks + block], to);
                    }
                    std::array::from_fn(|tap| as_tile(&turned[tap]))
                } else {
                    std::array::from_fn(|tap| as_tile(&tiles[(block * 9 + tap) * in_blocks + in_block]))
                };
                transform::weights(run.kernels, &taps, axes, to, in_blocks);
            }
        });
    }
}

/// What the tasks of a pass share.
struct Strip<'a> {
    pass: &'a Pixelwise,
    run: Run<'a>,
    x: &'a [f32],
    /// Transformed.
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    y: SharedMut<f32>,
}

impl Strip<'_> {
    /// Computes the output blocks `outputs` of the cells `cells` (counted through all groups).
    fn compute(&self, cells: Range<usize>, outputs: Range<usize>, room: &mut [f32]) {
        let (inputs, results) = room.split_at_mut(self.pass.strip() * self.pass.inputs_len());
        for (index, inputs) in cells.clone().zip(inputs.chunks_exact_mut(self.pass.inputs_len())) {
            self.transform_inputs(index, inputs);
        }
        let len = self.pass.results_len();
        for block in outputs.clone().step_by(2) {
            let columns = (outputs.end - block).min(2);
            // A point's weights meet all cells before the next point's.
            for point in 0..CELL_POINTS {
                for (place, index) in cells.clone().enumerate() {
                    let results = &mut results[place * len + point * RESULT_STEP * TILE_LEN..];
                    self.product(
                        index,
                        point,
                        &inputs[place * self.pass.inputs_len()..],
                        block,
                        columns,
                        results,
                    );
                }
            }
            for (index, results) in cells.clone().zip(results.chunks_exact(len)) {
                for column in 0..columns {
                    self.transform_results(index, &results[column * TILE_LEN..], block + column);
                }
            }
        }
    }

    /// The group, its pictures in use, and the cell of `index`.
    fn locate(&self, index: usize) -> (usize, usize, Cell) {
        let cells = self.pass.cells();
        let group = index / cells.count();
        (group, self.pass.source.pictures(self.run.batch, group), cells.cell(index % cells.count()))
    }

    /// Writes Bᵀ d B of a cell, `[point][block]`.
    fn transform_inputs(&self, index: usize, inputs: &mut [f32]) {
        let (group, pictures, cell) = self.locate(index);
        let pixels = Pixels::of(self.pass.source, self.x, group);
        for block in 0..self.pass.source.blocks() {
            let tiles = std::array::from_fn(|point| {
                let row = (2 * cell.down + point / POINTS).wrapping_sub(1);
                pixels.tile(row, (2 * cell.right + point % POINTS).wrapping_sub(1), block)
            });
            let to = &mut inputs[block * TILE_LEN..];
            transform::inputs(self.run.kernels, &tiles, cell.cut, pictures, to, self.pass.point_tiles());
        }
    }

    /// The product of one point of one cell with the weights of `columns` output blocks. A cut axis
    /// has one point, the sum of its two products.
    fn product(
        &self,
        index: usize,
        point: usize,
        inputs: &[f32],
        block: usize,
        columns: usize,
        results: &mut [f32],
    ) {
        let (_, rows, Cell { cut, .. }) = self.locate(index);
        let (row, column) = (point / POINTS, point % POINTS);
        if (cut.down && row > 0) || (cut.right && column > 0) {
            return;
        }
        let (in_blocks, column_tiles) = (self.pass.source.blocks(), self.pass.weight_tiles());
        let (_, weight_columns) = self.pass.cells().weight_axes();
        let mut pairs = [Pair { a: 0, b: 0 }; 4];
        let terms = (1 + usize::from(cut.down), 1 + usize::from(cut.right));
        for (term, pair) in pairs[..terms.0 * terms.1].iter_mut().enumerate() {
            let (down, right) = (term / terms.1, term % terms.1);
            // The second product of a cut axis is that of the fifth point of the weights.
            let weight_point = (row + POINTS * down) * weight_columns + column + POINTS * right;
            let input_point = (row + down) * POINTS + column + right;
            *pair = super::pair_of(input_point * self.pass.point_tiles(), weight_point * in_blocks);
        }
        let product = Product {
            a_line: 1,
            c_line: 1,
            a: inputs.as_ptr(),
            b: self.weights[block * column_tiles * TILE_LEN..].as_ptr(),
            c: results.as_mut_ptr(),
            pairs: &pairs[..terms.0 * terms.1],
            k_blocks: in_blocks,
            a_step: 1,
            b_step: 1,
            k_last: self.pass.source.channels - (in_blocks - 1) * TILE,
            rows,
            columns,
            b_column: column_tiles,
            c_column: 1,
            base: Base::Zero,
            relu: false,
        };
        // SAFETY: holding the kernels is the proof that this processor has them; the pairs name
        // points inside the cell's inputs and the weights, whose lengths are
        // made for them; the results are this task's own.
        unsafe { (self.run.kernels.product)(&product) };
    }

    /// Writes the pixels of a cell in one block: Aᵀ m A, plus bias, with ReLU.
    fn transform_results(&self, index: usize, results: &[f32], block: usize) {
        let (group, pictures, cell) = self.locate(index);
        let map = self.pass.target;
        let mut pixels: [Option<&mut Tile>; 4] = std::array::from_fn(|pixel| {
            let (row, column) = (2 * cell.down + pixel / 2, 2 * cell.right + pixel % 2);
            (row < map.height && column < map.width).then(|| {
                let tile = ((group * map.height + row) * map.width + column) * map.blocks() + block;
                // SAFETY: the tile is inside `y`, whose length was checked and which is borrowed for
                // the whole operation; cells have no pixel in common, and tasks differ in cells or
                // blocks.
                unsafe { &mut *self.y.pointer().add(tile * TILE_LEN).cast::<Tile>() }
            })
        });
        let bias = self.bias.map_or(&[0.0; TILE], |bias| {
            bias[block * TILE..].first_chunk().expect("a bias has a value for each output of a block")
        });
        transform::results(self.run.kernels, results, cell.cut, pictures, bias, self.relu, &mut pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only where it was measured to win: `benches/layers.rs` shows both algorithms.
    #[test]
    fn winograd_is_chosen_by_shape() {
        let chosen = |side, channels, outputs, batch| pays(Map::new(side, side, channels), outputs, batch);
        for (side, channels, outputs) in [
            (28, 64, 64),
            (14, 64, 128),
            (14, 128, 128),
            (7, 128, 256),
            (7, 256, 256),
            (4, 256, 512),
            (4, 512, 512),
        ] {
            assert!(chosen(side, channels, outputs, 100), "{side} {channels} {outputs}");
        }
        assert!(!chosen(2, 512, 512, 100), "four products either way");
        assert!(!chosen(4, 512, 512, 1), "the weights' transforms outweigh one picture");
    }

    /// 196, 49, 12¼ and 4 cells, with 14² products at 7 pixels.
    #[test]
    fn cut_cells_are_the_last_ones_of_odd_sides() {
        let cells = Cells::of(Map::new(7, 4, 1));
        assert_eq!((cells.count(), cells.weight_axes()), (8, (5, 4)));
        let cut: Vec<bool> = (0..8).map(|index| cells.cell(index).cut.down).collect();
        assert_eq!(cut, [false, false, false, false, false, false, true, true]);
        assert!((0..8).all(|index| !cells.cell(index).cut.right));
    }
}
