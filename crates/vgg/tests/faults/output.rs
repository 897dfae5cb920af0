//! Faults of evaluation and prediction as a whole, and of what the program writes.

use crate::place::{Outcome, Place, idx};
use crate::{Area, Fault};
use std::fs::File;

const FIT: &str = "give data like those it was trained with";

pub(crate) const AREA: Area = Area {
    letter: 'E',
    title: "Evaluation and output",
    about: "The other verbs, and places that cannot be written. A limit on the length of files stands for a full disk.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        65,
        "nothing was trained yet, and is to be evaluated",
        |place| place.run(&["evaluate"]),
        ["model", "holds no trained network", "train one first, or give the --model-dir of one"],
    ),
    fault(
        65,
        "nothing was trained yet, and is to tell a picture",
        |place| place.run(&["predict", "one.png"]),
        ["model", "holds no trained network", "train one first, or give the --model-dir of one"],
    ),
    fault(
        65,
        "a checkpoint is given in place of its model directory",
        |place| {
            place.trained();
            place.run(&["evaluate", "--model-dir", "model/ckpt-000000002"])
        },
        ["model/ckpt-000000002", "holds no trained network", "give the --model-dir of one"],
    ),
    fault(
        65,
        "a model directory in which no step was trained",
        |place| {
            place.trained_with_one_checkpoint();
            place.remove("model/ckpt-000000002");
            place.run(&["evaluate"])
        },
        ["model", "holds no trained network", "train one first, or give the --model-dir of one"],
    ),
    fault(
        65,
        "pictures of more classes than the network knows",
        |place| {
            place.trained_with_one_checkpoint();
            other_data(place, &[0, 1, 2, 2]);
            place.run(&["evaluate", "--data", "other"])
        },
        ["other: pictures of 4×4×1 in 3 classes", "in at most 2 classes", FIT],
    ),
    fault(
        73,
        "a picture is to be written into a folder that is not there",
        |place| show(place, "no/such/folder/seven.png"),
        ["no/such/folder/seven.png", "No such file or directory", "check that the folder exists"],
    ),
    fault(
        73,
        "a picture is to be written in place of a folder",
        |place| {
            place.folder("pictures");
            show(place, "pictures")
        },
        ["pictures", "Is a directory", "check that the folder exists, may be written to"],
    ),
    fault(
        73,
        "a picture is to be written on a full disk",
        |place| show(place, "/dev/full"),
        ["/dev/full", "No space left on device", "and has room"],
    ),
    fault(
        74,
        "standard output is full",
        |place| {
            let full = File::options().write(true).open("/dev/full").unwrap();
            place.run_with(&["data", "list"], |command| {
                command.stdout(full);
            })
        },
        ["cannot write standard output", "No space left on device", "check the disk"],
    ),
    fault(
        74,
        "standard output is full when pictures are told",
        |place| {
            place.trained_with_one_checkpoint();
            vgg::write_png(&place.path("one.png"), &[0; 16], 4, 4, 1).unwrap();
            let full = File::options().write(true).open("/dev/full").unwrap();
            place.run_with(&["predict", "one.png"], |command| {
                command.stdout(full);
            })
        },
        ["cannot write standard output", "No space left on device", "check the disk"],
    ),
    fault(
        65,
        "nothing was trained yet, and a report is asked for",
        |place| place.run(&["report"]),
        ["model", "holds no trained network", "train one first, or give the --model-dir of one"],
    ),
    fault(
        74,
        "a folder is in the place of the report",
        |place| {
            place.trained_with_one_checkpoint();
            place.folder("model/report.html");
            place.run(&["report"])
        },
        ["cannot write model/report.html", "Is a directory", "check its permissions"],
    ),
    fault(
        74,
        "the disk is full when the report is written",
        |place| {
            place.trained_with_one_checkpoint();
            place.run_after(&most_blocks(2), &["report"])
        },
        ["cannot write model/report.html", "File too large", "the free space of its disk"],
    ),
    Fault {
        title: "the report at the end of training cannot be written: the training stays",
        happen: |place| {
            place.trained();
            place.folder("model/report.html");
            place.run(&["train"])
        },
        exit: 0,
        says: [
            "warning: there is no report of this run: cannot write model/report.html",
            "Is a directory",
            "The network is in model",
        ],
        touches: &["model/"],
    },
    Fault {
        title: "the disk is full when a checkpoint is written: those before stay",
        happen: |place| {
            place.trained();
            place.run_after(&most_blocks(10_000), &["train"])
        },
        exit: 74,
        says: [
            "cannot write model/.tmp-ckpt-000000004/weights.safetensors",
            "File too large",
            "check its permissions and the free space of its disk",
        ],
        touches: &["model/.lock", "model/metrics.jsonl", "model/eval", "model/events"],
    },
    Fault {
        title: "the disk is full when a measurement is written: the checkpoints stay",
        happen: |place| {
            place.trained();
            place.alter("model/metrics.jsonl", |bytes| *bytes = bytes.repeat(10));
            place.run_after(&most_blocks(2), &["train"])
        },
        exit: 74,
        says: ["cannot write model/metrics.jsonl", "File too large", "check the disk"],
        touches: &["model/.lock", "model/eval", "model/events"],
    },
    Fault {
        title: "the disk is full when the first checkpoint is written",
        happen: |place| {
            place.digits();
            let train = crate::place::training(&[]);
            place.run_after(&most_blocks(10_000), &train)
        },
        exit: 74,
        says: [
            "cannot write model/.tmp-ckpt-000000002/weights.safetensors",
            "File too large",
            "check its permissions and the free space of its disk",
        ],
        touches: &["model"],
    },
];

/// Nothing is touched.
const fn fault(
    exit: i32,
    title: &'static str,
    happen: fn(&Place) -> Outcome,
    says: [&'static str; 3],
) -> Fault {
    Fault { title, happen, exit, says, touches: &[] }
}

/// Lets files grow to so many blocks of 512 bytes (1,024 in some shells), where a write then fails instead of
/// ending the program by a signal.
fn most_blocks(blocks: u32) -> String {
    format!("trap '' XFSZ; ulimit -f {blocks}")
}

/// Makes the data folder `other` with squares of so many pixels.
fn other_data(place: &Place, labels: &[u8]) {
    place.folder("other");
    let count = labels.len() as u32;
    let pixels = vec![9; 16 * labels.len()];
    for prefix in ["train", "t10k"] {
        place.write(&format!("other/{prefix}-images-idx3-ubyte"), idx(&[count, 4, 4], &pixels));
        place.write(&format!("other/{prefix}-labels-idx1-ubyte"), idx(&[count], labels));
    }
}

fn show(place: &Place, png: &str) -> Outcome {
    place.digits();
    place.run(&["data", "show", "--data", "digits", "--index", "0", "--png", png])
}
