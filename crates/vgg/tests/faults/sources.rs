//! Faults of folders of pictures, of CIFAR-10's files, and of downloads.

use crate::place::{Outcome, Place, idx};
use crate::{Area, Fault};

pub(crate) const AREA: Area = Area {
    letter: 'F',
    title: "Pictures in folders, CIFAR-10, downloads",
    about: "`vgg data stats --data animals`, where `animals` has `train`, `val` and `test` with 3 cats and 3 dogs of 2x2\n\
            pixels each, unless the row says more.",
    faults: FAULTS,
};

/// An address at which nobody answers.
const NOBODY: &str = "http://127.0.0.1:9";

const FAULTS: &[Fault] = &[
    fault(
        "a file that is no picture",
        |place| written(place, "train/cat/1.png", b"a cat"),
        ["animals/train/cat/1.png", "is of an unknown kind, expected PNG or JPEG", "save the picture again"],
    ),
    fault(
        "a picture cut short",
        |place| {
            animals(place);
            place.alter("animals/test/dog/2.png", |bytes| bytes.truncate(bytes.len() - 20));
            stats(place)
        },
        ["animals/test/dog/2.png", "cannot be decoded", "save the picture again"],
    ),
    fault(
        "a link that leads to itself among the pictures",
        |place| {
            animals(place);
            place.link("animals/train/cat/1.png", "1.png");
            stats(place)
        },
        ["animals/train/cat/1.png", "Too many levels of symbolic links", "check the path"],
    ),
    fault(
        "a named pipe among the pictures",
        |place| {
            animals(place);
            place.pipe("animals/train/cat/1.png");
            stats(place)
        },
        ["animals/train/cat/1.png", "is not a file", "give a PNG or JPEG file"],
    ),
    fault(
        "a class that only the test has",
        |place| written(place, "test/bird/1.png", &picture(1)),
        ["animals/test/bird", "there is no class bird in the training pictures", "add pictures of it there"],
    ),
    fault(
        "a class without pictures",
        |place| {
            animals(place);
            place.folder("animals/train/bird");
            stats(place)
        },
        ["animals/train/bird", "no PNG or JPEG files are in the folder of this class", "put pictures there"],
    ),
    fault(
        "one class only",
        |place| {
            animals(place);
            place.remove("animals/train/dog");
            stats(place)
        },
        ["animals/train", "has 1 folders of classes, expected at least two", "into a folder of its own"],
    ),
    fault(
        "two folders for validation",
        |place| {
            animals(place);
            place.folder("animals/validation");
            stats(place)
        },
        ["animals", "has the folders val and validation, which mean the same", "remove one of them"],
    ),
    fault(
        "a class whose name speaks to terminals",
        |place| {
            animals(place);
            place.folder("animals/train/\u{1b}[2J");
            stats(place)
        },
        ["animals/train/\\u{1b}[2J", "without control characters", "rename the folder"],
    ),
    fault(
        "too few pictures to be split",
        |place| {
            animals(place);
            ["val", "test", "train/cat/0.png", "train/dog/0.png"]
                .iter()
                .for_each(|name| place.remove(&format!("animals/{name}")));
            stats(place)
        },
        ["animals", "there are no PNG or JPEG pictures for validation", "put at least 3 pictures into"],
    ),
    fault(
        "an empty folder",
        |place| {
            place.folder("animals");
            stats(place)
        },
        ["animals", "holds neither IDX files, nor folders of pictures", "give a folder"],
    ),
    fault(
        "`vgg data check` meets two files that are no pictures",
        |place| {
            animals(place);
            place.write("animals/train/cat/1.png", "a cat");
            place.write("animals/val/dog/0.png", "a dog");
            place.run(&["data", "check", "--data", "animals"])
        },
        ["animals/train/cat/1.png", "is of an unknown kind", "save the picture again"],
    ),
    fault(
        "several EMNIST sets in one folder",
        |place| {
            place.folder("animals");
            for set in ["digits", "letters"] {
                place.write(&format!("animals/emnist-{set}-train-images-idx3-ubyte"), idx(&[1, 1, 1], &[0]));
            }
            stats(place)
        },
        ["animals", "holds several data sets: emnist-digits, emnist-letters", "give one of them, such as"],
    ),
    fault(
        "a file of CIFAR-10 cut short",
        |place| {
            cifar(place);
            place.alter("animals/data_batch_2.bin", |bytes| bytes.truncate(3000));
            stats(place)
        },
        ["animals/data_batch_2.bin", "3000 bytes, expected pictures of 3073 bytes each", "fetch"],
    ),
    fault(
        "a class that CIFAR-10 does not have",
        |place| {
            cifar(place);
            place.alter("animals/test_batch.bin", |bytes| bytes[0] = 10);
            stats(place)
        },
        ["animals/test_batch.bin", "picture 0 has class 10, expected 0 to 9", "fetch"],
    ),
    fault(
        "one of CIFAR-10's files is missing",
        |place| {
            cifar(place);
            place.remove("animals/data_batch_5.bin");
            stats(place)
        },
        ["animals/data_batch_5.bin", "No such file", "put the file there"],
    ),
    fault(
        "a web page in place of CIFAR-10's archive",
        |place| {
            place.write("cifar.tar.gz", "<!DOCTYPE html>");
            place.run(&["data", "stats", "--data", "cifar.tar.gz"])
        },
        ["cifar.tar.gz", "the packed data are damaged", "fetch the file again"],
    ),
    Fault {
        title: "no network for `--data kmnist`",
        happen: |place| download(place, NOBODY),
        exit: 74,
        says: ["train-images-idx3-ubyte.gz", "refused", "check the network and try again, or fetch http"],
        touches: &["cache"],
    },
    Fault {
        title: "a mirror that is none for `--data kmnist`",
        happen: |place| download(place, "file:///nowhere"),
        exit: 74,
        says: ["train-images-idx3-ubyte.gz", "cannot be downloaded (file:///nowhere/", "check the network"],
        touches: &["cache"],
    },
    Fault {
        title: "nowhere to keep a download",
        happen: |place| {
            place.write("cache", "a file");
            download(place, NOBODY)
        },
        exit: 73,
        says: ["FOLDER/cache/kmnist", "Not a directory", "set VGG_CACHE to a folder that can be written to"],
        touches: &[],
    },
    Fault {
        title: "neither `VGG_CACHE` nor `HOME` says where to keep a download",
        happen: |place| {
            place.run_with(&["data", "stats", "--data", "kmnist"], |command| {
                command.env_remove("VGG_CACHE").env_remove("XDG_CACHE_HOME").env_remove("HOME");
            })
        },
        exit: 2,
        says: ["kmnist", "there is neither VGG_CACHE nor HOME", "set VGG_CACHE to a folder"],
        touches: &[],
    },
];

