//! The largest files of each kind that are accepted keep to the memory that is promised, and the
//! next larger ones are refused. Small changes of small seeds never come here.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vgg_fuzz::made::{Jpeg, black_png};
use vgg_fuzz::{Cost, Limits, PeakAlloc, cost};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MOST: usize = 64 << 20;

/// Lets one test work at a time: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a picture as 28 × 28 × 3 bytes; gives whether it was accepted.
fn accepted(what: &str, bytes: Vec<u8>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    fs::write(&path, &bytes).unwrap();
    let file = bytes.len();
    drop(bytes);
    let (result, Cost { memory: peak, time }) = cost(|| vgg_data::read_picture(&path, 28, 28, 3));
    let outcome = result.as_ref().map_or_else(|error| format!("{error}"), |_| "accepted".into());
    println!(
        "{what}: {:.1} MB and a file of {:.1}, {time:?}: {outcome}",
        peak as f64 / 1e6,
        file as f64 / 1e6
    );
    assert!(peak <= MOST + file, "{what}: {peak} bytes of memory for a file of {file}");
    assert!(time < Limits::LENIENT.time, "{what}: {time:?}");
    if let Err(error) = &result {
        let message = error.to_string();
        assert!(message.contains("make the picture smaller") && message.contains("megapixels"), "{message}");
        assert!(peak < (2 << 20) + 3 * file, "{what}: refused after taking {peak} bytes");
    }
    result.is_ok()
}

#[test]
fn photographs_of_12_megapixels_are_accepted() {
    let _guard = alone();
    for size in [[4032, 3024], [3024, 4032]] {
        assert!(accepted("a photograph", Jpeg::new(size[0], size[1]).bytes()));
    }
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = Jpeg { before: exif.to_vec(), ..Jpeg::new(4032, 3024) };
    assert!(accepted("a photograph on its side", turned.bytes()));
    let full = Jpeg { sampling: vec![0x11; 3], ..Jpeg::new(4032, 3024) };
    assert!(accepted("a photograph with full colour", full.bytes()));
    assert!(accepted("a screenshot", black_png(4032, 3024, 8, 2)));
}

/// A picture of `height` rows is accepted, and one a tenth higher is not.
fn most(what: &str, height: u32, make: impl Fn(u32) -> Vec<u8>) {
    assert!(accepted(what, make(height)), "{what}, {height} rows");
    assert!(!accepted(what, make(height + height / 10)), "{what}, a tenth more than {height} rows");
}

/// A kind of JPEG file (name, frame, sampling, components apart), its width, and a height near the most.
type Case = (&'static str, u8, &'static [u8], bool, u16, u32);

#[test]
fn the_largest_jpeg_files_keep_to_the_memory() {
    let _guard = alone();
    let cases: [Case; 12] = [
        ("baseline", 0xc0, &[0x22, 0x11, 0x11], false, 4000, 5150),
        ("baseline, wide", 0xc0, &[0x22, 0x11, 0x11], false, 65_535, 195),
        ("a quarter across, wide", 0xc0, &[0x41, 0x11, 0x11], false, 65_535, 250),
        ("a quarter both ways, wide", 0xc0, &[0x44, 0x11, 0x11], false, 65_535, 73),
        ("print", 0xc0, &[0x11; 4], false, 4000, 5200),
        ("print, wide", 0xc0, &[0x11; 4], false, 65_535, 230),
        ("progressive", 0xc2, &[0x22, 0x11, 0x11], false, 4000, 2550),
        ("progressive, wide", 0xc2, &[0x22, 0x11, 0x11], false, 65_535, 96),
        ("progressive, full colour", 0xc2, &[0x11; 3], false, 4000, 1720),
        ("progressive, print", 0xc2, &[0x11; 4], false, 4000, 1320),
        ("components apart", 0xc0, &[0x22, 0x11, 0x11], true, 4000, 2550),
        ("grey", 0xc0, &[0x11], false, 4000, 7900),
    ];
    for (what, frame, sampling, apart, width, height) in cases {
        let make = |height: u32| {
            let size = [width, height as u16];
            Jpeg { frame, sampling: sampling.to_vec(), apart, size, ..Jpeg::new(0, 0) }.bytes()
        };
        most(what, height, make);
    }
}

