//! PNG and JPEG files: conversions, resizing, and that no file can do harm.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use image::{DynamicImage, GrayAlphaImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use tempfile::TempDir;
use vgg_data::{ErrorKind, read_picture, read_picture_from, write_png};

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A file of these bytes; the folder must be kept for as long as the file is used.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A red to green ramp with enough detail to fill some JPEG blocks.
fn ramp(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 6) as u8, (x * y) as u8]))
}

#[track_caller]
fn refused(name: &str, bytes: &[u8], cause: &str, advice: &str) {
    let (_folder, path) = file(name, bytes);
    let error = read_picture(&path, 28, 28, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let message = error.to_string();
    assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
    assert!(message.contains(cause), "{message}");
    assert!(message.contains(&format!("; {advice}")), "{message}");
}

#[test]
fn png_gives_back_every_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let grey: Vec<u8> = (0..=255).collect();
    write_png(&path, &grey, 8, 32, 1).unwrap();
    assert_eq!(read_picture(&path, 8, 32, 1).unwrap(), (grey.clone(), None));
    let replicated: Vec<u8> = grey.iter().flat_map(|&value| [value; 3]).collect();
    assert_eq!(read_picture(&path, 8, 32, 3).unwrap(), (replicated, None));

    let colour = ramp(9, 4).into_raw();
    write_png(&path, &colour, 4, 9, 3).unwrap();
    assert_eq!(read_picture(&path, 4, 9, 3).unwrap(), (colour, None));
}

#[test]
fn pictures_come_from_any_reader() {
    let bytes = encoded(ramp(9, 4), ImageFormat::Png);
    let name = std::path::Path::new("standard input");
    let (_folder, path) = file("a.png", &bytes);
    let pixels = read_picture(&path, 4, 9, 3).unwrap();
    assert_eq!(read_picture_from(name, &bytes[..], 4, 9, 3).unwrap(), pixels);
    let (_, note) = read_picture_from(name, &bytes[..], 8, 18, 3).unwrap();
    assert_eq!(note.unwrap(), "standard input: resized from 9x4 to 18x8 (width x height)");
    for (input, cause) in
        [(&bytes[..60], "standard input: cannot be decoded"), (&[], "is of an unknown kind")]
    {
        let error = read_picture_from(name, input, 4, 9, 3).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(cause), "{error}");
    }
    // A fault of the reader, and one that never ends.
    let unreadable = read_picture_from(name, FailingReader, 4, 9, 3).unwrap_err();
    assert_eq!(unreadable.kind(), ErrorKind::Unreadable);
    let endless = read_picture_from(name, std::io::repeat(0), 4, 9, 3).unwrap_err();
    assert!(endless.to_string().contains("more than 67108864 bytes long"), "{endless}");
}

struct FailingReader;

impl std::io::Read for FailingReader {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn colour_becomes_grey_by_luma() {
    let picture = RgbImage::from_vec(4, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]).unwrap();
    let (_folder, path) = file("a.png", &encoded(picture, ImageFormat::Png));
    // 0.2126, 0.7152 and 0.0722 of 255.
    assert_eq!(read_picture(&path, 1, 4, 1).unwrap().0, [54, 182, 18, 9]);
}

#[test]
fn transparency_shows_black() {
    let grey = GrayAlphaImage::from_fn(3, 1, |x, _| LumaA([200, [0, 128, 255][x as usize]]));
    let (_folder, path) = file("a.png", &encoded(grey, ImageFormat::Png));
    assert_eq!(read_picture(&path, 1, 3, 1).unwrap().0, [0, 100, 200]);
    let colour = ImageBuffer::from_pixel(1, 1, Rgba([255_u8, 100, 0, 51]));
    let (_folder, path) = file("b.png", &encoded(colour, ImageFormat::Png));
    assert_eq!(read_picture(&path, 1, 1, 3).unwrap().0, [51, 20, 0]);
}

