//! Where values lie in memory. Everything is made of *tiles* of 16 rows of 64 bytes, 1 KiB.
//!
//! **Activations and their gradients**: pixel by pixel with the pictures innermost,
//! `[group][row][column][block][picture in group][channel in block]`, where a group is 16 pictures
//! and a block as many channels as 64 bytes hold: 16 in `f32`, 32 in bf16. A tile is 16 pictures ×
//! one block of one pixel, so a convolution is, for each output pixel, a sum of products of tiles.
//! For a single picture a group is one picture: pixels take the place of pictures as the rows of
//! products, and what were tiles are *lines* of 64 bytes. A
//! batch that is no multiple of 16 leaves pictures of the last group unused; no kernel reads them as
//! an operand of a sum. Channels past the last one hold zero: kernels compute them from zero weights
//! and zero gradients, and a dense layer over several pixels multiplies them by zero weights.
//!
//! **Weights** with their gradients and momentum are `f32`:
//! `[output block][position][input block][input in block][output in block]`, where a position is a
//! tap of a window or a pixel of a dense layer's input. A tile is 16 inputs × 16 outputs, and all
//! tiles that one output block needs are contiguous in the order of the sum. Inputs and outputs past
//! the last one hold zero. Where the operands are bf16, inputs and outputs are filled up to a
//! multiple of 32, and products read a copy of the weights in bf16 in which two tiles of inputs are
//! one: `[pair of inputs][output][input of the pair]`, the order that instructions for bf16 take.

use crate::element::Format;

/// Rows of a tile and columns of one of `f32`; pictures in a group.
pub const TILE: usize = 16;

/// Values in a tile of `f32`.
pub const TILE_LEN: usize = TILE * TILE;

/// Number of tiles that hold `count` inputs, outputs or pictures.
pub const fn blocks(count: usize) -> usize {
    count.div_ceil(TILE)
}

/// `a · b`, also in a release build never a number that has wrapped.
const fn times(a: usize, b: usize) -> usize {
    a.checked_mul(b).expect("the sizes of a network fit an address")
}

/// The shape of activations: pixels and channels of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Format of the values.
    pub format: Format,
    /// Pictures in a group: [`TILE`], or 1.
    pub group: usize,
}

impl Map {
    /// A map of `f32` values in groups of 16 pictures from its sizes.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, format: Format::F32, group: TILE }
    }

    /// The map of the same sizes in groups of one picture.
    pub const fn of_single_pictures(self) -> Self {
        Self { group: 1, ..self }
    }

    /// The map of the same sizes in another format.
    pub const fn in_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Pixels of a picture.
    ///
    /// # Panics
    /// This and every length below: when the product does not fit a `usize`. Buffers are checked
    /// by these lengths before their memory is touched, so none may wrap.
    pub const fn pixels(&self) -> usize {
        times(self.height, self.width)
    }

    /// Blocks of channels in a pixel.
    pub const fn blocks(&self) -> usize {
        self.channels.div_ceil(self.format.block())
    }

    /// Values in a tile, or in a line where a group is one picture.
    pub const fn tile_len(&self) -> usize {
        self.group * self.format.block()
    }

    /// Groups of a batch of `batch` pictures.
    pub const fn groups(&self, batch: usize) -> usize {
        batch.div_ceil(self.group)
    }

    /// Pictures in use in group `group` of a batch.
    pub const fn pictures(&self, batch: usize, group: usize) -> usize {
        let rest = batch - group * self.group;
        if rest < self.group { rest } else { self.group }
    }

    /// Values that one pixel of a group takes.
    pub const fn pixel_len(&self) -> usize {
        times(self.blocks(), self.tile_len())
    }

    /// Values that a group takes.
    pub const fn group_len(&self) -> usize {
        times(self.pixels(), self.pixel_len())
    }

    /// Values that a batch of `batch` pictures takes.
    pub const fn len(&self, batch: usize) -> usize {
        times(self.groups(batch), self.group_len())
    }

    /// Position of one value.
    pub const fn index(&self, picture: usize, pixel: usize, channel: usize) -> usize {
        let block = self.format.block();
        (picture / self.group * self.pixels() + pixel) * self.pixel_len()
            + channel / block * self.tile_len()
            + picture % self.group * block
            + channel % block
    }
}

