//! Faults of checkpoints.

use crate::place::{Outcome, Place};
use crate::{Area, Fault};

const NEWEST: &str = "model/ckpt-000000002";
const STATE: &str = "model/ckpt-000000002/state.json";
const WEIGHTS: &str = "model/ckpt-000000002/weights.safetensors";
const MANIFEST: &str = "model/ckpt-000000002/MANIFEST";
const RESTORE: &str = "restore one from a copy, or choose another model directory to start anew";

pub(crate) const AREA: Area = Area {
    letter: 'C',
    title: "Checkpoints",
    about: "`vgg evaluate` of a run that has one checkpoint, unless the row says more.\n\
            Where there is an older checkpoint, a damaged one is passed over with a word, and the exit code is 0.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        "no MANIFEST",
        |place| only(place, |place| place.remove(MANIFEST)),
        [MANIFEST, "expected a file, found none", RESTORE],
    ),
    fault(
        "an empty MANIFEST",
        |place| only(place, |place| place.write(MANIFEST, "")),
        [MANIFEST, "the hash in its last line is not that of the lines above", RESTORE],
    ),
    fault(
        "a MANIFEST cut short",
        |place| only(place, |place| place.alter(MANIFEST, |bytes| bytes.truncate(bytes.len() - 3))),
        [MANIFEST, "the hash in its last line is not that of the lines above", RESTORE],
    ),
    fault(
        "a flipped bit in the MANIFEST",
        |place| only(place, |place| place.alter(MANIFEST, |bytes| bytes[3] ^= 1)),
        [MANIFEST, "the hash in its last line is not that of the lines above", RESTORE],
    ),
    fault(
        "a MANIFEST that is not text",
        |place| only(place, |place| place.write(MANIFEST, [0xff; 99])),
        [MANIFEST, "expected text, found other bytes", RESTORE],
    ),
    fault(
        "a MANIFEST of a megabyte",
        |place| only(place, |place| place.write(MANIFEST, vec![b'#'; 1 << 20])),
        [MANIFEST, "expected at most 65536 bytes, found 1048576", RESTORE],
    ),
    fault(
        "a MANIFEST that lists a file outside the checkpoint",
        |place| only(place, |place| place.edit(MANIFEST, "  state.json", "  ../config.toml")),
        [MANIFEST, "expected lines of a hash and a file name", RESTORE],
    ),
    fault(
        "no state.json",
        |place| only(place, |place| place.remove(STATE)),
        [STATE, "expected a file, found none", RESTORE],
    ),
    fault(
        "a changed step in state.json",
        |place| only(place, |place| place.edit(STATE, "\"global_step\": 2", "\"global_step\": 3")),
        [STATE, "expected SHA-256 ", RESTORE],
    ),
    fault(
        "a state.json that is no JSON, with the right hash",
        |place| {
            only(place, |place| {
                place.write(STATE, "{".repeat(10_000));
                place.sign(NEWEST, "state.json");
            })
        },
        [STATE, "it is not a checkpoint's state", RESTORE],
    ),
    fault(
        "a checkpoint of a later version of the program",
        |place| {
            only(place, |place| {
                place.edit(STATE, "\"format_version\": 1", "\"format_version\": 2");
                place.sign(NEWEST, "state.json");
            })
        },
        [STATE, "has format version 2, this program reads up to 1", "update the program"],
    ),
    fault(
        "a renamed checkpoint",
        |place| {
            only(place, |place| {
                std::fs::rename(place.path(NEWEST), place.path("model/ckpt-000000009")).unwrap();
            })
        },
        ["model/ckpt-000000009/state.json", "it is of step 2, unlike the directory's name", RESTORE],
    ),
    fault(
        "no weights",
        |place| only(place, |place| place.remove(WEIGHTS)),
        [WEIGHTS, "expected a file, found none", RESTORE],
    ),
    fault(
        "a folder in place of the weights",
        |place| only(place, |place| place.folder(WEIGHTS)),
        [WEIGHTS, "expected a file, found something else", RESTORE],
    ),
    fault(
        "a named pipe in place of the weights",
        |place| only(place, |place| place.pipe(WEIGHTS)),
        [WEIGHTS, "expected a file, found something else", RESTORE],
    ),
    fault(
        "weights cut short",
        |place| only(place, |place| place.alter(WEIGHTS, |bytes| bytes.truncate(bytes.len() - 1))),
        [WEIGHTS, "bytes, found ", RESTORE],
    ),
    fault(
        "eight bytes of weights that claim a header of exabytes",
        |place| only(place, |place| place.write(WEIGHTS, [0xff; 8])),
        [WEIGHTS, "its header claims 18446744073709551615 bytes in a file of 8", RESTORE],
    ),
    fault(
        "a flipped bit in the weights",
        |place| {
            only(place, |place| {
                place.alter(WEIGHTS, |bytes| {
                    let last = bytes.len() - 4;
                    bytes[last] ^= 1;
                })
            })
        },
        [WEIGHTS, "expected SHA-256 ", RESTORE],
    ),
    fault(
        "a weight that is not a number, with the right hash",
        |place| {
            only(place, |place| {
                place.alter(WEIGHTS, |bytes| {
                    let last = bytes.len() - 4;
                    bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
                });
                place.sign(NEWEST, "weights.safetensors");
            })
        },
        [WEIGHTS, "is NaN", RESTORE],
    ),
    fault(
        "the weights of another checkpoint",
        |place| {
            place.trained();
            let older = "model/ckpt-000000001";
            std::fs::rename(place.path(older).join("weights.safetensors"), place.path(WEIGHTS)).unwrap();
            place.remove(older);
            place.run(&["evaluate"])
        },
        [WEIGHTS, "expected SHA-256 ", RESTORE],
    ),
    fault(
        "a checkpoint of another network",
        |place| only(place, |place| place.edit("model/config.toml", "\"vgg11\"", "\"vgg13\"")),
        [
            "model/ckpt-000000002 belongs to vgg11 with head paper",
            "not to vgg13 with head paper",
            "choose the options it was trained with or another model directory",
        ],
    ),
    fault(
        "a checkpoint with another number of classes",
        |place| {
            only(place, |place| {
                place.edit("model/config.toml", "classes = 2", "classes = 3");
                place.edit("model/config.toml", "\"1\"", "\"1\", \"2\"");
            })
        },
        ["model/ckpt-000000002 belongs to", "2 classes, not to", "choose the options it was trained with"],
    ),
    fault(
        "a checkpoint of a run with another seed",
        |place| only(place, |place| place.edit("model/config.toml", "seed = 1", "seed = 2")),
        [
            "model/ckpt-000000002 was made by a run with other options",
            "run.seed (saved 1, asked 2)",
            "restore the file",
        ],
    ),
    fault(
        "two checkpoints, both damaged",
        |place| {
            place.trained();
            place.remove(MANIFEST);
            place.remove("model/ckpt-000000001/MANIFEST");
            place.run(&["evaluate"])
        },
        [
            "none of the checkpoints in model is intact (of 2 in all",
            "model/ckpt-000000002/MANIFEST: expected a file",
            RESTORE,
        ],
    ),
    fault(
        "all checkpoints damaged, and training is to go on",
        |place| {
            place.trained_with_one_checkpoint();
            place.remove(MANIFEST);
            place.run(&["train"])
        },
        [
            "none of the checkpoints in model is intact (of 1 in all",
            "model/ckpt-000000002/MANIFEST: expected a file",
            RESTORE,
        ],
    ),
    Fault {
        title: "the newest of two checkpoints is damaged: the one before is evaluated",
        happen: |place| {
            place.trained();
            place.remove(STATE);
            place.run(&["evaluate"])
        },
        exit: 0,
        says: [
            STATE,
            "is damaged: expected a file, found none",
            "Using step 1; what was learned after it is lost",
        ],
        touches: &[],
    },
    Fault {
        title: "the newest of two checkpoints is damaged: it is set aside, and training goes on from the one before",
        happen: |place| {
            place.trained();
            place.remove(STATE);
            place.run(&["train", "--stop-at", "2"])
        },
        exit: 0,
        says: [
            STATE,
            "It is kept as model/damaged-ckpt-000000002",
            "going on from step 1, what was learned after it is lost",
        ],
        touches: &["model/"],
    },
];

/// A run without a good checkpoint ends with 65, and nothing is touched.
const fn fault(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 65, says, touches: &[] }
}

/// Evaluates a run after damage to its only checkpoint.
fn only(place: &Place, damage: impl FnOnce(&Place)) -> Outcome {
    place.trained_with_one_checkpoint();
    damage(place);
    place.run(&["evaluate"])
}