#[test]
fn sixteen_bits_become_eight() {
    let picture = ImageBuffer::<Luma<u16>, _>::from_vec(3, 1, vec![0_u16, 0x8080, 0xffff]).unwrap();
    let (_folder, path) = file("a.png", &encoded(picture, ImageFormat::Png));
    assert_eq!(read_picture(&path, 1, 3, 1).unwrap().0, [0, 0x80, 0xff]);
}

#[test]
fn another_size_is_resized_with_a_note() {
    let flat = RgbImage::from_pixel(40, 32, Rgb([70, 70, 70]));
    let (_folder, path) = file("a.png", &encoded(flat, ImageFormat::Png));
    let (pixels, note) = read_picture(&path, 28, 27, 1).unwrap();
    assert_eq!(pixels, [70; 28 * 27]);
    let expected = format!("{}: resized from 40x32 to 27x28 (width x height)", path.display());
    assert_eq!(note, Some(expected));
    // Halving a checkerboard of single pixels gives its mean inside: nothing is merely left out.
    let checkers = RgbImage::from_fn(16, 16, |x, y| Rgb([if (x + y) % 2 == 0 { 200 } else { 0 }; 3]));
    let (_folder, path) = file("b.png", &encoded(checkers, ImageFormat::Png));
    let (pixels, _) = read_picture(&path, 8, 8, 3).unwrap();
    assert_eq!(pixels.len(), 8 * 8 * 3);
    assert!(pixels.iter().all(|&value| (85..=115).contains(&value)), "{pixels:?}");
}

#[test]
fn jpeg_is_read_whatever_its_name() {
    let (_folder, path) = file("a.png", &encoded(ramp(24, 16), ImageFormat::Jpeg));
    let (pixels, note) = read_picture(&path, 16, 24, 3).unwrap();
    assert_eq!(note, None);
    let error: u32 = pixels.iter().zip(ramp(24, 16).as_raw()).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
    assert!(error < 20 * pixels.len() as u32, "mean error {}", error as f32 / pixels.len() as f32);
}

#[test]
fn the_cameras_rotation_is_obeyed() {
    // Left half white; turned a quarter clockwise (orientation 6), the upper half is white.
    let picture = RgbImage::from_fn(16, 16, |x, _| Rgb([if x < 8 { 255 } else { 0 }; 3]));
    let jpeg = encoded(picture, ImageFormat::Jpeg);
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let (_folder, path) = file("a.jpg", &turned);
    let (pixels, _) = read_picture(&path, 16, 16, 1).unwrap();
    assert!(pixels[..128].iter().all(|&value| value > 200) && pixels[128..].iter().all(|&value| value < 50));
}

#[test]
fn what_is_no_picture_is_refused() {
    let advice = "save the picture again as PNG or JPEG";
    refused("a.png", b"", "is of an unknown kind, expected PNG or JPEG", advice);
    refused("a.png", b"just some text", "is of an unknown kind, expected PNG or JPEG", advice);
    refused("a.png", b"GIF89a\x01\x00\x01\x00", "is a picture of kind Gif, expected PNG or JPEG", advice);
    refused("a.jpg", b"\xff\xd8\xff\xe0 no more", "cannot be decoded (", advice);
}

#[test]
fn truncated_pictures_are_refused() {
    let advice = "save the picture again as PNG or JPEG";
    let png = encoded(ramp(24, 16), ImageFormat::Png);
    refused("a.png", &png[..png.len() / 2], "cannot be decoded (", advice);
    let jpeg = encoded(ramp(24, 16), ImageFormat::Jpeg);
    refused("a.jpg", &jpeg[..jpeg.len() - 10], "the JPEG data end too early (truncated file)", advice);
    let mut damaged = png.clone();
    let place = png.len() / 2;
    damaged[place] ^= 0x55;
    refused("a.png", &damaged, "cannot be decoded (", advice);
}

