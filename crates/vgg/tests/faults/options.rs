//! Faults of the command line and of the variables that the program reads.

use crate::place::{Outcome, Place};
use crate::{Area, Fault};

const HELP: &str = "for more information, try '--help'";

pub(crate) const AREA: Area = Area {
    letter: 'O',
    title: "Options",
    about: "`vgg train` on good data, unless the message speaks of another verb.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        "a misspelt option",
        |place| place.run(&["train", "--learing-rate", "0.1"]),
        ["'--learing-rate'", "unexpected argument", "a similar argument exists: '--learning-rate'"],
    ),
    fault(
        "an option that nothing resembles",
        |place| place.run(&["train", "--zzz"]),
        ["'--zzz'", "unexpected argument", HELP],
    ),
    fault(
        "an unknown verb",
        |place| place.run(&["trian"]),
        ["'trian'", "unrecognized subcommand", "a similar subcommand exists: 'train'"],
    ),
    fault(
        "an option without its value",
        |place| place.run(&["train", "--seed"]),
        ["--seed <N>", "a value is required", HELP],
    ),
    fault(
        "an option given twice",
        |place| place.run(&["train", "--seed", "1", "--seed", "2"]),
        ["--seed <N>", "cannot be used multiple times", HELP],
    ),
    fault(
        "no picture to be told",
        |place| place.run(&["predict"]),
        ["<IMAGE>", "required arguments were not provided", HELP],
    ),
    fault(
        "a learning rate that is no number",
        |place| good_data(place, &["--learning-rate", "fast"]),
        ["--learning-rate", "expected a number, such as 0.001", HELP],
    ),
    fault(
        "the learning rate NaN",
        |place| good_data(place, &["--learning-rate", "NaN"]),
        ["the learning rate is NaN", "must be a finite number", "give one such as 0.001"],
    ),
    fault(
        "the learning rate -1",
        |place| good_data(place, &["--learning-rate", "-1"]),
        ["the learning rate is -1", "must be a finite number of at least 0", "give one such as 0.001"],
    ),
    fault(
        "the learning rate 0",
        |place| good_data(place, &["--learning-rate", "0"]),
        ["the learning rate is 0", "nothing would be learned", "give one such as 0.001"],
    ),
    fault(
        "an infinite learning rate",
        |place| good_data(place, &["--learning-rate", "inf"]),
        ["the learning rate is inf", "must be a finite number", "give one such as 0.001"],
    ),
    fault(
        "a learning rate that 32 bits cannot hold",
        |place| good_data(place, &["--learning-rate", "1e39"]),
        [
            "the learning rate is 1000000000000000000000000000000000000000",
            "must be a finite number",
            "give one such as 0.001",
        ],
    ),
    Fault {
        title: "a learning rate of 1e30, with which training diverges",
        happen: |place| good_data(place, &["--learning-rate", "1e30", "--precision", "f32"]),
        exit: 76,
        says: [
            "training diverged after 1 steps",
            "the loss is",
            "train again with a smaller --learning-rate",
        ],
        touches: &[],
    },
    fault(
        "batches of 0 pictures",
        |place| good_data(place, &["--batch-size", "0"]),
        [
            "batch size 0",
            "expected 1 to 18, the number of training pictures",
            "choose a batch size in between",
        ],
    ),
    fault(
        "batches of more pictures than there are",
        |place| good_data(place, &["--batch-size", "19"]),
        [
            "batch size 19",
            "expected 1 to 18, the number of training pictures",
            "choose a batch size in between",
        ],
    ),
    fault(
        "batches that no memory holds",
        |place| {
            let outcome =
                place.run(&["bench", "train", "--height", "4096", "--width", "4096", "--channels", "64"]);
            outcome.hide_number("error: ", " bytes of memory")
        },
        ["this network and batch size", "bytes of memory could not be had", "use a smaller batch"],
    ),
    fault(
        "batches of a number that no counter holds",
        |place| good_data(place, &["--batch-size", "99999999999999999999"]),
        ["--batch-size", "number too large", HELP],
    ),
    fault(
        "0 steps",
        |place| good_data(place, &["--steps", "0"]),
        ["the length of the run is 0 steps", "must be 1 to", "give --steps or --epochs"],
    ),
    fault(
        "0 epochs",
        |place| good_data(place, &["--epochs", "0"]),
        ["the length of the run is 0 steps", "must be 1 to", "give --steps or --epochs"],
    ),
    fault(
        "2^63 steps",
        |place| good_data(place, &["--steps", "9223372036854775808"]),
        ["--steps", "expected a whole number from 0 to 9223372036854775807", HELP],
    ),
    fault(
        "2^62 epochs",
        |place| good_data(place, &["--epochs", "4611686018427387904"]),
        ["the length of the run is 18446744073709551615 steps", "must be 1 to", "give --steps or --epochs"],
    ),
    fault(
        "steps and epochs together",
        |place| good_data(place, &["--steps", "2", "--epochs", "2"]),
        ["'--steps <N>'", "cannot be used with '--epochs <N>'", HELP],
    ),
    fault(
        "10,000 threads",
        |place| good_data(place, &["--threads", "10000"]),
        ["--threads", "expected a whole number from 0 to 1024", HELP],
    ),
    fault(
        "a number of threads in words",
        |place| good_data(place, &["--threads", "two"]),
        ["--threads", "expected a whole number from 0 to 1024", HELP],
    ),
    fault(
        "the seed -1",
        |place| good_data(place, &["--seed", "-1"]),
        ["--seed", "expected a whole number from 0 to", HELP],
    ),
    fault(
        "the seed 2^63",
        |place| good_data(place, &["--seed", "9223372036854775808"]),
        ["--seed", "expected a whole number from 0 to 9223372036854775807", HELP],
    ),
    fault(
        "a checkpoint every 0 steps",
        |place| good_data(place, &["--save-every", "0"]),
        ["--save-every", "is 0 steps", "give at least 1, or leave it out"],
    ),
    fault(
        "an end at step 0",
        |place| good_data(place, &["--stop-at", "0"]),
        ["--stop-at", "is 0 steps", "give at least 1, or leave it out"],
    ),
    fault(
        "an unknown network",
        |place| place.run(&["train", "--arch", "vgg12"]),
        ["--arch", "no network is called \"vgg12\"", "choose one of vgg11 (A)"],
    ),
    fault(
        "an unknown head",
        |place| place.run(&["train", "--head", "large"]),
        ["--head", "no head is called \"large\"", "choose one of tutorial, paper"],
    ),
    fault(
        "an unknown recipe",
        |place| place.run(&["train", "--recipe", "slow"]),
        ["--recipe", "no recipe is called \"slow\"", "choose one of tutorial, fast"],
    ),
    fault(
        "an unknown precision",
        |place| place.run(&["train", "--precision", "fp8"]),
        ["--precision", "no precision is called \"fp8\"", "choose one of auto, f32, bf16"],
    ),
    fault(
        "a momentum of 1",
        |place| good_data(place, &["--momentum", "1"]),
        ["the momentum is 1", "must be at least 0 and below 1", "give one such as 0.9"],
    ),
    fault(
        "a switch that is neither on nor off",
        |place| good_data(place, &["--nesterov", "yes"]),
        ["--nesterov", "expected true or false", HELP],
    ),
    fault(
        "an unknown schedule",
        |place| good_data(place, &["--schedule", "steps"]),
        ["--schedule", "invalid value 'steps'", HELP],
    ),
    fault(
        "pictures turned by 1000 degrees",
        |place| good_data(place, &["--augmentation-rotation", "1000"]),
        ["augmentation rotation 1000", "expected 0 to 180 degrees", "choose an amount in between"],
    ),
    fault(
        "all layers frozen",
        |place| good_data(place, &["--freeze", "11"]),
        ["11 layers are frozen", "has 11 with weights, of which one at least must learn", "freeze fewer"],
    ),
    fault(
        "an early stop of a check on one batch",
        |place| good_data(place, &["--overfit-batch", "--early-stop", "2"]),
        ["a check on one batch", "has no validation accuracy", "leave out the early stop"],
    ),
    fault(
        "another value of the recipe than the run in the model directory has",
        |place| {
            place.trained();
            place.run(&["train", "--label-smoothing", "0.1", "--augmentation-shift", "1"])
        },
        [
            "model/config.toml belongs to a run with other options",
            "recipe.augmentation.shift (saved 0.0, asked 1.0), recipe.label_smoothing (saved 0.0, asked 0.1)",
            "leave these options out",
        ],
    ),
    fault(
        "another start than the run in the model directory has",
        |place| {
            place.trained();
            place.run(&["train", "--init-from", "model"])
        },
        ["model/config.toml belongs to a run", "run.init_from (saved none, asked", "leave these options out"],
    ),
    Fault {
        title: "a start from a network that is not there",
        happen: |place| good_data(place, &["--init-from", "nowhere"]),
        exit: 65,
        says: ["nowhere", "holds no trained network", "train one first, or give the --model-dir of one"],
        touches: &[],
    },
    settings(
        "a file of settings that is not there",
        |place| good_data(place, &["--config", "settings.toml"]),
        ["settings.toml", "there is no such file", "correct the file, or leave out --config"],
    ),
    settings(
        "a misspelt key in a file of settings",
        |place| with_settings(place, "[recipe]\nlearing_rate = 0.1\n"),
        [
            "settings.toml",
            "line 2: there is no setting recipe.learing_rate; the nearest is recipe.learning_rate",
            "correct the file",
        ],
    ),
    settings(
        "a key outside of its table in a file of settings",
        |place| with_settings(place, "momentum = 0.5\n"),
        ["settings.toml", "line 1: there is no setting momentum; the nearest is recipe.momentum", "correct"],
    ),
    settings(
        "a text for a number in a file of settings",
        |place| with_settings(place, "[recipe]\nmomentum = \"fast\"\n"),
        ["settings.toml", "line 2: invalid type: string \"fast\", expected f64", "correct the file"],
    ),
    settings(
        "a file of settings that is no TOML",
        |place| with_settings(place, "momentum: 0.5\n"),
        ["settings.toml", "line 1: ", "correct the file, or leave out --config"],
    ),
    settings(
        "a file of settings that is not text",
        |place| with_settings(place, [0xff, 0xfe]),
        ["settings.toml", "it is not text in UTF-8", "correct the file"],
    ),
    settings(
        "a named pipe in place of a file of settings",
        |place| {
            place.pipe("settings.toml");
            good_data(place, &["--config", "settings.toml"])
        },
        ["settings.toml", "expected a file, found something else", "correct the file"],
    ),
    settings(
        "a file of settings of 1 GiB",
        |place| {
            std::fs::File::create(place.path("settings.toml")).unwrap().set_len(1 << 30).unwrap();
            good_data(place, &["--config", "settings.toml"])
        },
        ["settings.toml", "expected at most 1048576 bytes, found 1073741824", "correct the file"],
    ),
    fault(
        "other pictures than a file of settings is for",
        |place| with_settings(place, "[data]\nfingerprint = \"00\"\n"),
        ["data.fingerprint is to be \"00\"", "these data and options make it", "or leave it out"],
    ),
    fault(
        "data without a name",
        |place| place.run(&["train", "--data", ""]),
        ["--data", "the name is empty", "use mnist, or give a folder"],
    ),
    fault(
        "an unknown split",
        |place| place.run(&["evaluate", "--split", "exam"]),
        ["--split", "exam", "use train, validation or test"],
    ),
    fault(
        "a picture that is not there",
        |place| {
            place.digits();
            place.run(&["data", "show", "--data", "digits", "--index", "18"])
        },
        ["there is no picture 18 in the train split", "of digits", "give --index 0 to 17"],
    ),
    fault(
        "a measurement of no time",
        |place| place.run(&["bench", "predict", "--seconds", "0"]),
        ["--seconds", "expected a number above zero", HELP],
    ),
    fault(
        "pictures without rows",
        |place| place.run(&["info", "--height", "0"]),
        ["pictures of 0×28×1 cannot be used", "height and width must be 1 to 4096", "channels 1 to 64"],
    ),
    fault(
        "one class",
        |place| place.run(&["info", "--classes", "1"]),
        ["1 classes", "cannot be told apart", "give 2 to 100,000"],
    ),
    fault(
        "another length than the run in the model directory has",
        |place| {
            place.trained();
            place.run(&["train", "--steps", "9", "--seed", "7"])
        },
        [
            "model/config.toml belongs to a run with other options",
            "run.seed (saved 1, asked 7), run.steps (saved 4, asked 9)",
            "leave these options out to go on with that run, or give another --model-dir",
        ],
    ),
    fault(
        "another network than the run in the model directory has",
        |place| {
            place.trained();
            place.run(&["train", "--arch", "vgg16"])
        },
        [
            "model/config.toml belongs to a run with other options",
            "network.name (saved \"vgg11\", asked \"vgg16\")",
            "leave these options out",
        ],
    ),
    fault(
        "an instruction set that does not exist",
        |place| instruction_sets(place, "mmx", ""),
        ["VGG_MAX_ISA=mmx", "names no instruction set", "use one of portable, avx2"],
    ),
    fault(
        "an instruction set that is required and forbidden",
        |place| {
            if instruction_sets(place, "", "avx2").code != Some(0) {
                return Outcome::skipped("this processor has no avx2");
            }
            instruction_sets(place, "portable", "avx2")
        },
        ["VGG_REQUIRE_ISA=avx2", "VGG_MAX_ISA=portable forbids it", "unset one of the two"],
    ),
    fault(
        "none of the most probable classes",
        |place| place.run(&["predict", "--top", "0", "one.png"]),
        ["--top <N>", "expected a whole number from 1", HELP],
    ),
    fault(
        "standard input given twice",
        |place| place.run(&["predict", "-", "one.png", "-"]),
        ["standard input (-)", "is given twice, but has one picture", "give it once"],
    ),
];

/// A bad option ends with 2, and nothing is touched.
const fn fault(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 2, says, touches: &[] }
}

/// A bad file of settings ends with 65, and nothing is touched.
const fn settings(title: &'static str, happen: fn(&Place) -> Outcome, says: [&'static str; 3]) -> Fault {
    Fault { title, happen, exit: 65, says, touches: &[] }
}

/// Trains on good data with a file of settings.
fn with_settings(place: &Place, content: impl AsRef<[u8]>) -> Outcome {
    place.write("settings.toml", content);
    good_data(place, &["--config", "settings.toml"])
}

/// Trains on good data with more options.
fn good_data(place: &Place, more: &[&str]) -> Outcome {
    place.digits();
    place.train(more)
}

/// Asks for instruction sets; an empty name asks for none.
fn instruction_sets(place: &Place, most: &str, required: &str) -> Outcome {
    place.run_with(&["info"], |command| {
        command.env("VGG_MAX_ISA", most).env("VGG_REQUIRE_ISA", required);
    })
}
