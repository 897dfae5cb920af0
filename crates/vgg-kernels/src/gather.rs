//! Gathering the taps of the first convolution's window into channels.
//!
//! A picture of one or three channels would leave most of each 16-channel block empty in every one
//! of the nine products of a 3×3 convolution. So the bytes under the window of a pixel are laid next
//! to each other as the channels of that pixel: channel `tap · channels + channel`, taps row by row.
//! The convolution over the picture is then a 1×1 convolution over these patches, with its weights
//! packed as [`crate::layout::WeightLayout::gathered`] says. A tap outside the picture is zero,
//! which is what padding with zeros means.
//!
//! The same pass turns bytes into values in 0..=1.

use crate::Kernels;
use crate::kernels::per_tier;
use crate::layout::{Map, TILE, TILE_LEN, pictures_in_group};
use crate::parallel::Pool;

/// `byte / 255`, correctly rounded, for each byte.
static VALUE_OF_BYTE: [f32; 256] = values_of_bytes();

const fn values_of_bytes() -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        values[byte] = byte as f32 / 255.0;
        byte += 1;
    }
    values
}

/// The shape of the patches of `picture` under a `kernel`×`kernel` window.
pub const fn patches_map(picture: Map, kernel: usize) -> Map {
    Map::new(picture.height, picture.width, kernel * kernel * picture.channels)
}

/// Fills `patches`, packed as [`patches_map`], from `images`, bytes in the order
/// `[picture][row][column][channel]`. Channels of the padding and unused pictures become zero.
///
/// # Panics
/// When `kernel` is even, the picture is empty, or a slice does not have the length of its shape.
pub fn gather(
    kernels: &Kernels,
    pool: &Pool,
    batch: usize,
    picture: Map,
    kernel: usize,
    images: &[u8],
    patches: &mut [f32],
) {
    let map = patches_map(picture, kernel);
    let picture_len = picture.pixels() * picture.channels;
    assert!(kernel % 2 == 1, "a window of {kernel}×{kernel} has no centre");
    assert!(picture_len > 0, "an empty picture: {picture:?}");
    assert_eq!(images.len(), batch * picture_len, "bytes of {batch} pictures of {picture:?}");
    assert_eq!(patches.len(), map.len(batch), "patches of {batch} pictures of {map:?}");
    pool.for_each_chunk(patches, map.width * map.pixel_len(), 1, |index, patches| {
        let (group, row) = (index / map.height, index % map.height);
        let pictures = pictures_in_group(batch, group);
        let images = &images[group * TILE * picture_len..][..pictures * picture_len];
        for (tile_index, tile) in patches.chunks_exact_mut(TILE_LEN).enumerate() {
            let (column, block) = (tile_index / map.blocks(), tile_index % map.blocks());
            let mut offsets = [None; TILE];
            for (lane, offset) in offsets.iter_mut().enumerate() {
                *offset = offset_in_picture(picture, kernel, row, column, block * TILE + lane);
            }
            gather_tile(kernels, &offsets, picture_len, images, tile);
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
    fn gather_tile(
        offsets: &[Option<usize>; TILE],
        picture_len: usize,
        images: &[u8],
        tile: &mut [f32],
    ) {
        tile.fill(0.0);
        for (lane, offset) in offsets.iter().enumerate() {
            let Some(offset) = *offset else { continue };
            for (image, values) in images.chunks_exact(picture_len).zip(tile.chunks_exact_mut(TILE)) {
                values[lane] = VALUE_OF_BYTE[usize::from(image[offset])];
            }
        }
    }
}
