//! Contractions with bf16 operands.
//!
//! Forward and backward by data take two groups of pictures at one pixel as two tiles of rows, and
//! one block of 32 outputs as two tiles of columns; the sums of such a square become bf16 while they
//! are in the nearest cache.
//!
//! Backward by weights sums over pictures, so it needs the input with its channels as rows and the
//! gradient with pairs of pictures side by side. Both are written to scratch first, as
//! `[block of 32 channels][pixel][pair of groups][tile of 16 channels]` of tiles `[channel][picture]`
//! and `[pair of pictures][channel][picture of the pair]`, where the 32 pictures are those of two
//! groups. So what a product reads of a block is contiguous, and stays in the second-level cache as
//! far as its bytes fit. Pictures that are not there are zero in both.

use super::gradient::{Place, Sink, Square, WeightGradient};
use super::{CACHED_WEIGHTS, Checked, Contraction, NO_TERMS, Operand, Run, for_each_task, runs, terms};
use crate::element::{Bf16, Format};
use crate::kernels::per_tier;
use crate::layout::{Map, TILE, TILE_LEN, blocks};
use crate::parallel::SharedMut;
use crate::prefetch::prefetch_to_write;
use crate::product::Pair;
use crate::product16::{Finish, Product16, TILE16_LEN};
use std::ops::Range;

/// Tiles summed by one product of backward-by-weights before the result is added to memory: as in
/// `f32` it belongs to the problem, and is chosen so that what the chunk needs of both operands
/// stays in the second-level cache.
pub(crate) const TILES_PER_CHUNK: usize = 32;

/// The same with AMX, where sums that are long spare memory traffic, and where cutting them changes no
/// bit, since a product goes on with what C holds: 49 pixels of 112 pictures.
pub(crate) const TILES_PER_CHUNK_AMX: usize = 196;

/// Bytes of activations that tasks come back to, chosen so that they stay in the second-level cache
/// beside what passes by.
const CACHED_ACTIVATIONS: usize = 1024 * 1024;

/// Pixels that a task of backward-by-data has at least, so that transposing the weights for it does
/// not show.
const PIXELS_PER_PANEL: usize = 32;

impl Operand for Bf16 {
    fn partial_len(contraction: &Contraction, batch: usize) -> usize {
        // With shorter chunks, and so as much room as any kernels need.
        let chunked = contraction.output.pixels() > pixels_per_chunk(TILES_PER_CHUNK, batch);
        if chunked { contraction.weights_len() } else { 0 }
    }

    fn forward_scratch_len(_contraction: &Contraction, _threads: usize) -> usize {
        0
    }

    fn scratch_len(contraction: &Contraction, batch: usize, threads: usize) -> usize {
        let panels = threads * panel_len(contraction);
        panels.max(transposed_len(contraction.input, batch) + transposed_len(contraction.gradient(), batch))
    }

