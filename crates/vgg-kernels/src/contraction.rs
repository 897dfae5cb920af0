//! Convolutions and dense layers, forward and backward, as batch-reduce products of tiles.
//!
//! For each output pixel a 3×3 convolution is the sum, over the taps that fall inside the picture,
//! of (pictures × input channels) · (input channels × output channels). A tap outside the picture
//! is not computed. Backward by data is the same sum with transposed weights, taken over the
//! output pixels that an input pixel reaches. Backward by weights is, for each tap, the product
//! summed over pixels and pictures. A dense layer is one tap at one pixel whose channels are all
//! values of the picture.
//!
//! Which tiles meet depends on the shapes only. This file has what both formats share; their
//! passes are in `contraction/f32.rs` and `contraction/bf16.rs`, and 3×3 convolutions with fewer
//! multiplications in `contraction/winograd.rs`.

mod bf16;
mod f32;
mod gradient;
mod winograd;

pub(crate) use bf16::{TILES_PER_CHUNK, TILES_PER_CHUNK_AMX};
pub use gradient::{Apply, WeightGradient};

use crate::element::{Element, Format};
use crate::kernels::Kernels;
use crate::layout::{Map, TILE, WeightLayout};
use crate::parallel::Pool;
use crate::product::Pair;
use std::ops::Range;

/// Weights up to this number of bytes stay in a core's second-level cache, so the tasks of a
/// forward pass take one row of pixels through all outputs; above it they take all pixels through one
/// pair of output blocks.
const CACHED_WEIGHTS: usize = 512 * 1024;

/// Input blocks that backward-by-weights takes at most through all outputs before the next ones, so
/// that their activations stay in the second-level cache.
const CACHED_INPUT_BLOCKS: usize = 16;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// As the sum over taps.
    Direct,
    /// With fewer multiplications: Winograd's F(2×2, 3×3), for 3×3 convolutions of `f32`.
    Winograd,
}

/// A convolution or dense layer of given shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contraction {
    input: Map,
    output: Map,
    /// Side of the window.
    kernel: usize,
    algorithm: Algorithm,
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

/// A proof that formats and lengths were checked: only [`Contraction`]'s methods make one.
#[derive(Debug)]
pub struct Checked(());

/// A format that contractions multiply. The meaning of each function is that of [`Contraction`]'s
/// method of the same name, which checks its arguments first.
#[allow(clippy::too_many_arguments)]
pub trait Operand: Element {
    /// See [`Contraction::forward_scratch_len`].
    #[doc(hidden)]
    fn forward_scratch_len(contraction: &Contraction, threads: usize) -> usize;

    /// See [`Contraction::scratch_len`].
    #[doc(hidden)]
    fn scratch_len(contraction: &Contraction, batch: usize, threads: usize) -> usize;

    /// See [`Contraction::partial_len`].
    #[doc(hidden)]
    fn partial_len(contraction: &Contraction, batch: usize) -> usize;

    /// See [`Contraction::forward`].
    #[doc(hidden)]
    fn forward(
        checked: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Self],
        weights: &[Self],
        bias: &[f32],
        relu: bool,
        y: &mut [Self],
        scratch: &mut [Self],
    );

    /// See [`Contraction::logits`].
    #[doc(hidden)]
    fn logits(
        checked: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Self],
        weights: &[Self],
        bias: &[f32],
        y: &mut [f32],
    );

    /// See [`Contraction::backward_data`].
    #[doc(hidden)]
    fn backward_data(
        checked: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        dy: &[Self],
        weights: &[Self],
        dx: &mut [Self],
        scratch: &mut [Self],
    );

    /// See [`Contraction::backward_weights`].
    #[doc(hidden)]
    fn backward_weights(
        checked: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Self],
        dy: &[Self],
        gradient: WeightGradient<'_>,
        scratch: &mut [Self],
    );
}

impl Contraction {
    /// A `kernel`×`kernel` convolution (1 or 3), stride 1, same padding, computed directly.
    ///
    /// # Panics
    /// When the kernel is neither 1 nor 3, or the input has no pixel or channel.
    pub fn convolution(input: Map, out_channels: usize, kernel: usize) -> Self {
        assert!(kernel == 1 || kernel == 3, "kernel {kernel}");
        assert!(input.pixels() * input.channels * out_channels > 0, "an empty convolution");
        let output = Map { channels: out_channels, ..input };
        Self { input, output, kernel, algorithm: Algorithm::Direct }
    }

