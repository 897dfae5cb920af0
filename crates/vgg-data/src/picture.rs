//! Single picture files: PNG and JPEG in, PNG out.
//!
//! A picture is turned into what a network takes, in this order: 16 bits become 8; transparent
//! pixels are laid over black, which is MNIST's background; colour becomes grey by the luma weights
//! of Rec. 709, or grey is repeated in all three channels; a picture of another size is stretched to
//! the network's, which a note tells; and the camera's rotation note is obeyed.
//!
//! Reading takes at most 64 MB of memory besides the size of the file. What would take more is
//! refused by its header.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageError, ImageFormat,
    ImageReader, Limits, RgbImage,
};

use crate::error::{DataError, ErrorKind, shown};
use crate::jpeg;
use crate::resize::{LONGEST_SIDE, Resizer};

/// The most memory that reading takes besides the file.
pub(crate) const MOST_MEMORY: u64 = 64 << 20;
/// What the memory is needed for besides decoding: resizing, and this and that.
const OTHER_MEMORY: u64 = 2 << 20;
/// More pixels take too much time.
const MOST_PIXELS: u64 = 32_000_000;
/// The JPEG decoder copies the file, and once more the notes in it.
const JPEG_COPIES: u64 = 2;
/// Longer JPEG files are refused: their copies would leave little room for pixels.
const MOST_JPEG_BYTES: usize = 20 << 20;
/// Longer files are refused unread; no picture that can be decoded comes near.
const MOST_FILE_BYTES: u64 = 64 << 20;
/// What a PNG file may hold besides its pixels: colour profile, notes.
const MOST_PNG_NOTES: u64 = 4 << 20;
/// The most pixels that may be wanted.
const MOST_WANTED_PIXELS: usize = 64 << 20;

const SAVE_AGAIN: &str = "save the picture again as PNG or JPEG";

/// Reads the PNG or JPEG file at `path` as `height × width × channels` bytes, `[y][x][channel]`,
/// and a note for the user if the picture had to be resized. `channels` is 1 for grey, 3 for colour.
///
/// # Errors
/// [`ErrorKind::Unreadable`] when the file is missing or cannot be read, [`ErrorKind::Invalid`]
/// when it is not a whole and healthy picture or one that takes too much memory,
/// [`ErrorKind::Argument`] for a wanted size of 0 or another number of channels than 1 or 3.
pub fn read_picture(
    path: &Path,
    height: usize,
    width: usize,
    channels: usize,
) -> Result<(Vec<u8>, Option<String>), DataError> {
    wanted_size(path, height, width, channels)?;
    fit(path, read_file(path)?, [height, width], channels)
}

/// Reads the picture of which `input` has the bytes, as [`read_picture`] does a file; `name` is what
/// messages call it.
///
/// # Errors
/// As [`read_picture`].
pub fn read_picture_from(
    name: &Path,
    input: impl Read,
    height: usize,
    width: usize,
    channels: usize,
) -> Result<(Vec<u8>, Option<String>), DataError> {
    wanted_size(name, height, width, channels)?;
    let mut bytes = Vec::new();
    input.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| {
        DataError::unreadable(name, error.to_string(), "check where the picture comes from")
    })?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let cause = format!("more than {MOST_FILE_BYTES} bytes long");
        return Err(DataError::invalid(name.display(), cause, "make the picture smaller"));
    }
    fit(name, bytes, [height, width], channels)
}

/// The picture in `bytes` in the wanted size, and a note if it had another.
fn fit(
    path: &Path,
    bytes: Vec<u8>,
    [height, width]: [usize; 2],
    channels: usize,
) -> Result<(Vec<u8>, Option<String>), DataError> {
    let decoded = guarded(path, || decode(path, &bytes))?;
    drop(bytes);
    let [old_height, old_width] = decoded.upright_size();
    let resized = [old_height, old_width] != [height, width];
    let note = resized.then(|| {
        format!(
            "{}: resized from {old_width}x{old_height} to {width}x{height} (width x height)",
            shown(path.display())
        )
    });
    Ok((decoded.fit([height, width], channels), note))
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
    let file = png(path, pixels, height, width, channels)?;
    std::fs::write(path, file).map_err(|error| unwritable(path, error.to_string()))
}

