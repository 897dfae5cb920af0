//! Single picture files: PNG and JPEG in, PNG out.
//!
//! A picture is turned into what a network takes, in this order: the camera's rotation note is
//! obeyed; transparent pixels are laid over black, which is MNIST's background; 16 bits become 8;
//! colour becomes grey by the luma weights of Rec. 709, or grey is repeated in all three channels;
//! and a picture of another size is stretched to the network's, which a note tells.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::imageops::FilterType;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    Rgb, RgbImage,
};

use crate::error::{DataError, ErrorKind};

/// Pictures with more pixels are refused by their header.
const MOST_PIXELS: u64 = 64 << 20;
/// The largest decoded pixel: four channels of 16 bits.
const MOST_BYTES_PER_PIXEL: u64 = 8;
/// Longer files are refused unread; no PNG or JPEG below [`MOST_PIXELS`] comes near.
const MOST_FILE_BYTES: u64 = 1 << 30;

const SAVE_AGAIN: &str = "save the picture again as PNG or JPEG";

/// Reads the PNG or JPEG file at `path` as `height × width × channels` bytes, `[y][x][channel]`,
/// and a note for the user if the picture had to be resized. `channels` is 1 for grey, 3 for colour.
///
/// # Errors
/// [`ErrorKind::Unreadable`] when the file is missing or cannot be read, [`ErrorKind::Invalid`]
/// when it is not a whole and healthy picture, [`ErrorKind::Argument`] for a wanted size of 0 or
/// another number of channels than 1 or 3.
pub fn read_picture(
    path: &Path,
    height: usize,
    width: usize,
    channels: usize,
) -> Result<(Vec<u8>, Option<String>), DataError> {
    let (rows, columns) = wanted_size(path, height, width, channels)?;
    let bytes = read_file(path)?;
    // Decoders work on outside data; a fault in one must cost a picture, not the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode(path, &bytes))).unwrap_or_else(|_| {
        Err(DataError::invalid(path.display(), "the decoder failed on it", SAVE_AGAIN))
    })?;

    let (old_width, old_height) = (decoded.width(), decoded.height());
    let resized = (old_width, old_height) != (columns, rows);
    let note = resized.then(|| {
        format!(
            "{}: resized from {old_width}x{old_height} to {width}x{height} (width x height)",
            path.display()
        )
    });
    let opaque = lay_over_black(decoded);
    // Each branch resizes after the change of colour, on bytes of one or three channels.
    let pixels = if channels == 1 {
        let grey = opaque.into_luma8();
        let fitted = resized.then(|| image::imageops::resize(&grey, columns, rows, FilterType::Triangle));
        fitted.unwrap_or(grey).into_raw()
    } else {
        let colour = opaque.into_rgb8();
        let fitted = resized.then(|| image::imageops::resize(&colour, columns, rows, FilterType::Triangle));
        fitted.unwrap_or(colour).into_raw()
    };
    Ok((pixels, note))
}

/// Writes `pixels`, `[y][x][channel]`, as a PNG file. `channels` is 1 for grey, 3 for colour.
///
/// # Errors
/// [`ErrorKind::Argument`] when `pixels` is not of that size or the size cannot be written as PNG,
/// [`ErrorKind::Unwritable`] when the file cannot be written.
pub fn write_png(
    path: &Path,
    pixels: &[u8],
    height: usize,
    width: usize,
    channels: usize,
) -> Result<(), DataError> {
    let (rows, columns) = wanted_size(path, height, width, channels)?;
    if height.checked_mul(width).and_then(|size| size.checked_mul(channels)) != Some(pixels.len()) {
        let cause = format!("{} bytes of pixels, expected {height}x{width}x{channels}", pixels.len());
        return Err(DataError::argument(path.display(), cause, "give the size that the pixels have"));
    }
    let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut file = Cursor::new(Vec::new());
    let unwritable = |cause: String| {
        DataError::new(
            ErrorKind::Unwritable,
            path.display(),
            cause,
            "check that the folder exists, may be written to, and has room",
        )
    };
    image::write_buffer_with_format(&mut file, pixels, columns, rows, colour, ImageFormat::Png)
        .map_err(|error| unwritable(error.to_string()))?;
    std::fs::write(path, file.into_inner()).map_err(|error| unwritable(error.to_string()))
}

/// Height and width as the picture library counts, and checked.
fn wanted_size(path: &Path, height: usize, width: usize, channels: usize) -> Result<(u32, u32), DataError> {
    let sizes = u32::try_from(height).ok().zip(u32::try_from(width).ok());
    let sizes = sizes.filter(|&(rows, columns)| {
        let pixels = u64::from(rows) * u64::from(columns);
        pixels > 0 && pixels <= MOST_PIXELS
    });
    sizes.filter(|_| matches!(channels, 1 | 3)).ok_or_else(|| {
        let cause = format!(
            "wanted as {height}x{width}x{channels} (height, width, channels); expected 1 to {MOST_PIXELS} pixels, \
             1 or 3 channels"
        );
        DataError::argument(path.display(), cause, "use a network for grey or colour pictures")
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |error: std::io::Error| {
        DataError::unreadable(path, error.to_string(), "check the path and its permissions")
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(DataError::unreadable(path, "is not a file", "give a PNG or JPEG file"));
    }
    if metadata.len() > MOST_FILE_BYTES {
        let cause = format!("{} bytes long, expected at most {MOST_FILE_BYTES}", metadata.len());
        return Err(DataError::invalid(path.display(), cause, "give a smaller picture"));
    }
    std::fs::read(path).map_err(unreadable)
}

/// The upright picture in `bytes`, whose kind is told by their beginning.
fn decode(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    let damaged = |error: ImageError| {
        DataError::invalid(path.display(), format!("cannot be decoded ({error})"), SAVE_AGAIN)
    };
    let format = image::guess_format(bytes).ok();
    let Some(format) = format.filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg)) else {
        let found = format
            .map_or("is of an unknown kind".into(), |format| format!("is a picture of kind {format:?}"));
        return Err(DataError::invalid(path.display(), format!("{found}, expected PNG or JPEG"), SAVE_AGAIN));
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(DataError::invalid(
            path.display(),
            "the JPEG data end too early (truncated file)",
            SAVE_AGAIN,
        ));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_PIXELS * MOST_BYTES_PER_PIXEL);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let cause = format!("{width}x{height} pixels, expected at most {MOST_PIXELS} in all");
        return Err(DataError::invalid(path.display(), cause, "make the picture smaller"));
    }
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Whether the end marker FF D9 follows the last start of a scan, FF DA. The decoder would fill
/// what is missing with grey and say nothing. Inside a scan every FF of the data is followed by 00.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    match (last([0xff, 0xda]), last([0xff, 0xd9])) {
        (Some(scan), Some(end)) => end > scan,
        // Without a scan it is no JPEG; the decoder says why.
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// Each transparent pixel darkened by its transparency.
fn lay_over_black(picture: DynamicImage) -> DynamicImage {
    if !matches!(picture.color(), ColorType::La8 | ColorType::La16 | ColorType::Rgba8 | ColorType::Rgba16) {
        return picture;
    }
    let picture = picture.into_rgba8();
    let darken = |value: u8, alpha: u8| ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8;
    DynamicImage::ImageRgb8(RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        Rgb([red, green, blue].map(|value| darken(value, alpha)))
    }))
}