    /// The algorithm that is fastest for batches of `batch` pictures: a rule on shapes alone.
    pub fn fastest(&self, batch: usize) -> Algorithm {
        if self.has_winograd() && winograd::pays(self.input, self.output.channels, batch) {
            Algorithm::Winograd
        } else {
            Algorithm::Direct
        }
    }

    /// The same layer computed by `algorithm`.
    ///
    /// # Panics
    /// When the algorithm is Winograd's and the layer is no 3×3 convolution of `f32` in groups of 16.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Self {
        assert!(self.has_winograd() || algorithm == Algorithm::Direct, "Winograd's algorithm for {self:?}");
        Self { algorithm, ..self }
    }

    fn has_winograd(&self) -> bool {
        self.kernel == 3 && self.input.format == Format::F32 && self.input.group == TILE
    }

    /// How it is computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A dense layer over all values of a picture.
    ///
    /// # Panics
    /// When the input has no pixel or channel.
    pub fn dense(input: Map, outputs: usize) -> Self {
        // The tiles of one group's pixels are contiguous, so they are the blocks of one pixel.
        let channels = if input.pixels() == 1 { input.channels } else { input.group_len() / input.group };
        Self::convolution(Map { height: 1, width: 1, channels, ..input }, outputs, 1)
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
        WeightLayout { outputs, channels, positions: self.taps(), gathered: false, format: self.input.format }
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The shape of the output's gradient: that of the output, in the format of the operands.
    fn gradient(&self) -> Map {
        self.output.in_format(self.input.format)
    }

    /// Values of scratch that the forward pass needs with `threads` threads, of any number of
    /// pictures.
    pub fn forward_scratch_len(&self, threads: usize) -> usize {
        match self.input.format {
            Format::F32 => <f32 as Operand>::forward_scratch_len(self, threads),
            Format::Bf16 => <crate::Bf16 as Operand>::forward_scratch_len(self, threads),
        }
    }

    /// Values of scratch that the backward passes of `batch` pictures need with `threads` threads.
    pub fn scratch_len(&self, batch: usize, threads: usize) -> usize {
        match self.input.format {
            Format::F32 => <f32 as Operand>::scratch_len(self, batch, threads),
            Format::Bf16 => <crate::Bf16 as Operand>::scratch_len(self, batch, threads),
        }
    }

    /// Values of room for partial sums that an update inside backward-by-weights needs.
    pub fn partial_len(&self, batch: usize) -> usize {
        match self.input.format {
            Format::F32 => <f32 as Operand>::partial_len(self, batch),
            Format::Bf16 => <crate::Bf16 as Operand>::partial_len(self, batch),
        }
    }

    /// `y = x · weights + bias`, with ReLU if `relu`. The bias has a value for each output of the
    /// packed blocks, zero past the last one. `scratch` is overwritten.
    ///
    /// # Panics
    /// When a slice does not have the length or format that the shapes, the batch and the threads
    /// need.
    #[allow(clippy::too_many_arguments)]
    pub fn forward<T: Operand>(
        &self,
        run: Run<'_>,
        x: &[T],
        weights: &[T],
        bias: &[f32],
        relu: bool,
        y: &mut [T],
        scratch: &mut [T],
    ) {
        let checked = self.check(run, x, self.gradient(), y);
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(bias.len(), self.gradient().blocks() * T::BLOCK, "bias");
        assert!(scratch.len() >= self.forward_scratch_len(run.pool.threads()), "scratch");
        T::forward(checked, self, run, x, weights, bias, relu, y, scratch);
    }

    /// As [`Contraction::forward`] without ReLU, with results in `f32` (and in blocks of 16)
    /// whatever the format of the operands: a loss made from rounded logits would show the rounding.
    ///
    /// # Panics
    /// When a slice does not have the length or format that the shapes and the batch need.
    pub fn logits<T: Operand>(&self, run: Run<'_>, x: &[T], weights: &[T], bias: &[f32], y: &mut [f32]) {
        let checked = self.check(run, x, self.output.in_format(Format::F32), y);
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(bias.len(), self.gradient().blocks() * T::BLOCK, "bias");
        T::logits(checked, self, run, x, weights, bias, y);
    }

    /// `dx = dy · weightsᵀ`, the gradient of the input. `scratch` is overwritten.
    ///
    /// # Panics
    /// When a slice does not have the length or format that the shapes, the batch and the threads
    /// need.
    pub fn backward_data<T: Operand>(
        &self,
        run: Run<'_>,
        dy: &[T],
        weights: &[T],
        dx: &mut [T],
        scratch: &mut [T],
    ) {
        let checked = self.check(run, dx, self.gradient(), dy);
        assert_eq!(self.input.group, TILE, "pictures in a group");
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert!(scratch.len() >= self.scratch_len(run.batch, run.pool.threads()), "scratch");
        T::backward_data(checked, self, run, dy, weights, dx, scratch);
    }

    /// `xᵀ · dy`, the gradient of the weights in packed form, goes to `gradient`; with
    /// [`WeightGradient::Apply`] the weights are updated, so what needs the old ones comes before.
    /// Tiles that hold no weight are not written. `scratch` is overwritten.
    ///
    /// # Panics
    /// When a slice does not have the length or format that the shapes, the batch and the threads
    /// need, or there are no pictures.
    pub fn backward_weights<T: Operand>(
        &self,
        run: Run<'_>,
        x: &[T],
        dy: &[T],
        gradient: WeightGradient<'_>,
        scratch: &mut [T],
    ) {
        let checked = self.check(run, x, self.gradient(), dy);
        assert_eq!(self.input.group, TILE, "pictures in a group");
        assert!(run.batch > 0, "a gradient of no pictures");
        gradient.check(self.weights_len(), self.partial_len(run.batch));
        assert!(scratch.len() >= self.scratch_len(run.batch, run.pool.threads()), "scratch");
        T::backward_weights(checked, self, run, x, dy, gradient, scratch);
    }

    /// Panics unless `x` holds the input of a batch and `y` a batch of `output`.
    fn check<T: Element, Y: Element>(&self, run: Run<'_>, x: &[T], output: Map, y: &[Y]) -> Checked {
        assert!([1, TILE].contains(&self.input.group), "{} pictures in a group", self.input.group);
        assert_eq!((T::FORMAT, Y::FORMAT), (self.input.format, output.format), "formats");
        assert_eq!(x.len(), self.input.len(run.batch), "{} pictures of {:?}", run.batch, self.input);
        assert_eq!(y.len(), output.len(run.batch), "{} pictures of {output:?}", run.batch);
        Checked(())
    }

    /// Writes the pairs of input and output pixels that meet through `tap`, from position
    /// `positions.start` to before `positions.end` in the order of the output pixels, and returns
    /// how many there are. A pixel has `tiles` tiles in the input and in the output.
    fn meetings(&self, tap: usize, positions: Range<usize>, tiles: [usize; 2], pairs: &mut [Pair]) -> usize {
        let (rows, row_shift) = meeting_range(self.output.height, tap / self.kernel, self.kernel);
        let (columns, column_shift) = meeting_range(self.output.width, tap % self.kernel, self.kernel);
        let end = positions.end.min(rows.len() * columns.len());
        if positions.start >= end {
            return 0;
        }
        let mut row = rows.start + positions.start / columns.len();
        let mut column = columns.start + positions.start % columns.len();
        for pair in &mut pairs[..end - positions.start] {
            let in_pixel =
                (row + tap / self.kernel - row_shift) * self.input.width + column + tap % self.kernel
                    - column_shift;
            let out_pixel = row * self.output.width + column;
            *pair = pair_of(in_pixel * tiles[0], out_pixel * tiles[1]);
            column += 1;
            if column == columns.end {
                (row, column) = (row + 1, columns.start);
            }
        }
        end - positions.start
    }

    /// The (pair of tiles of outputs, tap, input block) of unit `unit` of backward-by-weights: runs
    /// of `longest` input blocks outermost, then pairs of tiles of outputs, of which there are
    /// `column_pairs`, then taps, then the blocks of the run.
    fn unit(&self, unit: usize, column_pairs: usize, longest: usize) -> (usize, usize, usize) {
        let in_blocks = self.input.blocks();
        let run_units = longest * column_pairs * self.taps();
        let first = unit / run_units * longest;
        let run_blocks = longest.min(in_blocks - first);
        let rest = unit % run_units;
        (rest / (run_blocks * self.taps()), rest / run_blocks % self.taps(), first + rest % run_blocks)
    }
}