/// The bytes of a PNG file with `pixels`, `[y][x][channel]`. `channels` is 1 for grey, 3 for colour. `path` is what
/// an error names.
///
/// # Errors
/// [`ErrorKind::Argument`] when `pixels` is not of that size or the size cannot be written as PNG.
pub fn png(
    path: &Path,
    pixels: &[u8],
    height: usize,
    width: usize,
    channels: usize,
) -> Result<Vec<u8>, DataError> {
    let (rows, columns) = wanted_size(path, height, width, channels)?;
    if height.checked_mul(width).and_then(|size| size.checked_mul(channels)) != Some(pixels.len()) {
        let cause = format!("{} bytes of pixels, expected {height}x{width}x{channels}", pixels.len());
        return Err(DataError::argument(path.display(), cause, "give the size that the pixels have"));
    }
    let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut file = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut file, pixels, columns, rows, colour, ImageFormat::Png)
        .map_err(|error| unwritable(path, error.to_string()))?;
    Ok(file.into_inner())
}

fn unwritable(path: &Path, cause: String) -> DataError {
    let next = "check that the folder exists, may be written to, and has room";
    DataError::new(ErrorKind::Unwritable, path.display(), cause, next)
}

/// Height and width as the picture library counts, and checked.
fn wanted_size(path: &Path, height: usize, width: usize, channels: usize) -> Result<(u32, u32), DataError> {
    let sides = 1..=LONGEST_SIDE;
    let possible = sides.contains(&height) && sides.contains(&width) && height * width <= MOST_WANTED_PIXELS;
    if possible && matches!(channels, 1 | 3) {
        return Ok((height as u32, width as u32));
    }
    let cause = format!(
        "wanted as {height}x{width}x{channels} (height, width, channels); expected sides of 1 to {LONGEST_SIDE}, \
         at most {MOST_WANTED_PIXELS} pixels, 1 or 3 channels"
    );
    Err(DataError::argument(path.display(), cause, "use a network for grey or colour pictures"))
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
        return Err(DataError::invalid(path.display(), cause, "make the picture smaller"));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    // A file that grows meanwhile is read no further.
    let file = File::open(path).map_err(unreadable)?;
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What a picture file says of itself before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Height and width of the picture as it is looked at.
    pub(crate) size: [usize; 2],
    /// 1 for grey, 3 for colour.
    pub(crate) channels: usize,
    /// Bytes of memory that reading the picture takes at its peak, with its file and without the result.
    pub(crate) memory: u64,
}

/// Reads the header of a PNG or JPEG file, with the checks of [`read_picture`] that need no more.
pub(crate) fn read_header(path: &Path) -> Result<Header, DataError> {
    let bytes = read_file(path)?;
    guarded(path, || {
        let Opened { decoder, size, orientation, memory } = open_decoder(path, &bytes)?;
        let channels = if decoder.color_type().has_color() { 3 } else { 1 };
        let upright = if keeps_sides(orientation) { size } else { [size[1], size[0]] };
        Ok(Header { size: upright, channels, memory: memory + bytes.len() as u64 })
    })
}

/// Decoders work on outside data; a fault in one must cost a picture, not the program.
fn guarded<R>(path: &Path, read: impl FnOnce() -> Result<R, DataError>) -> Result<R, DataError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(DataError::invalid(path.display(), "the decoder failed on it", SAVE_AGAIN)))
}

/// A decoded picture, as it lies in its file.
struct Decoded {
    /// Height and width.
    size: [usize; 2],
    kind: ColorType,
    orientation: Orientation,
    /// `[y][x][channel]`, samples of 8 or 16 bits in the machine's order.
    samples: Vec<u8>,
}

/// A picture whose header has been read and found acceptable.
struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    /// Height and width, as it lies in its file.
    size: [usize; 2],
    orientation: Orientation,
    /// Bytes of memory that decoding takes at its peak, besides the file.
    memory: u64,
}