    fn forward(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Bf16],
        weights: &[Bf16],
        bias: &[f32],
        relu: bool,
        y: &mut [Bf16],
        _scratch: &mut [Bf16],
    ) {
        forward(contraction, run, x, weights, bias, relu, Target::Bf16(SharedMut(y.as_mut_ptr())));
    }

    fn logits(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Bf16],
        weights: &[Bf16],
        bias: &[f32],
        y: &mut [f32],
    ) {
        forward(contraction, run, x, weights, bias, false, Target::F32(SharedMut(y.as_mut_ptr())));
    }

    fn backward_data(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        dy: &[Bf16],
        weights: &[Bf16],
        dx: &mut [Bf16],
        scratch: &mut [Bf16],
    ) {
        let sum = PixelSum {
            run,
            kernel: contraction.kernel,
            mirrored: true,
            source: contraction.gradient(),
            target: contraction.input,
            x: dy,
            y: Target::Bf16(SharedMut(dx.as_mut_ptr())),
            relu: false,
        };
        let panel_len = panel_len(contraction);
        let panels = SharedMut(scratch.as_mut_ptr());
        let rows = PIXELS_PER_PANEL.div_ceil(sum.target.width);
        sum.for_each_task(sum.cached_rows(rows), &|worker, block, rows| {
            // SAFETY: `scratch` has a panel for each worker, borrowed for the whole operation, and
            // a worker runs one task at a time.
            let panel = unsafe {
                std::slice::from_raw_parts_mut(panels.pointer().add(worker * panel_len), panel_len)
            };
            transpose_weights(contraction, run, weights, block, panel);
            sum.rows(rows, block, panel, None);
        });
    }

    fn backward_weights(
        _: Checked,
        contraction: &Contraction,
        run: Run<'_>,
        x: &[Bf16],
        dy: &[Bf16],
        gradient: WeightGradient<'_>,
        scratch: &mut [Bf16],
    ) {
        let (x_transposed, rest) = scratch.split_at_mut(transposed_len(contraction.input, run.batch));
        let dy_paired = &mut rest[..transposed_len(contraction.gradient(), run.batch)];
        transpose_pictures(run, contraction.input, x, x_transposed, channels_as_rows);
        transpose_pictures(run, contraction.gradient(), dy, dy_paired, pictures_in_pairs);
        let pixels = pixels_per_chunk(run.kernels.tiles_per_chunk, run.batch);
        let chunks = contraction.output.pixels().div_ceil(pixels);
        let sink = Sink::new(gradient, chunks > 1);
        WeightSum { contraction, run, x: x_transposed, dy: dy_paired, sink, pixels, chunks }.run();
    }
}

/// Where the results of a forward pass go.
#[derive(Clone, Copy)]
enum Target {
    Bf16(SharedMut<Bf16>),
    F32(SharedMut<f32>),
}

fn forward(
    contraction: &Contraction,
    run: Run<'_>,
    x: &[Bf16],
    weights: &[Bf16],
    bias: &[f32],
    relu: bool,
    y: Target,
) {
    let (source, target, kernel) = (contraction.input, contraction.gradient(), contraction.kernel);
    let sum = PixelSum { run, kernel, mirrored: false, source, target, x, y, relu };
    let shared = if size_of_val(weights) <= CACHED_WEIGHTS { Some(1) } else { sum.cached_rows(1) };
    let block_len = 2 * column_tiles(contraction) * TILE16_LEN;
    let (biases, _) = bias.as_chunks::<32>();
    sum.for_each_task(shared, &|_worker, block, rows| {
        sum.rows(rows, block, &weights[block * block_len..][..block_len], Some(&biases[block]));
    });
}

/// Tiles of weights for one tile of outputs.
fn column_tiles(contraction: &Contraction) -> usize {
    contraction.taps() * contraction.input.blocks()
}

/// Values in the transposed weights of one block of inputs.
fn panel_len(contraction: &Contraction) -> usize {
    2 * contraction.taps() * contraction.gradient().blocks() * TILE16_LEN
}

/// Values in the transposed form of a batch of `map`.
fn transposed_len(map: Map, batch: usize) -> usize {
    blocks(batch).div_ceil(2) * 2 * map.group_len()
}

/// A sum for each pixel of `target` over pixels of `source`: forward, or backward by data.
struct PixelSum<'a> {
    run: Run<'a>,
    kernel: usize,
    /// Whether the taps are mirrored, for backward by data.
    mirrored: bool,
    source: Map,
    target: Map,
    x: &'a [Bf16],
    y: Target,
    relu: bool,
}