/// Calls `task(worker, pair, rows)` so that every one of `column_pairs` meets every row once. With
/// `shared` a task has at most so many rows and neighbouring tasks share them; otherwise neighbouring
/// tasks share the pair of columns.
fn for_each_task(
    pool: &Pool,
    column_pairs: usize,
    rows: usize,
    shared: Option<usize>,
    task: &(dyn Fn(usize, usize, Range<usize>) + Sync),
) {
    // Eight tasks a thread keep all threads busy to the end.
    let runs = (8 * pool.threads()).div_ceil(column_pairs).min(rows);
    let runs = shared.map_or(runs, |shared| rows.div_ceil(shared));
    pool.run(column_pairs * runs, &|index, worker| {
        let (pair, run) = match shared {
            Some(_) => (index % column_pairs, index / column_pairs),
            None => (index / runs, index % runs),
        };
        task(worker, pair, run * rows / runs..(run + 1) * rows / runs);
    });
}

/// The runs of pixels in a row that are the rows of one product: each pixel alone where there are
/// pictures for the rows; else at most `longest` pixels, for which the same taps fall inside the
/// picture.
fn runs(map: Map, kernel: usize, longest: usize) -> impl Iterator<Item = Range<usize>> {
    let (width, half) = (map.width, if map.group == 1 { kernel / 2 } else { 0 });
    let longest = if map.group == 1 { longest } else { 1 };
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next;
        // Pixels at the edges miss taps that those between them have.
        let end = if start < half { start + 1 } else { (width - half).max(start + 1).min(width) };
        next = end.min(start + longest);
        (start < width).then_some(start..next)
    })
}