/// The picture in `bytes`, whose kind is told by their beginning, ready to be decoded.
fn open_decoder<'a>(path: &Path, bytes: &'a [u8]) -> Result<Opened<'a>, DataError> {
    let invalid = |cause: String| DataError::invalid(path.display(), cause, SAVE_AGAIN);
    let damaged = |error: ImageError| damaged(path, &error);
    let format = image::guess_format(bytes).ok();
    let Some(format) = format.filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg)) else {
        let found = format
            .map_or("is of an unknown kind".into(), |format| format!("is a picture of kind {format:?}"));
        return Err(invalid(format!("{found}, expected PNG or JPEG")));
    };
    // From the header of the file itself, as its decoder says nothing of the memory it will take.
    let frame = match format {
        ImageFormat::Jpeg => Some(check_jpeg(path, bytes)?),
        _ => None,
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_PNG_NOTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    let memory = match frame {
        None => {
            // Some rows are unpacked at a time, and notes are copied.
            let row = u64::from(width) * u64::from(decoder.color_type().bytes_per_pixel());
            let for_pixels = decoder.total_bytes() + 4 * row;
            check_size(path, [width, height], for_pixels, 2 * MOST_PNG_NOTES)?;
            for_pixels + 2 * MOST_PNG_NOTES
        }
        Some(frame) if (frame.width, frame.height) != (width, height) => {
            return Err(invalid("cannot be decoded (it has several sizes)".into()));
        }
        Some(frame) => frame.memory() + JPEG_COPIES * bytes.len() as u64,
    };
    let orientation = decoder.orientation().map_err(damaged)?;
    let size = [height as usize, width as usize];
    Ok(Opened { decoder: Box::new(decoder), size, orientation, memory: memory + OTHER_MEMORY })
}

/// The picture in `bytes`.
fn decode(path: &Path, bytes: &[u8]) -> Result<Decoded, DataError> {
    let Opened { decoder, size, orientation, .. } = open_decoder(path, bytes)?;
    let kind = decoder.color_type();
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image_boxed(&mut samples).map_err(|error| damaged(path, &error))?;
    Ok(Decoded { size, kind, orientation, samples })
}

fn damaged(path: &Path, error: &ImageError) -> DataError {
    DataError::invalid(path.display(), format!("cannot be decoded ({error})"), SAVE_AGAIN)
}

/// Refuses a JPEG file that is cut off, too long, or too large when it is decoded.
fn check_jpeg(path: &Path, bytes: &[u8]) -> Result<jpeg::Frame, DataError> {
    if bytes.len() > MOST_JPEG_BYTES {
        let cause = format!("{} bytes long, expected at most {MOST_JPEG_BYTES} of a JPEG file", bytes.len());
        return Err(DataError::invalid(path.display(), cause, "make the picture smaller"));
    }
    if !jpeg::is_whole(bytes) {
        let cause = "the JPEG data end too early (truncated file)";
        return Err(DataError::invalid(path.display(), cause, SAVE_AGAIN));
    }
    let frame = jpeg::Frame::find(bytes).ok_or_else(|| {
        DataError::invalid(path.display(), "cannot be decoded (no picture is in the JPEG file)", SAVE_AGAIN)
    })?;
    check_size(path, [frame.width, frame.height], frame.memory(), JPEG_COPIES * bytes.len() as u64)?;
    Ok(frame)
}