impl PixelSum<'_> {
    /// Calls `task(worker, block, rows)` so that every block of the target meets every row of
    /// pixels of every pair of groups once. `shared` is that of [`for_each_task`].
    fn for_each_task(&self, shared: Option<usize>, task: &(dyn Fn(usize, usize, Range<usize>) + Sync)) {
        for_each_task(self.run.pool, self.target.blocks(), self.all_rows(), shared, task);
    }

    /// Rows of pixels of all pairs of groups.
    fn all_rows(&self) -> usize {
        self.target.groups(self.run.batch).div_ceil(self.groups()) * self.target.height
    }

    /// How many rows of the source stay in the second-level cache while all blocks of the target take
    /// them, but `least` at least; none where that is all rows.
    fn cached_rows(&self, least: usize) -> Option<usize> {
        let row_bytes = self.groups() * self.source.width * self.source.pixel_len() * size_of::<Bf16>();
        let rows = (CACHED_ACTIVATIONS / row_bytes).max(least);
        (rows < self.all_rows()).then_some(rows)
    }

    /// Groups whose pictures are the rows of one product; of single pictures the rows are pixels.
    fn groups(&self) -> usize {
        if self.target.group == 1 { 1 } else { 2 }
    }

    /// Computes the pixels of `rows` (counted through all groups, two at a time) in block `block` of
    /// the target from its two columns of tiles of weights.
    fn rows(&self, rows: Range<usize>, block: usize, weights: &[Bf16], bias: Option<&[f32; 32]>) {
        let _tiles = self.run.kernels.tiles();
        let mut sums = Square([0.0; 4 * TILE_LEN]);
        let kernels = self.run.kernels;
        let spread = self.target.group == 1;
        let kernel = if spread { kernels.product16_spread } else { kernels.product16 };
        let mut room = NO_TERMS;
        for row in rows {
            let (group, y) = (row / self.target.height * self.groups(), row % self.target.height);
            for columns in runs(self.target, self.kernel, 2 * TILE) {
                let pairs = terms(self.kernel, self.mirrored, self.source, (y, columns.start), &mut room);
                let tile_rows = self.tile_rows(group, columns.len());
                let product = Product16 {
                    a: self.x[group * self.source.group_len()..].as_ptr(),
                    b: weights.as_ptr(),
                    c: sums.0.as_mut_ptr(),
                    pairs,
                    k_blocks: self.source.blocks(),
                    a_step: 1,
                    b_step: 1,
                    k_pairs_last: (self.source.channels - (self.source.blocks() - 1) * 32).div_ceil(2),
                    rows: tile_rows,
                    a_line: self.source.blocks(),
                    a_row: self.source.blocks() * if spread { TILE } else { self.source.pixels() },
                    c_row: 2,
                    columns: 2,
                    b_column: weights.len() / 2 / TILE16_LEN,
                    c_column: 1,
                    accumulate: false,
                };
                self.prefetch_results(group, tile_rows, y * self.target.width + columns.start, block);
                // SAFETY: holding the kernels is the proof that this processor has them, and `_tiles`
                // is what they need; the lists name pixels inside the maps and taps inside the weights, whose
                // buffers' lengths were checked; a second group is named only where there is one;
                // the sums are this task's own.
                unsafe { kernel(&product) };
                self.finish(&sums, group, tile_rows, y * self.target.width + columns.start, block, bias);
            }
        }
    }

    /// Rows in use of the two tiles of rows that begin with group `group`, or with a run of
    /// `pixels` of it.
    fn tile_rows(&self, group: usize, pixels: usize) -> [usize; 2] {
        let batch = self.run.batch;
        [0, 1].map(|i| match self.target.group {
            1 => pixels.saturating_sub(i * TILE).min(TILE),
            _ if group + i < self.target.groups(batch) => self.target.pictures(batch, group + i),
            _ => 0,
        })
    }

    /// Asks for the lines that the results of the pixel after the next will be written to.
    fn prefetch_results(&self, group: usize, tile_rows: [usize; 2], pixel: usize, block: usize) {
        let Target::Bf16(y) = self.y else { return };
        if self.target.group == 1 {
            return;
        }
        for i in (0..2).filter(|&i| tile_rows[i] > 0) {
            let first = (group + i) * self.target.group_len() + (pixel + 2) * self.target.pixel_len();
            let tile = y.pointer().wrapping_add(first + block * self.target.tile_len());
            prefetch_to_write(tile, self.target.tile_len());
        }
    }

    /// Turns the sums of one pixel of two groups, or of a run of pixels of one, into results.
    fn finish(
        &self,
        sums: &Square,
        group: usize,
        tile_rows: [usize; 2],
        pixel: usize,
        block: usize,
        bias: Option<&[f32; 32]>,
    ) {
        let spread = self.target.group == 1;
        for (i, c) in sums.0.as_chunks::<{ 2 * TILE_LEN }>().0.iter().enumerate() {
            let (group, pixel) = if spread { (group, pixel + i * TILE) } else { (group + i, pixel) };
            let y_line = if spread { self.target.blocks() } else { 1 };
            let finish = Finish { c, rows: tile_rows[i], y_line, bias, relu: self.relu };
            match self.y {
                _ if finish.rows == 0 => {}
                Target::Bf16(y) => {
                    let first = group * self.target.group_len() + pixel * self.target.pixel_len();
                    // SAFETY: the rows are inside `y`, whose length was checked and which is
                    // borrowed for the whole operation; tasks differ in blocks or rows, so no two
                    // write the same ones. Holding the kernels is the proof that this processor has
                    // them.
                    unsafe {
                        let y = y.pointer().add(first + block * self.target.tile_len());
                        (self.run.kernels.finish)(&finish, y);
                    }
                }
                Target::F32(y) => {
                    let map = self.target.in_format(Format::F32);
                    let first = group * map.group_len() + pixel * map.pixel_len();
                    for column in 0..(map.blocks() - 2 * block).min(2) {
                        // SAFETY: as above.
                        unsafe {
                            let y = y.pointer().add(first + (2 * block + column) * map.tile_len());
                            add_bias(&finish, column, y, if spread { map.blocks() } else { 1 });
                        }
                    }
                }
            }
        }
    }
}

