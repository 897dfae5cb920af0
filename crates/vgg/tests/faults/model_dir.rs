//! Faults of the model directory and of the files in it that are no checkpoints.

use crate::place::{Outcome, Place, training};
use crate::{Area, Fault};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Child;

const CONFIG: &str = "model/config.toml";
const METRICS: &str = "model/metrics.jsonl";
const RESTORE: &str = "restore the file, or give another --model-dir";

pub(crate) const AREA: Area = Area {
    letter: 'M',
    title: "Model directory",
    about: "`vgg train`, into a new directory or on with a run of 4 steps that was stopped at step 2.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    fault(
        73,
        "the model directory is a file",
        |place| {
            place.write("model", "");
            new_run(place, "model")
        },
        ["cannot create model", "not a directory", "give a --model-dir that can be written to"],
    ),
    fault(
        73,
        "the model directory is below a file",
        |place| {
            place.write("file", "");
            new_run(place, "file/models/model")
        },
        ["cannot create file", "not a directory", "give a --model-dir that can be written to"],
    ),
    fault(
        73,
        "the model directory is where nobody may create one",
        |place| {
            // What the system says to root and to others is not the same.
            let outcome = new_run(place, "/proc/model");
            let others = "Permission denied (os error 13)";
            outcome.hide(others, "No such file or directory (os error 2)")
        },
        ["cannot create /proc/model", "(os error", "choose another model directory"],
    ),
    fault(
        73,
        "the model directory is a link to nowhere",
        |place| {
            place.link("model", "nowhere/at/all");
            new_run(place, "model")
        },
        ["cannot create model", "(os error", "choose another model directory"],
    ),
    fault(
        75,
        "another process trains there",
        |place| {
            let mut holder = Holder::start(place);
            let outcome = place.run(&["train"]);
            let pid = holder.child.id().to_string();
            assert!(outcome.all().contains(&format!("locked by process {pid}:")), "{}", outcome.all());
            holder.kill();
            let mut outcome = outcome.hide(&pid, "N");
            // What changed was changed by the holder.
            outcome.changed.clear();
            outcome
        },
        [
            "model/.lock",
            "is locked by process N",
            "wait until that training ends, or choose another model directory",
        ],
    ),
    Fault {
        title: "the process that trained there was killed with SIGKILL: the next one goes on at once",
        happen: |place| {
            Holder::start(place).kill();
            place.run(&["train", "--stop-at", "2"])
        },
        exit: 0,
        says: ["saved in model", "stopped at step 2", "Go on with: vgg train"],
        touches: &["model"],
    },
    fault(
        65,
        "checkpoints without a configuration",
        |place| without_config(place, |_| ()),
        ["model holds checkpoints but no config.toml", "which says how they came about", RESTORE],
    ),
    fault(
        65,
        "the configuration is not text",
        |place| without_config(place, |place| place.write(CONFIG, [0xff, 0xfe])),
        [CONFIG, "it is not text in UTF-8", RESTORE],
    ),
    fault(
        65,
        "the configuration is empty",
        |place| without_config(place, |place| place.write(CONFIG, "")),
        [CONFIG, "missing field `version`", RESTORE],
    ),
    fault(
        65,
        "the configuration is cut short",
        |place| without_config(place, |place| place.write(CONFIG, "version = 2\n[network]\nname = \"vgg")),
        [CONFIG, "line 3: ", RESTORE],
    ),
    fault(
        65,
        "an unknown key in the configuration",
        |place| edited(place, "learning_rate", "learing_rate"),
        [CONFIG, "unknown field `learing_rate`", RESTORE],
    ),
    fault(
        65,
        "the same key twice in the configuration",
        |place| edited(place, "seed = 1", "seed = 1\nseed = 1"),
        [CONFIG, "duplicate key", RESTORE],
    ),
    fault(
        65,
        "a configuration of a later version",
        |place| edited(place, "version = 2", "version = 3"),
        [CONFIG, "its version is 3, this program understands 2", RESTORE],
    ),
    fault(
        65,
        "a configuration of an earlier version",
        |place| edited(place, "version = 2", "version = 1"),
        [CONFIG, "is of version 1, which an earlier program wrote", "train anew in another --model-dir"],
    ),
    fault(
        65,
        "constants of the pixels in the configuration of a run that does not normalise them",
        |place| edited(place, "[recipe]", "mean = [0.5]\n[recipe]"),
        [CONFIG, "with recipe.normalise false, there must be no data.mean", RESTORE],
    ),
    fault(
        65,
        "batches of 0 pictures in the configuration",
        |place| edited(place, "batch_size = 4", "batch_size = 0"),
        [CONFIG, "the batch size is 0", RESTORE],
    ),
    fault(
        65,
        "the learning rate NaN in the configuration",
        |place| edited(place, "learning_rate = 0.001", "learning_rate = nan"),
        [CONFIG, "the learning rate is NaN", RESTORE],
    ),
    fault(
        65,
        "an unknown network in the configuration",
        |place| edited(place, "\"vgg11\"", "\"vgg12\""),
        [CONFIG, "no network is called \"vgg12\"", RESTORE],
    ),
    fault(
        65,
        "the precision `auto` in the configuration, which a run has settled when it begins",
        |place| {
            place.trained();
            let text = String::from_utf8(place.read(CONFIG)).unwrap();
            let line = text.lines().find(|line| line.starts_with("precision = ")).unwrap().to_owned();
            place.edit(CONFIG, &line, "precision = \"auto\"");
            place.run(&["train"])
        },
        [CONFIG, "its precision is auto", RESTORE],
    ),
    fault(
        65,
        "a changed value in the configuration",
        |place| edited(place, "steps = 4", "steps = 5"),
        [
            "model/ckpt-000000002 was made by a run with other options",
            "run.steps (saved 4, asked 5)",
            "restore the file",
        ],
    ),
    fault(
        65,
        "a folder in place of the configuration",
        |place| without_config(place, |place| place.folder(CONFIG)),
        [CONFIG, "expected a file, found something else", RESTORE],
    ),
    fault(
        65,
        "a named pipe in place of the configuration",
        |place| without_config(place, |place| place.pipe(CONFIG)),
        [CONFIG, "expected a file, found something else", RESTORE],
    ),
    fault(
        65,
        "a configuration of 1 GiB",
        |place| {
            without_config(place, |place| {
                File::create(place.path(CONFIG)).unwrap().set_len(1 << 30).unwrap();
            })
        },
        [CONFIG, "expected at most 1048576 bytes, found 1073741824", RESTORE],
    ),
    fault(
        74,
        "a folder in place of the measurements",
        |place| other_metrics(place, |place| place.folder(METRICS)),
        [
            "cannot read model/metrics.jsonl",
            "expected a file, found something else",
            "check the disk and the file's permissions",
        ],
    ),
    fault(
        74,
        "a named pipe in place of the measurements",
        |place| other_metrics(place, |place| place.pipe(METRICS)),
        [
            "cannot read model/metrics.jsonl",
            "expected a file, found something else",
            "check the disk and the file's permissions",
        ],
    ),
    fault(
        74,
        "a device that never ends in place of the measurements",
        |place| other_metrics(place, |place| place.link(METRICS, "/dev/zero")),
        [
            "cannot read model/metrics.jsonl",
            "expected a file, found something else",
            "check the disk and the file's permissions",
        ],
    ),
    fault(
        73,
        "the measurements are a link to nowhere",
        |place| other_metrics(place, |place| place.link(METRICS, "nowhere/at/all")),
        [
            "cannot create model/metrics.jsonl",
            "No such file or directory",
            "check its permissions or choose another model directory",
        ],
    ),
    fault(
        73,
        "a folder in place of the lock",
        |place| {
            place.trained();
            place.folder("model/.lock");
            place.run(&["train"])
        },
        ["cannot create model/.lock", "Is a directory", "choose another model directory"],
    ),
    fault(
        74,
        "a named pipe in place of the lock",
        |place| {
            place.trained();
            place.pipe("model/.lock");
            place.run(&["train"])
        },
        ["cannot write model/.lock", "Invalid argument", "check its permissions"],
    ),
];