#[test]
fn the_largest_png_files_keep_to_the_memory() {
    let _guard = alone();
    let cases = [
        ("1 bit", 0, 1, 4000, 7900),
        ("grey, wide", 0, 8, 65_535, 480),
        ("palette", 3, 8, 4000, 4650),
        ("colour", 2, 8, 4000, 4650),
        ("transparent", 6, 8, 4000, 3500),
        ("transparent, 16 bits", 6, 16, 4000, 1720),
        ("transparent, 16 bits, wide", 6, 16, 65_535, 102),
    ];
    for (what, colour, bits, width, height) in cases {
        most(what, height, |height| black_png(width, height, bits, colour));
    }
}

/// Each scan goes over the whole picture again, however little is in it.
#[test]
fn many_scans_take_no_long_time() {
    let _guard = alone();
    let progressive = Jpeg { frame: 0xc2, more_scans: 95, ..Jpeg::new(4000, 2300) };
    let apart = Jpeg { apart: true, more_scans: 300, ..Jpeg::new(4000, 1500) };
    let grey = Jpeg { sampling: vec![0x11], ..progressive.clone() };
    for (what, jpeg) in [("progressive", progressive), ("grey", grey), ("apart", apart)] {
        let bytes = jpeg.bytes();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        fs::write(&path, &bytes).unwrap();
        let (result, Cost { memory, time }) = cost(|| vgg_data::read_picture(&path, 28, 28, 3));
        let outcome = result.map_or_else(|error| error.to_string(), |_| "accepted".into());
        println!("{what}, many scans: {time:?}, a file of {}: {outcome}", bytes.len());
        assert!(
            memory <= MOST + bytes.len() && time < Limits::LENIENT.time,
            "{what}: {memory} bytes, {time:?}"
        );
    }
}

/// Notes in a JPEG file are copied by its decoder.
#[test]
fn long_files_keep_to_the_memory() {
    let _guard = alone();
    let profile = [&b"\xff\xe2\xff\xffICC_PROFILE\0\x01\x01"[..], &[7; 65_533 - 14]].concat();
    for (count, [width, height], expected) in
        [(128, [4032, 3024], true), (304, [64, 64], true), (304, [4032, 3024], false)]
    {
        let jpeg = Jpeg { before: profile.repeat(count), ..Jpeg::new(width, height) };
        assert_eq!(accepted("a long profile", jpeg.bytes()), expected);
    }
}

/// Packed data may take some memory more than their files have, and no more.
#[test]
fn packed_data_keep_to_the_memory() {
    let _guard = alone();
    let folder = tempfile::tempdir().unwrap();
    // 1 × 1 pixel: as many labels as pixels, the costly case.
    for (pictures, expected) in [(3_000_000, true), (4_000_000, false)] {
        let mut files = 0;
        for (part, count) in [("train", pictures), ("t10k", pictures)] {
            for (name, sizes, last) in
                [("images-idx3", vec![count, 1, 1], 0), ("labels-idx1", vec![count], 1)]
            {
                let sizes_bytes: Vec<u8> = sizes.iter().flat_map(|size: &u32| size.to_be_bytes()).collect();
                let mut bytes =
                    [&[0, 0, 8, sizes.len() as u8], &sizes_bytes[..], &vec![0; count as usize]].concat();
                *bytes.last_mut().unwrap() = last;
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&bytes).unwrap();
                let packed = encoder.finish().unwrap();
                files += packed.len();
                fs::write(folder.path().join(format!("{part}-{name}-ubyte.gz")), packed).unwrap();
            }
        }
        let source = vgg_data::Source::Folder(folder.path().to_owned());
        let (result, Cost { memory, time }) =
            cost(|| vgg_data::open(&source, &vgg_data::DataOptions::default()));
        let outcome = result.as_ref().map_or_else(ToString::to_string, |_| "accepted".into());
        println!("{pictures} pictures: {:.1} MB, {time:?}: {outcome}", memory as f64 / 1e6);
        assert!(memory <= MOST + files, "{memory} bytes of memory for files of {files}");
        assert_eq!(result.is_ok(), expected, "{outcome}");
        assert!(expected || outcome.ends_with("unpack it with gunzip"), "{outcome}");
    }
}