/// Writes one tile of sums with their bias to rows that are `y_line` lines of 16 values apart.
///
/// # Safety
/// The rows lie inside the buffer that `y` points into, and nobody else uses them meanwhile.
unsafe fn add_bias(finish: &Finish<'_>, column: usize, y: *mut f32, y_line: usize) {
    let bias = &finish.bias.unwrap_or(&[0.0; 32])[column * TILE..][..TILE];
    for row in 0..finish.rows {
        for lane in 0..TILE {
            let sum = finish.c[column * TILE_LEN + row * TILE + lane];
            // SAFETY: the caller promises it.
            unsafe { *y.add(row * y_line * TILE + lane) = sum + bias[lane] };
        }
    }
}

/// Transposes the weights of the block `block` of inputs into
/// `[tile of 16 inputs][tap][block of outputs]` of tiles `[pair of outputs][input][output of the pair]`.
fn transpose_weights(
    contraction: &Contraction,
    run: Run<'_>,
    weights: &[Bf16],
    block: usize,
    panel: &mut [Bf16],
) {
    let (source, _) = weights.as_chunks::<TILE16_LEN>();
    let (target, _) = panel.as_chunks_mut::<TILE16_LEN>();
    let (first, second) = target.split_at_mut(target.len() / 2);
    let (taps, in_blocks) = (contraction.taps(), contraction.input.blocks());
    let out_blocks = contraction.gradient().blocks();
    let tile = |to: usize, column: usize| {
        let (tap, out_block) = (to / out_blocks, to % out_blocks);
        &source[((2 * out_block + column) * taps + tap) * in_blocks + block]
    };
    for to in 0..taps * out_blocks {
        let (first, _) = first[to].as_chunks_mut::<{ TILE16_LEN / 2 }>();
        let (second, _) = second[to].as_chunks_mut::<{ TILE16_LEN / 2 }>();
        for (column, (first, second)) in first.iter_mut().zip(second).enumerate() {
            // SAFETY: holding the kernels is the proof that this processor has them.
            unsafe { (run.kernels.turn)(tile(to, column), [first, second]) };
        }
    }
}

