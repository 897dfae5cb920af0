//! Faults of picture files for `vgg predict`.

use crate::place::{Outcome, Place};
use crate::{Area, Fault};
use image::{ExtendedColorType, ImageFormat};
use std::fs::File;
use std::io::Cursor;

const AGAIN: &str = "save the picture again as PNG or JPEG";

pub(crate) const AREA: Area = Area {
    letter: 'P',
    title: "Pictures to be told",
    about: "`vgg predict` with one picture file, unless the row says more.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        "an empty file",
        |place| predict(place, b""),
        ["one.png", "is of an unknown kind, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "a file of one byte",
        |place| predict(place, b"\x89"),
        ["one.png", "is of an unknown kind, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "text that is called a picture",
        |place| predict(place, b"a picture of the digit seven"),
        ["one.png", "is of an unknown kind, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "a picture of kind GIF",
        |place| predict(place, b"GIF89a\x04\x00\x04\x00\x00\x00\x00;"),
        ["one.png", "is a picture of kind Gif, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "a picture of kind WebP",
        |place| predict(place, b"RIFF\x1a\x00\x00\x00WEBPVP8L"),
        ["one.png", "is a picture of kind WebP, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "a PNG file cut short",
        |place| {
            let file = picture(ImageFormat::Png);
            predict(place, &file[..file.len() * 2 / 3])
        },
        ["one.png", "cannot be decoded", AGAIN],
    ),
    fault(
        "a JPEG file cut short",
        |place| {
            let file = picture(ImageFormat::Jpeg);
            predict(place, &file[..file.len() - 20])
        },
        ["one.png", "the JPEG data end too early (truncated file)", AGAIN],
    ),
    fault(
        "a JPEG file of nothing but beginning and end",
        |place| predict(place, b"\xff\xd8\xff\xd9"),
        ["one.png", "cannot be decoded", AGAIN],
    ),
    fault(
        "a PNG file with a flipped bit",
        |place| {
            let mut file = picture(ImageFormat::Png);
            let middle = file.len() / 2;
            file[middle] ^= 1;
            predict(place, &file)
        },
        ["one.png", "cannot be decoded", AGAIN],
    ),
    fault(
        "a PNG file that claims 100000x100000 pixels",
        |place| predict(place, &png_of_size(100_000, 100_000)),
        ["one.png", "100000x100000 pixels, expected sides of at most 65535", "make the picture smaller"],
    ),
    fault(
        "a PNG file that claims no pixels",
        |place| predict(place, &png_of_size(0, 4)),
        ["one.png", "cannot be decoded", AGAIN],
    ),
    fault(
        "a file of 2 GiB",
        |place| {
            place.trained_with_one_checkpoint();
            File::create(place.path("one.png")).unwrap().set_len(2 << 30).unwrap();
            place.run(&["predict", "one.png"])
        },
        ["one.png", "2147483648 bytes long, expected at most 67108864", "make the picture smaller"],
    ),
    fault(
        "no such file",
        |place| {
            place.trained_with_one_checkpoint();
            place.run(&["predict", "one.png"])
        },
        ["one.png", "No such file or directory", "check the path and its permissions"],
    ),
    fault(
        "a folder without pictures",
        |place| {
            place.trained_with_one_checkpoint();
            place.folder("one.png");
            place.run(&["predict", "one.png"])
        },
        ["one.png", "no PNG or JPEG file in this folder", "give files, or a folder of them"],
    ),
    fault(
        "a named pipe",
        |place| {
            place.trained_with_one_checkpoint();
            place.pipe("one.png");
            place.run(&["predict", "one.png"])
        },
        ["one.png", "is not a file", "give a PNG or JPEG file"],
    ),
    fault(
        "a device that never ends",
        |place| {
            place.trained_with_one_checkpoint();
            place.run(&["predict", "/dev/zero"])
        },
        ["/dev/zero", "is not a file", "give a PNG or JPEG file"],
    ),
    fault(
        "one bad picture between two good ones, which are told",
        |place| {
            place.trained_with_one_checkpoint();
            place.write("good.png", picture(ImageFormat::Png));
            place.write("one.png", "");
            let outcome = place.run(&["predict", "good.png", "one.png", "good.png"]);
            let told = outcome.all().lines().filter(|line| line.starts_with("good.png  ")).count();
            assert_eq!(told, 2, "{}", outcome.all());
            outcome
        },
        ["one.png", "is of an unknown kind", AGAIN],
    ),
    fault(
        "one bad picture in a folder of good ones, which are told",
        |place| {
            place.trained_with_one_checkpoint();
            place.folder("all/within");
            for good in ["all/1.png", "all/3.png", "all/within/4.png"] {
                place.write(good, picture(ImageFormat::Png));
            }
            place.write("all/2.png", "");
            let outcome = place.run(&["predict", "all"]);
            let told: Vec<String> = outcome.all().lines().filter_map(file_told).collect();
            assert_eq!(told, ["all/1.png", "all/3.png", "all/within/4.png"], "{}", outcome.all());
            assert!(outcome.all().contains("note: 1 of 4 could not be told"), "{}", outcome.all());
            outcome
        },
        ["all/2.png", "is of an unknown kind", AGAIN],
    ),
    fault(
        "nothing on standard input",
        |place| {
            place.trained_with_one_checkpoint();
            place.run(&["predict", "-"])
        },
        ["standard input", "is of an unknown kind, expected PNG or JPEG", AGAIN],
    ),
    fault(
        "a standard input that never ends",
        |place| {
            place.trained_with_one_checkpoint();
            let zeros = File::open("/dev/zero").unwrap();
            place.run_with(&["predict", "-"], |command| {
                command.stdin(zeros);
            })
        },
        ["standard input", "more than 67108864 bytes long", "make the picture smaller"],
    ),
];

/// The file of a line of the table of predictions.
fn file_told(line: &str) -> Option<String> {
    line.split_once("  ").filter(|_| line.ends_with(" %")).map(|(file, _)| file.trim().to_owned())
}

/// A bad picture ends with 65, and nothing is touched.
const fn fault(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 65, says, touches: &[] }
}

/// Runs `vgg predict` on a file `one.png` of these bytes.
fn predict(place: &Place, bytes: &[u8]) -> Outcome {
    place.trained_with_one_checkpoint();
    place.write("one.png", bytes);
    place.run(&["predict", "one.png"])
}

/// A good picture of the size that the network takes.
fn picture(format: ImageFormat) -> Vec<u8> {
    let pixels: Vec<u8> = (0..16).map(|at| at * 16).collect();
    let mut file = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut file, &pixels, 4, 4, ExtendedColorType::L8, format).unwrap();
    file.into_inner()
}

/// A PNG file whose header, with a right checksum, claims a size.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut file = picture(ImageFormat::Png);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let mut checksum = flate2::Crc::new();
    checksum.update(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
    file
}