#[test]
fn too_large_pictures_are_refused_by_their_header() {
    // A PNG of 70,000 × 70,000 pixels in 57 bytes: signature, header with its checksum, empty data.
    let mut header = b"IHDR".to_vec();
    header.extend([70_000_u32.to_be_bytes(), 70_000_u32.to_be_bytes()].concat());
    header.extend([8, 0, 0, 0, 0]);
    let mut checksum = flate2::Crc::new();
    checksum.update(&header);
    let png = [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0d",
        &header[..],
        &checksum.sum().to_be_bytes(),
        b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82",
    ]
    .concat();
    refused("a.png", &png, "70000x70000 pixels, expected sides of at most 65535", "make the picture smaller");
}

#[test]
fn every_truncation_and_many_damages_end_in_an_error_or_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let whole = encoded(ramp(12, 9), format);
        for place in 0..whole.len() {
            // PNG ends with a chunk of 12 bytes that holds nothing; without it the picture is whole.
            if place + 12 < whole.len() || format == ImageFormat::Jpeg {
                fs::write(&path, &whole[..place]).unwrap();
                read_picture(&path, 9, 12, 1).unwrap_err();
            }
            let mut damaged = whole.clone();
            damaged[place] ^= 0xff;
            fs::write(&path, &damaged).unwrap();
            if let Ok((pixels, _)) = read_picture(&path, 9, 12, 1) {
                assert_eq!(pixels.len(), 9 * 12);
            }
        }
    }
}

#[test]
fn missing_files_unwritable_places_and_impossible_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.png");
    let error = read_picture(&path, 28, 28, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.to_string().ends_with("; check the path and its permissions"), "{error}");
    assert_eq!(read_picture(folder.path(), 28, 28, 1).unwrap_err().kind(), ErrorKind::Unreadable);

    for (height, width, channels) in [(0, 28, 1), (28, 28, 2), (usize::MAX, 1, 1), (1 << 20, 1 << 20, 1)] {
        let error = read_picture(&path, height, width, channels).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{error}");
    }

    let error = write_png(&folder.path().join("none/a.png"), &[0; 4], 2, 2, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unwritable);
    assert!(error.to_string().contains("check that the folder exists"), "{error}");
    let error = write_png(&path, &[0; 5], 2, 2, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("5 bytes of pixels, expected 2x2x1"), "{error}");
    assert!(!path.exists());
}

#[cfg(unix)]
#[test]
fn a_hostile_name_is_shown_on_one_line() {
    let (_folder, path) = file("a\r\nb\u{1b}[2J.png", b"no picture");
    let message = read_picture(&path, 28, 28, 1).unwrap_err().to_string();
    assert!(message.contains("a\\r\\nb\\u{1b}[2J.png: is of an unknown kind"), "{message:?}");
    let (_folder, path) = file("a\nb.png", &encoded(ramp(2, 2), ImageFormat::Png));
    let (_, note) = read_picture(&path, 28, 28, 1).unwrap();
    assert!(note.unwrap().contains("a\\nb.png: resized from 2x2"));
}

#[test]
fn all_orientations_of_one_picture_give_the_same_pixels() {
    let upright = DynamicImage::from(ramp(37, 23));
    // What must be done to an upright picture so that the note, obeyed, undoes it.
    let lying = [
        upright.clone(),
        upright.fliph(),
        upright.rotate180(),
        upright.flipv(),
        upright.rotate90().fliph(),
        upright.rotate270(),
        upright.rotate90().flipv(),
        upright.rotate90(),
    ];
    let mut all = Vec::new();
    for (index, picture) in lying.into_iter().enumerate() {
        let png = encoded(picture, ImageFormat::Png);
        let mut chunk = b"eXIfMM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        chunk.extend([index as u8 + 1, 0, 0, 0, 0, 0, 0]);
        let mut checksum = flate2::Crc::new();
        checksum.update(&chunk);
        // Behind the signature of 8 bytes and the header of 25.
        let length = (chunk.len() as u32 - 4).to_be_bytes();
        let bytes = [&png[..33], &length, &chunk, &checksum.sum().to_be_bytes(), &png[33..]].concat();
        let (_folder, path) = file("a.png", &bytes);
        all.push(read_picture(&path, 28, 28, 3).unwrap().0);
    }
    for (index, pixels) in all.iter().enumerate() {
        assert!(*pixels == all[0], "orientation {}", index + 1);
    }
}