/// Bad data end with 65, and nothing is touched.
const fn fault(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 65, says, touches: &[] }
}

fn stats(place: &Place) -> Outcome {
    place.run(&["data", "stats", "--data", "animals"])
}

fn download(place: &Place, mirror: &str) -> Outcome {
    place.run_with(&["data", "stats", "--data", "kmnist"], |command| {
        command.env("VGG_CACHE", place.path("cache")).env("VGG_MIRROR", mirror).env("NO_PROXY", "*");
    })
}

/// Three cats and three dogs for each split.
fn animals(place: &Place) {
    for (part, split) in ["train", "val", "test"].iter().enumerate() {
        for (class, animal) in ["cat", "dog"].iter().enumerate() {
            place.folder(&format!("animals/{split}/{animal}"));
            for index in 0..3 {
                let value = (100 * class + 10 * part + index) as u8;
                place.write(&format!("animals/{split}/{animal}/{index}.png"), picture(value));
            }
        }
    }
}

fn written(place: &Place, name: &str, bytes: &[u8]) -> Outcome {
    animals(place);
    let path = format!("animals/{name}");
    let (folder, _) = path.rsplit_once('/').unwrap();
    std::fs::create_dir_all(place.path(folder)).unwrap();
    place.write(&path, bytes);
    stats(place)
}

/// A PNG file of 2 × 2 grey pixels.
fn picture(value: u8) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let pixels = image::GrayImage::from_pixel(2, 2, image::Luma([value]));
    pixels.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// CIFAR-10's six files, two pictures each.
fn cifar(place: &Place) {
    place.folder("animals");
    let names = (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".to_owned()]);
    names.for_each(|name| place.write(&format!("animals/{name}"), vec![1; 2 * 3073]));
}