/// Writes the transposed form of a batch of `map`: `write` turns a block of 32 channels of one pixel
/// in two groups, given with the groups' numbers of pictures, into two tiles.
fn transpose_pictures(
    run: Run<'_>,
    map: Map,
    values: &[Bf16],
    transposed: &mut [Bf16],
    write: impl Fn(Run<'_>, [&[Bf16; TILE16_LEN]; 2], [usize; 2], &mut [[Bf16; TILE16_LEN]; 2]) + Sync,
) {
    let groups = blocks(run.batch);
    let pairs = groups.div_ceil(2);
    let (values, _) = values.as_chunks::<TILE16_LEN>();
    let (pixels, map_blocks) = (map.pixels(), map.blocks());
    run.pool.for_each_chunk(transposed, 2 * TILE16_LEN, map.width * pairs, |index, tiles| {
        let (block, pixel, group) = (index / pairs / pixels, index / pairs % pixels, index % pairs * 2);
        let pictures =
            [0, 1].map(|i| if group + i < groups { map.pictures(run.batch, group + i) } else { 0 });
        let from = |pixel: usize| {
            let tile = |group: usize| &values[(group * pixels + pixel) * map_blocks + block];
            [tile(group), tile((group + 1).min(groups - 1))]
        };
        let (tiles, _) = tiles.as_chunks_mut::<TILE16_LEN>();
        let tiles: &mut [[Bf16; TILE16_LEN]; 2] = tiles.try_into().expect("a chunk is two tiles");
        write(run, from(pixel), pictures, tiles);
    });
}

/// `[picture][channel]` of two groups to `[channel][picture of both]`, in two tiles of 16 channels.
fn channels_as_rows(
    run: Run<'_>,
    from: [&[Bf16; TILE16_LEN]; 2],
    pictures: [usize; 2],
    tiles: &mut [[Bf16; TILE16_LEN]; 2],
) {
    let mut transposed = [[0; TILE_LEN]; 2];
    for (i, transposed) in transposed.iter_mut().enumerate() {
        // SAFETY: holding the kernels is the proof that this processor has them.
        unsafe { (run.kernels.transpose)(from[i], pictures[i], transposed) };
    }
    split_channels(run.kernels, &transposed, tiles);
}

per_tier! {
    /// From rows of pairs of channels, one for each group, to rows of one channel of both groups.
    fn split_channels(groups: &[[u32; TILE_LEN]; 2], tiles: &mut [[Bf16; TILE16_LEN]; 2]) {
        for pair in 0..TILE {
            let rows = tiles[pair / 8][pair % 8 * 64..][..64].as_chunks_mut::<32>().0;
            for (group, values) in groups.iter().enumerate() {
                for (picture, &value) in values[pair * TILE..][..TILE].iter().enumerate() {
                    rows[0][group * TILE + picture] = Bf16(value as u16);
                    rows[1][group * TILE + picture] = Bf16((value >> 16) as u16);
                }
            }
        }
    }
}

/// `[picture][channel]` of two groups to `[pair of pictures][channel][picture of the pair]`, in two
/// tiles of 16 channels.
fn pictures_in_pairs(
    run: Run<'_>,
    from: [&[Bf16; TILE16_LEN]; 2],
    pictures: [usize; 2],
    tiles: &mut [[Bf16; TILE16_LEN]; 2],
) {
    for group in 0..2 {
        pair_pictures(run.kernels, from[group], pictures[group], 8 * group, tiles);
    }
}

per_tier! {
    /// Writes the pairs of pictures of one group to rows `first` to `first + 7` of both tiles.
    fn pair_pictures(
        from: &[Bf16; TILE16_LEN],
        pictures: usize,
        first: usize,
        tiles: &mut [[Bf16; TILE16_LEN]; 2],
    ) {
        let none = [Bf16(0); 32];
        let (rows, _) = from.as_chunks::<32>();
        for pair in 0..8 {
            let row = |picture: usize| if picture < pictures { &rows[picture] } else { &none };
            let (even, odd) = (row(2 * pair), row(2 * pair + 1));
            for (half, tile) in tiles.iter_mut().enumerate() {
                let to = tile[(first + pair) * 32..][..32].as_chunks_mut::<2>().0;
                for ((to, &even), &odd) in to.iter_mut().zip(&even[half * TILE..]).zip(&odd[half * TILE..]) {
                    *to = [even, odd];
                }
            }
        }
    }
}

/// Pixels that one product of backward-by-weights sums over at most, of `tiles` tiles; the middle tap
/// meets every pixel, the others fewer.
fn pixels_per_chunk(tiles: usize, batch: usize) -> usize {
    (tiles / blocks(batch).div_ceil(2).max(1)).max(1)
}

/// Backward by weights over transposed operands.
struct WeightSum<'a> {
    contraction: &'a Contraction,
    run: Run<'a>,
    x: &'a [Bf16],
    dy: &'a [Bf16],
    sink: Sink<'a>,
    /// Pixels in a chunk, and chunks.
    pixels: usize,
    chunks: usize,
}

