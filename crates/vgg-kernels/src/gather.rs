//! Gathering the taps of the first convolution's window into channels.
//!
//! A picture of one or three channels would leave most of each block empty in every one
//! of the nine products of a 3×3 convolution. So the bytes under the window of a pixel are laid next
//! to each other as the channels of that pixel: channel `tap · channels + channel`, taps row by row.
//! The convolution over the picture is then a 1×1 convolution over these patches, with its weights
//! packed as [`crate::layout::WeightLayout::gathered`] says. A tap outside the picture is zero,
//! which is what padding with zeros means.
//!
//! The same pass turns bytes into values in 0..=1.

use crate::Kernels;
use crate::element::{Element, Format};
use crate::kernels::per_tier;
use crate::layout::Map;
use crate::parallel::Pool;

/// Channels in the largest block.
const LARGEST_BLOCK: usize = Format::Bf16.block();

/// The shape of the patches of `picture` under a `kernel`×`kernel` window, in `format`.
pub const fn patches_map(picture: Map, kernel: usize, format: Format) -> Map {
    Map { channels: kernel * kernel * picture.channels, format, ..picture }
}

/// Fills `patches`, packed as [`patches_map`] in their format, from `images`, bytes in the order
/// `[picture][row][column][channel]`. Channels of the padding and unused pictures become zero.
///
/// # Panics
/// When `kernel` is even, the picture is empty, or a slice does not have the length of its shape.
pub fn gather<T: Element>(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    picture: Map,
    kernel: usize,
    images: &[u8],
    patches: &mut [T],
) {
    let map = patches_map(picture, kernel, T::FORMAT);
    let picture_len = picture.pixels() * picture.channels;
    assert!(kernel % 2 == 1, "a window of {kernel}×{kernel} has no centre");
    assert!(picture_len > 0, "an empty picture: {picture:?}");
    assert_eq!(images.len(), batch * picture_len, "bytes of {batch} pictures of {picture:?}");
    assert_eq!(patches.len(), map.len(batch), "patches of {batch} pictures of {map:?}");
    let value_of_byte = std::array::from_fn(|byte| T::from_f32(byte as f32 / 255.0));
    pool.for_each_chunk(patches, map.width * map.pixel_len(), 1, |index, patches| {
        let (group, row) = (index / map.height, index % map.height);
        let pictures = map.pictures(batch, group);
        let images = &images[group * map.group * picture_len..][..pictures * picture_len];
        for (tile_index, tile) in patches.chunks_exact_mut(map.tile_len()).enumerate() {
            let (column, block) = (tile_index / map.blocks(), tile_index % map.blocks());
            let mut offsets = [None; LARGEST_BLOCK];
            let offsets = &mut offsets[..T::BLOCK];
            for (lane, offset) in offsets.iter_mut().enumerate() {
                *offset = offset_in_picture(picture, kernel, row, column, block * T::BLOCK + lane);
            }
            gather_tile(kernels, &value_of_byte, offsets, picture_len, images, tile);
        }
    });
}

/// Where in a picture the byte for channel `input` of the patch around a pixel lies; `None` where
/// the tap falls outside, or there is no such channel.
fn offset_in_picture(picture: Map, kernel: usize, row: usize, column: usize, input: usize) -> Option<usize> {
    let (tap, channel) = (input / picture.channels, input % picture.channels);
    if tap >= kernel * kernel {
        return None;
    }
    let y = (row + tap / kernel).checked_sub(kernel / 2).filter(|&y| y < picture.height)?;
    let x = (column + tap % kernel).checked_sub(kernel / 2).filter(|&x| x < picture.width)?;
    Some((y * picture.width + x) * picture.channels + channel)
}

per_tier! {
    fn gather_tile<T>(
        value_of_byte: &[T; 256],
        offsets: &[Option<usize>],
        picture_len: usize,
        images: &[u8],
        tile: &mut [T],
    ) {
        tile.fill(T::default());
        for (lane, offset) in offsets.iter().enumerate() {
            let Some(offset) = *offset else { continue };
            for (image, values) in images.chunks_exact(picture_len).zip(tile.chunks_exact_mut(T::BLOCK)) {
                values[lane] = value_of_byte[usize::from(image[offset])];
            }
        }
    }
}
