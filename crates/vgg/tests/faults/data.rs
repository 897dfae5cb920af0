//! Faults of data files and folders.

use crate::place::{COUNT, Outcome, Place, SIDE, idx};
use crate::{Area, Fault};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

const IMAGES: &str = "digits/train-images-idx3-ubyte";
const LABELS: &str = "digits/train-labels-idx1-ubyte";
const AGAIN: &str = "fetch or make the file again";

pub(crate) const AREA: Area = Area {
    letter: 'D',
    title: "Data",
    about: "A folder with four IDX files: 20 training and 4 test pictures of 4x4 pixels in two classes.\n\
            `vgg train` reads it, and creates no model directory.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        "the last byte of a picture file is missing",
        |place| altered(place, |bytes| bytes.truncate(bytes.len() - 1)),
        [IMAGES, "the header declares 20x4x4 = 320 values, but the file holds 319", AGAIN],
    ),
    fault(
        "a picture file ends within its header",
        |place| altered(place, |bytes| bytes.truncate(10)),
        [IMAGES, "ends after 10 bytes, expected an IDX header of 16 bytes", AGAIN],
    ),
    fault(
        "a picture file is empty",
        |place| altered(place, Vec::clear),
        [IMAGES, "ends after 0 bytes, expected an IDX header of 16 bytes", AGAIN],
    ),
    fault(
        "a picture file goes on behind its last picture",
        |place| altered(place, |bytes| bytes.push(0)),
        [IMAGES, "= 320 values, but the file holds 321", AGAIN],
    ),
    fault(
        "a picture file with another magic number",
        |place| altered(place, |bytes| bytes[0] = 1),
        [
            IMAGES,
            "starts with the bytes 01 00 08 03: no IDX file; expected 00 00 08 03",
            "give a picture file",
        ],
    ),
    fault(
        "an IDX file of floating-point numbers",
        |place| altered(place, |bytes| bytes[2] = 0x0d),
        [IMAGES, "whose values are not unsigned bytes", "give a picture file (idx3-ubyte)"],
    ),
    fault(
        "labels in place of pictures",
        |place| {
            place.digits();
            place.write(IMAGES, place.read(LABELS));
            place.train(&[])
        },
        [IMAGES, "00 00 08 01: an IDX file with 1 dimensions", "give a picture file (idx3-ubyte)"],
    ),
    fault(
        "pictures in place of labels",
        |place| {
            place.digits();
            place.write(LABELS, place.read(IMAGES));
            place.train(&[])
        },
        [LABELS, "00 00 08 03: an IDX file with 3 dimensions", "give a label file (idx1-ubyte)"],
    ),
    fault(
        "20 bytes that claim to be 4,294,967,295 pictures",
        |place| written(place, idx(&[u32::MAX, 4, 4], &[0; 4])),
        [IMAGES, "4294967295x4x4 = 68719476720 values, but the file holds 4", AGAIN],
    ),
    fault(
        "sizes whose product no computer can count",
        |place| written(place, idx(&[u32::MAX; 3], &[0; 4])),
        [IMAGES, "more than a computer can hold", AGAIN],
    ),
    fault(
        "no pictures",
        |place| written(place, idx(&[0, 4, 4], &[])),
        [IMAGES, "the header declares the sizes [0, 4, 4], expected all above 0", AGAIN],
    ),
    fault(
        "pictures without rows",
        |place| written(place, idx(&[20, 0, 4], &[])),
        [IMAGES, "the header declares the sizes [20, 0, 4], expected all above 0", AGAIN],
    ),
    fault(
        "one label fewer than pictures",
        |place| relabelled(place, |labels| labels.truncate(COUNT - 1)),
        [LABELS, "19 labels, expected 20, one for each picture in", "give two files that belong together"],
    ),
    fault(
        "one label more than pictures",
        |place| relabelled(place, |labels| labels.push(0)),
        [LABELS, "21 labels, expected 20", "give two files that belong together"],
    ),
    fault(
        "a label far above the others",
        |place| relabelled(place, |labels| labels[7] = 255),
        [LABELS, "picture 7 has label 255, but no training picture has label 2", "correct the labels"],
    ),
    fault(
        "a class that only the test has",
        |place| {
            place.digits();
            place.write("digits/t10k-labels-idx1-ubyte", idx(&[4], &[0, 1, 2, 0]));
            place.train(&[])
        },
        [
            "digits/t10k-labels-idx1-ubyte",
            "picture 2 has label 2, but no training picture has",
            "correct the labels",
        ],
    ),
    fault(
        "one class only",
        |place| {
            place.digits();
            place.write(LABELS, idx(&[COUNT as u32], &[0; COUNT]));
            place.write("digits/t10k-labels-idx1-ubyte", idx(&[4], &[0; 4]));
            place.train(&[])
        },
        [LABELS, "every label is 0, expected at least two classes", "give label files with the labels 0, 1"],
    ),
    fault(
        "one training picture",
        |place| {
            place.digits();
            place.write(IMAGES, idx(&[1, 4, 4], &[7; 16]));
            place.write(LABELS, idx(&[1], &[1]));
            place.train(&[])
        },
        [IMAGES, "holds 1 picture, expected at least 2", "give more pictures"],
    ),
    fault(
        "test pictures of another size",
        |place| {
            place.digits();
            place.write("digits/t10k-images-idx3-ubyte", idx(&[4, 5, 4], &[0; 80]));
            place.train(&[])
        },
        [
            "digits/t10k-images-idx3-ubyte",
            "pictures of 5x4, but those of",
            "give training and test pictures of one size",
        ],
    ),
    fault(
        "pictures that are too high for any network",
        |place| {
            place.digits();
            for (name, count) in [("train", 20), ("t10k", 4)] {
                let pixels = vec![0; count as usize * 5000];
                place.write(&format!("digits/{name}-images-idx3-ubyte"), idx(&[count, 5000, 1], &pixels));
            }
            place.train(&[])
        },
        ["digits: pictures of 5000×1×1", "height and width must be 1 to 4096", "give other --data"],
    ),
    fault(
        "a gzip file cut short",
        |place| packed(place, |bytes| bytes.truncate(bytes.len() / 2)),
        [IMAGES, "the gzip data end too early (truncated file)", AGAIN],
    ),
    fault(
        "a gzip file with a wrong checksum",
        |place| packed(place, |bytes| flip(bytes, 8)),
        [IMAGES, "the gzip data are damaged", AGAIN],
    ),
    fault(
        "a gzip file with a wrong length at its end",
        |place| packed(place, |bytes| flip(bytes, 1)),
        [IMAGES, "the gzip data are damaged", AGAIN],
    ),
    fault(
        "a gzip file with something else behind it",
        |place| packed(place, |bytes| bytes.extend(b"something else altogether")),
        [IMAGES, "the gzip data are damaged", AGAIN],
    ),
    fault(
        "a small gzip file that would unpack to 64 MiB",
        |place| {
            place.digits();
            let file = [place.read(IMAGES), vec![0; 64 << 20]].concat();
            place.write(IMAGES, gzip(&file));
            place.train(&[])
        },
        [IMAGES, "= 320 values, but the file holds more", AGAIN],
    ),
    fault(
        "a web page in place of the pictures",
        |place| written(place, b"<!DOCTYPE html><title>Not found</title>".to_vec()),
        [IMAGES, "starts with the bytes 3c 21 44 4f: no IDX file", "give a picture file"],
    ),
    fault(
        "a folder in place of a file",
        |place| {
            place.digits();
            place.folder(IMAGES);
            place.train(&[])
        },
        [IMAGES, "is not a file", "give an IDX file"],
    ),
    fault(
        "a named pipe in place of a file",
        |place| {
            place.digits();
            place.pipe(IMAGES);
            place.train(&[])
        },
        [IMAGES, "is not a file", "give an IDX file"],
    ),
    fault(
        "a link that leads to itself in place of a file",
        |place| {
            place.digits();
            place.link(IMAGES, "train-images-idx3-ubyte");
            place.train(&[])
        },
        ["digits: no train-images file", "looked for train-images-idx3-ubyte", "put the file there"],
    ),
    fault(
        "one of the four files is missing",
        |place| {
            place.digits();
            place.remove(LABELS);
            place.train(&[])
        },
        ["digits: no train-labels file", "looked for train-labels-idx1-ubyte", "put the file there"],
    ),
    fault(
        "the folder is missing",
        |place| place.train(&[]),
        [
            "digits",
            "there is no such folder",
            "give a folder with four IDX files or of pictures, or use mnist",
        ],
    ),
    fault(
        "a file in place of the folder",
        |place| {
            place.write("digits", "");
            place.train(&[])
        },
        ["digits", "is not a folder", "give a folder with four IDX files or of pictures, or use mnist"],
    ),
    fault(
        "the folder of a run is gone when it goes on",
        |place| {
            place.trained();
            place.remove("digits");
            place.run(&["train"])
        },
        ["FOLDER/digits", "there is no such folder", "give a folder with four IDX files"],
    ),
    fault(
        "a pixel was changed before the run goes on",
        |place| {
            place.trained();
            place.alter(IMAGES, |bytes| flip(bytes, 1));
            place.run(&["train"])
        },
        [
            "FOLDER/digits",
            "no longer those that the run of model/config.toml was started with",
            "restore them, or give another --model-dir",
        ],
    ),
];

/// Bad data end with 65, and nothing is touched.
const fn fault(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 65, says, touches: &[] }
}

/// Trains with changed training pictures.
fn altered(place: &Place, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    place.digits();
    place.alter(IMAGES, change);
    place.train(&[])
}

/// Trains with another file of training pictures.
fn written(place: &Place, bytes: Vec<u8>) -> Outcome {
    altered(place, |file| *file = bytes)
}

/// Trains with changed labels and a header that counts them.
fn relabelled(place: &Place, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    let mut labels: Vec<u8> = (0..COUNT).map(|at| (at % 2) as u8).collect();
    change(&mut labels);
    place.digits();
    place.write(LABELS, idx(&[labels.len() as u32], &labels));
    place.train(&[])
}

/// Trains with training pictures that are packed, and damaged then.
fn packed(place: &Place, damage: impl FnOnce(&mut Vec<u8>)) -> Outcome {
    altered(place, |bytes| {
        assert_eq!(bytes.len(), 16 + COUNT * SIDE * SIDE);
        *bytes = gzip(bytes);
        damage(bytes);
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Flips a bit of the byte that is so many bytes before the end.
fn flip(bytes: &mut [u8], from_end: usize) {
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
}