impl WeightSum<'_> {
    fn run(&self) {
        let Self { contraction, run, sink, pixels, chunks, .. } = *self;
        let out_blocks = contraction.gradient().blocks();
        let units = contraction.taps() * contraction.input.blocks() * out_blocks;
        // Every task reads all activations of the layer, chunk by chunk, so more tasks than threads
        // would cost memory traffic.
        let wanted = if chunks > 1 { run.pool.threads() } else { 8 * run.pool.threads() };
        let tasks = wanted.min(units);
        let pixel_tiles = 2 * blocks(run.batch).div_ceil(2);
        let cached_blocks = (CACHED_ACTIVATIONS / self.block_bytes()).max(1);
        run.pool.run(tasks, &|task, _worker| {
            let _tiles = run.kernels.tiles();
            let mut square = Square([0.0; 4 * TILE_LEN]);
            let mut pairs = [Pair { a: 0, b: 0 }; TILES_PER_CHUNK_AMX];
            for chunk in 0..chunks {
                let positions = chunk * pixels..(chunk + 1) * pixels;
                for unit in task * units / tasks..(task + 1) * units / tasks {
                    let (block, tap, in_block) = contraction.unit(unit, out_blocks, cached_blocks);
                    let count = contraction.meetings(tap, positions.clone(), [pixel_tiles; 2], &mut pairs);
                    let place = self.place(block, tap, in_block);
                    if chunk == 0 || count > 0 {
                        let target = sink.target(place, &mut square);
                        self.product(target, (block, in_block), &pairs[..count], chunk > 0);
                    }
                    if chunk + 1 == chunks {
                        sink.finish(run.kernels, place, &mut square);
                    }
                }
            }
        });
    }

    /// Bytes of one block of inputs in a chunk.
    fn block_bytes(&self) -> usize {
        let pixels = self.pixels.min(self.contraction.output.pixels());
        pixels * blocks(self.run.batch).div_ceil(2) * 2 * size_of::<[Bf16; TILE16_LEN]>()
    }

    /// The tiles of the weights of one block of inputs and one of outputs at one tap, as far as they
    /// hold weights.
    fn place(&self, block: usize, tap: usize, in_block: usize) -> Place {
        let Contraction { input, output, .. } = *self.contraction;
        let column_step = self.contraction.taps() * 2 * input.blocks();
        Place {
            first: 2 * block * column_step + tap * 2 * input.blocks() + 2 * in_block,
            rows: blocks(input.channels - in_block * 32).min(2),
            columns: blocks(output.channels - block * 32).min(2),
            column_step,
        }
    }

    /// One chunk's part of the gradient in the square of blocks `in_block` and `block`. All 16 rows
    /// of a tile are computed: inputs past the last one are zero.
    fn product(
        &self,
        (c, c_column): (*mut f32, usize),
        (block, in_block): (usize, usize),
        pairs: &[Pair],
        accumulate: bool,
    ) {
        let Self { contraction, run, x, dy, .. } = *self;
        let input = contraction.input;
        let Place { rows, columns, .. } = self.place(block, 0, in_block);
        let groups = blocks(run.batch);
        let block_tiles = input.pixels() * groups.div_ceil(2) * 2;
        let last_group = input.pictures(run.batch, groups - 1).div_ceil(2);
        let product = Product16 {
            a: x[in_block * block_tiles * TILE16_LEN..].as_ptr(),
            b: dy[block * block_tiles * TILE16_LEN..].as_ptr(),
            c,
            pairs,
            k_blocks: groups.div_ceil(2),
            a_step: 2,
            b_step: 2,
            k_pairs_last: if groups.is_multiple_of(2) { 8 + last_group } else { last_group },
            rows: [TILE, if rows == 2 { TILE } else { 0 }],
            a_line: 1,
            a_row: 1,
            c_row: 1,
            columns,
            b_column: 1,
            c_column,
            accumulate,
        };
        // SAFETY: holding the kernels is the proof that this processor has them, and `run` got the
        // tiles that they need; the lists name pixels inside the two transposed maps, whose lengths follow from
        // the same shapes; `c` is what the sink gave for this square, which is this task's own.
        unsafe { (run.kernels.product16)(&product) };
    }
}