/// The terms of the sum for pixel (y, x): for each tap that falls inside the picture, in order, the
/// source pixel's tiles and the tap's tiles in the weights. `mirrored` taps are those of backward by
/// data, where the tap of an output pixel comes back to the input pixel.
///
/// They are written to `pairs` and used from there: a copy made in wider pieces than those that were just
/// written waits until these, and the results stored before them, have reached the cache.
fn terms(
    kernel: usize,
    mirrored: bool,
    source: Map,
    (y, x): (usize, usize),
    pairs: &mut [Pair; 9],
) -> &[Pair] {
    let half = kernel / 2;
    let mut count = 0;
    for tap in 0..kernel * kernel {
        let (mut down, mut right) = (tap / kernel, tap % kernel);
        if mirrored {
            (down, right) = (2 * half - down, 2 * half - right);
        }
        // A row above the picture wraps round to a number that is never below the height.
        let (row, column) = ((y + down).wrapping_sub(half), (x + right).wrapping_sub(half));
        if row < source.height && column < source.width {
            let blocks = source.blocks();
            pairs[count] = pair_of((row * source.width + column) * blocks, tap * blocks);
            count += 1;
        }
    }
    &pairs[..count]
}

/// Room for [`terms`].
const NO_TERMS: [Pair; 9] = [Pair { a: 0, b: 0 }; 9];

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
                let (pair, tap, in_block) = contraction.unit(unit, column_pairs, CACHED_INPUT_BLOCKS);
                assert!(pair < column_pairs && tap < contraction.taps());
                assert!(in_block < contraction.input.blocks());
                assert!(seen.insert((pair, tap, in_block)), "{channels} {outputs} {unit}");
            }
        }
    }

    #[test]
    fn runs_of_pixels_have_the_same_taps() {
        for (width, kernel) in [(1, 3), (2, 3), (3, 3), (28, 3), (40, 3), (40, 1), (1, 1)] {
            for map in [Map::new(3, width, 5), Map::new(3, width, 5).of_single_pictures()] {
                let runs: Vec<_> = runs(map, kernel, 16).collect();
                assert_eq!(
                    runs.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..width).collect::<Vec<_>>()
                );
                for run in runs {
                    assert!(run.len() <= if map.group == 1 { 16 } else { 1 });
                    let taps =
                        |x| terms(kernel, false, Map::new(3, width, 5), (1, x), &mut NO_TERMS.clone()).len();
                    assert!(run.clone().all(|x| taps(x) == taps(run.start)), "{width} {run:?}");
                }
            }
        }
    }

    /// At 28, 14, 7, 4 and 2 pixels, 95, 91, 82, 69 and 44 % of the taps are inside the picture.
    #[test]
    fn taps_outside_the_picture_are_left_out() {
        for (side, percent) in [(28, 95), (14, 91), (7, 82), (4, 69), (2, 44), (1, 11)] {
            let contraction = Contraction::convolution(Map::new(side, side, 16), 16, 3);
            let mut pairs = [Pair { a: 0, b: 0 }; 1];
            let meetings: usize = (0..9)
                .flat_map(|tap| (0..side * side).map(move |position| (tap, position)))
                .map(|(tap, position)| contraction.meetings(tap, position..position + 1, [1, 1], &mut pairs))
                .sum();
            let inside = meetings as f64 / (9 * side * side) as f64;
            assert_eq!((100.0 * inside).round() as usize, percent);
        }
    }
}