/// The shape of weights and how they are packed. Their plain order is
/// `[output][channel][position]`, as PyTorch has it for convolutions and for dense layers behind a
/// flattened picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightLayout {
    /// Number of outputs.
    pub outputs: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Taps of a window, or pixels of a dense layer's input.
    pub positions: usize,
    /// Whether the positions of one pixel are gathered next to each other in the input's channels
    /// (see [`crate::gather`]), so that blocks are shared by positions.
    pub gathered: bool,
    /// Format of the operands of products, which says to what inputs and outputs are filled up.
    pub format: Format,
}

impl WeightLayout {
    /// Tiles of 16 that hold `count` inputs or outputs, filled up to whole blocks of the format.
    const fn tiles(&self, count: usize) -> usize {
        times(count.div_ceil(self.format.block()), self.format.block() / TILE)
    }

    /// Tiles that one output block takes.
    pub const fn tiles_per_output_block(&self) -> usize {
        if self.gathered {
            self.tiles(times(self.positions, self.channels))
        } else {
            times(self.positions, self.tiles(self.channels))
        }
    }

    /// Number of values in packed form.
    pub const fn packed_len(&self) -> usize {
        times(times(self.tiles(self.outputs), self.tiles_per_output_block()), TILE_LEN)
    }

    /// Number of values in plain form.
    pub const fn plain_len(&self) -> usize {
        times(times(self.outputs, self.channels), self.positions)
    }

    /// Position in packed form of one weight.
    pub const fn index(&self, output: usize, channel: usize, position: usize) -> usize {
        let (block, row) = if self.gathered {
            let input = position * self.channels + channel;
            (input / TILE, input % TILE)
        } else {
            (position * self.tiles(self.channels) + channel / TILE, channel % TILE)
        };
        (output / TILE * self.tiles_per_output_block() + block) * TILE_LEN + row * TILE + output % TILE
    }

    /// Packs weights; everything that belongs to no weight becomes zero.
    ///
    /// # Panics
    /// When a slice does not have the length of its form.
    pub fn pack(&self, plain: &[f32], packed: &mut [f32]) {
        assert_eq!((plain.len(), packed.len()), (self.plain_len(), self.packed_len()));
        packed.fill(0.0);
        self.for_each(|plain_index, packed_index| packed[packed_index] = plain[plain_index]);
    }

    /// Unpacks weights into their plain order.
    ///
    /// # Panics
    /// When a slice does not have the length of its form.
    pub fn unpack(&self, packed: &[f32], plain: &mut [f32]) {
        assert_eq!((plain.len(), packed.len()), (self.plain_len(), self.packed_len()));
        self.for_each(|plain_index, packed_index| plain[plain_index] = packed[packed_index]);
    }

    fn for_each(&self, mut visit: impl FnMut(usize, usize)) {
        let mut plain_index = 0;
        for output in 0..self.outputs {
            for channel in 0..self.channels {
                for position in 0..self.positions {
                    visit(plain_index, self.index(output, channel, position));
                    plain_index += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_map_has_its_own_place() {
        let maps = Format::ALL.map(|format| Map::new(3, 2, 37).in_format(format));
        for map in maps.into_iter().flat_map(|map| [map, map.of_single_pictures()]) {
            let batch = 19;
            let mut seen = vec![false; map.len(batch)];
            for picture in 0..batch {
                for pixel in 0..map.pixels() {
                    for channel in 0..map.channels {
                        assert!(!std::mem::replace(&mut seen[map.index(picture, pixel, channel)], true));
                    }
                }
            }
        }
    }

    #[test]
    fn packing_and_unpacking_return_the_weights() {
        for (gathered, format) in
            [(false, Format::F32), (true, Format::F32), (false, Format::Bf16), (true, Format::Bf16)]
        {
            let layout = WeightLayout { outputs: 18, channels: 5, positions: 9, gathered, format };
            assert!(layout.packed_len().is_multiple_of(TILE_LEN * (format.block() / TILE).pow(2)));
            let plain: Vec<f32> = (0..layout.plain_len()).map(|i| i as f32 + 1.0).collect();
            let mut packed = vec![f32::NAN; layout.packed_len()];
            layout.pack(&plain, &mut packed);
            assert_eq!(packed.iter().filter(|v| **v != 0.0).count(), plain.len());
            let mut back = vec![0.0; plain.len()];
            layout.unpack(&packed, &mut back);
            assert_eq!(back, plain);
        }
    }

    #[test]
    fn the_last_group_may_be_short() {
        let map = Map::new(1, 1, 1);
        assert_eq!(map.groups(36), 3);
        assert_eq!((0..3).map(|group| map.pictures(36, group)).collect::<Vec<_>>(), [16, 16, 4]);
    }
}
