//! Gathering the taps of the first convolution's window into channels.
//!
//! A picture of one or three channels would leave most of each block empty in every one
//! of the nine products of a 3×3 convolution. So the bytes under the window of a pixel are laid next
//! to each other as the channels of that pixel: channel `tap · channels + channel`, taps row by row.
//! The convolution over the picture is then a 1×1 convolution over these patches, with its weights
//! packed as [`crate::layout::WeightLayout::gathered`] says. A tap outside the picture is zero,
//! which is what padding with zeros means.
//!
//! The same pass turns bytes into numbers: what each of the 256 bytes is in each channel stands in a
//! table, so that normalisation costs a step nothing.

use crate::contraction::Run;
use crate::element::{Element, Format};
use crate::kernels::per_tier;
use crate::layout::Map;

/// Values of a byte.
pub const BYTES: usize = 256;

/// Channels in the largest block.
const LARGEST_BLOCK: usize = Format::Bf16.block();

/// The shape of the patches of `picture` under a `kernel`×`kernel` window, in `format`.
pub const fn patches_map(picture: Map, kernel: usize, format: Format) -> Map {
    Map { channels: kernel * kernel * picture.channels, format, ..picture }
}

/// Fills the table `[channel][byte]` of [`gather`]: in a channel with this `mean` and `deviation` a byte
/// is `(byte/255 − mean) / deviation`, computed in f64 and rounded to f32 and then to the format. With
/// mean 0 and deviation 1 that is byte/255, rounded once.
///
/// # Panics
/// When there is not one mean, one deviation and [`BYTES`] values for each channel.
pub fn fill_table<T: Element>(mean: &[f32], deviation: &[f32], table: &mut [T]) {
    assert_eq!(mean.len(), deviation.len(), "a mean and a deviation for each channel");
    assert_eq!(table.len(), mean.len() * BYTES, "a table for {} channels", mean.len());
    for ((table, &mean), &deviation) in table.chunks_exact_mut(BYTES).zip(mean).zip(deviation) {
        for (byte, value) in table.iter_mut().enumerate() {
            *value = T::from_f32(((byte as f64 / 255.0 - f64::from(mean)) / f64::from(deviation)) as f32);
        }
    }
}

/// Fills `patches`, packed as [`patches_map`] in their format, from `images`, bytes in the order
/// `[picture][row][column][channel]`, which become what `table` says ([`fill_table`]). Taps outside the
/// picture, channels of the padding and unused pictures become zero.
///
/// # Panics
/// When `kernel` is even, the picture is empty, or a slice does not have the length of its shape.
pub fn gather<T: Element>(
    run: Run<'_>,
    picture: Map,
    kernel: usize,
    table: &[T],
    images: &[u8],
    patches: &mut [T],
) {
    let Run { kernels, pool, batch } = run;
    let map = patches_map(picture, kernel, T::FORMAT);
    let picture_len = picture.pixels() * picture.channels;
    assert!(kernel % 2 == 1, "a window of {kernel}×{kernel} has no centre");
    assert!(picture_len > 0, "an empty picture: {picture:?}");
    assert_eq!(images.len(), batch * picture_len, "bytes of {batch} pictures of {picture:?}");
    assert_eq!(patches.len(), map.len(batch), "patches of {batch} pictures of {map:?}");
    assert_eq!(table.len(), picture.channels * BYTES, "a table for {picture:?}");
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
            gather_tile(kernels, table, offsets, picture_len, images, tile);
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
        table: &[T],
        offsets: &[Option<usize>],
        picture_len: usize,
        images: &[u8],
        tile: &mut [T],
    ) {
        tile.fill(T::default());
        for (lane, offset) in offsets.iter().enumerate() {
            let Some(offset) = *offset else { continue };
            // The channels are innermost in a picture.
            let first = offset % (table.len() / BYTES) * BYTES;
            let value_of_byte: &[T; BYTES] = table[first..][..BYTES].try_into().expect("that many");
            for (image, values) in images.chunks_exact(picture_len).zip(tile.chunks_exact_mut(T::BLOCK)) {
                values[lane] = value_of_byte[usize::from(image[offset])];
            }
        }
    }
}