/// A run that cannot begin changes nothing but the holder's number in the lock.
const fn fault(
    exit: i32,
    title: &'static str,
    happen: fn(&Place) -> Outcome,
    says: [&'static str; 3],
) -> Fault {
    Fault { title, happen, exit, says, touches: &["model/.lock"] }
}

/// Trains on good data in a new model directory.
fn new_run(place: &Place, model_dir: &str) -> Outcome {
    place.digits();
    place.train(&["--model-dir", model_dir])
}

/// Goes on with the run after its configuration was removed, and perhaps replaced.
fn without_config(place: &Place, replace: impl FnOnce(&Place)) -> Outcome {
    place.trained();
    place.remove(CONFIG);
    replace(place);
    place.run(&["train"])
}

/// Goes on with the run after its measurements were replaced.
fn other_metrics(place: &Place, replace: impl FnOnce(&Place)) -> Outcome {
    place.trained();
    replace(place);
    place.run(&["train"])
}

/// Goes on with the run after a change of its configuration.
fn edited(place: &Place, from: &str, to: &str) -> Outcome {
    place.trained();
    place.edit(CONFIG, from, to);
    place.run(&["train"])
}

/// A process that trains, and so holds the lock.
struct Holder {
    child: Child,
}

impl Holder {
    /// Starts a long training and waits until it has written its first measurement.
    fn start(place: &Place) -> Self {
        place.digits();
        let mut child = place.command(&training(&["--steps", "1000000"])).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let begun = log.lines().any(|line| line.unwrap().starts_with("loss = "));
        assert!(begun, "the training that holds the lock ended early");
        Self { child }
    }

    /// Sends SIGKILL, and waits for the end.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Holder {
    /// Leaves no process behind when a test fails.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