/// Refuses a picture with a side that is too long, too many pixels, or more memory for them than is
/// allowed besides `fixed`, which the file takes whatever its pixels.
fn check_size(path: &Path, [width, height]: [u32; 2], for_pixels: u64, fixed: u64) -> Result<(), DataError> {
    let (pixels, allowed) = (u64::from(width) * u64::from(height), MOST_MEMORY - OTHER_MEMORY - fixed);
    let cause = if width.max(height) as usize > LONGEST_SIDE {
        format!("expected sides of at most {LONGEST_SIDE}")
    } else if pixels > MOST_PIXELS {
        format!("expected at most {} million in all", MOST_PIXELS / 1_000_000)
    } else if for_pixels > allowed {
        format!("which take {} MB of memory, expected at most {}", for_pixels >> 20, allowed >> 20)
    } else {
        return Ok(());
    };
    // How many there could be if each took as much.
    let most = (pixels as f64 * allowed as f64 / for_pixels as f64).min(MOST_PIXELS as f64);
    let advice = format!("make the picture smaller, of this kind at most about {:.1} megapixels", most / 1e6);
    Err(DataError::invalid(path.display(), format!("{width}x{height} pixels, {cause}"), advice))
}

/// Whether the camera was held upright or upside down, so that height and width stay.
fn keeps_sides(orientation: Orientation) -> bool {
    use Orientation::{FlipHorizontal, FlipVertical, NoTransforms, Rotate180};
    matches!(orientation, NoTransforms | Rotate180 | FlipHorizontal | FlipVertical)
}

impl Decoded {
    /// Height and width of the picture as it is looked at.
    fn upright_size(&self) -> [usize; 2] {
        let [height, width] = self.size;
        if keeps_sides(self.orientation) { [height, width] } else { [width, height] }
    }

    /// The upright picture in the size `[height, width]`. It is resized as it lies, as a copy in full
    /// size would take its memory twice, and then turned.
    fn fit(self, [height, width]: [usize; 2], channels: usize) -> Vec<u8> {
        let lying = if keeps_sides(self.orientation) { [height, width] } else { [width, height] };
        let mut resizer = Resizer::new(self.size, lying, channels);
        let row_bytes = self.size[1] * usize::from(self.kind.bytes_per_pixel());
        let (mut narrow, mut row) = (Vec::new(), Vec::new());
        for samples in self.samples.chunks_exact(row_bytes) {
            let samples = if self.kind.bytes_per_pixel() > self.kind.channel_count() {
                narrow.clear();
                let wide = samples.as_chunks().0.iter().map(|&sample| u16::from_ne_bytes(sample));
                narrow.extend(wide.map(|sample| ((u32::from(sample) + 128) / 257) as u8));
                &narrow
            } else {
                samples
            };
            row.clear();
            convert(samples, self.kind.channel_count(), channels, &mut row);
            resizer.push(&row);
        }
        drop(self.samples);
        turned(resizer.finish(), lying, channels, self.orientation)
    }
}

/// Pixels of 1 to 4 samples (grey or colour, with transparency or not) over black, as grey or colour.
fn convert(samples: &[u8], from: u8, to: usize, row: &mut Vec<u8>) {
    let darken = |value: u8, alpha: u8| ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8;
    for pixel in samples.chunks_exact(from.into()) {
        let (colour, alpha) = match *pixel {
            [grey] => ([grey; 3], 255),
            [grey, alpha] => ([grey; 3], alpha),
            [red, green, blue, alpha] => ([red, green, blue], alpha),
            _ => ([pixel[0], pixel[1], pixel[2]], 255),
        };
        let colour = colour.map(|value| darken(value, alpha));
        if to == 1 {
            let [red, green, blue] = colour.map(u32::from);
            row.push(((2126 * red + 7152 * green + 722 * blue) / 10_000) as u8);
        } else {
            row.extend(colour);
        }
    }
}

/// The picture of `[height, width]` turned as `orientation` says.
fn turned(
    pixels: Vec<u8>,
    [height, width]: [usize; 2],
    channels: usize,
    orientation: Orientation,
) -> Vec<u8> {
    if orientation == Orientation::NoTransforms {
        return pixels;
    }
    let (columns, rows) = (width as u32, height as u32);
    let picture = match channels {
        1 => GrayImage::from_raw(columns, rows, pixels).map(DynamicImage::ImageLuma8),
        _ => RgbImage::from_raw(columns, rows, pixels).map(DynamicImage::ImageRgb8),
    };
    let mut picture = picture.expect("the resizer gives as many pixels as it was asked for");
    picture.apply_orientation(orientation);
    picture.into_bytes()
}
