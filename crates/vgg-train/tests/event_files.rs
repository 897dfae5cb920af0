//! Event files: byte for byte what the format asks for, the same values however often a run was stopped, and
//! what TensorBoard itself reads.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use support::event_reader::{Event, points, records};
use support::{Regression, Tell, contents, kill_at, write_data};
use tempfile::TempDir;
use vgg_data::Source;
use vgg_train::{Evaluation, Length, Listener, Overrides, TrainError, TrainOptions, tensorboard, train};

/// Steps of the run: 42 epochs of six.
const STEPS: u64 = 252;

/// A run of [`STEPS`] steps, saved every 30.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), 1);
        Self { folder }
    }

    fn model(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, name: &str, stop_at: Option<u64>) -> TrainOptions {
        TrainOptions {
            data: Some(Source::Folder(self.folder.path().join("data"))),
            batch_size: Some(10),
            length: Some(Length::Steps(STEPS)),
            save_every: Some(30),
            stop_at,
            ..TrainOptions::new(self.model(name))
        }
    }

    /// Trains until a step, or until a listener ends the run.
    fn train(&self, name: &str, stop_at: Option<u64>, listeners: &mut [&mut dyn Listener]) {
        let options = self.options(name, stop_at);
        let was_killed = train(&options, &Regression::make, listeners, &AtomicBool::new(false)).is_err();
        assert_eq!(was_killed, !listeners.is_empty());
    }

    fn files(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        contents(&self.model(name)).into_iter().map(|(path, bytes)| (path.into(), bytes)).collect()
    }
}

fn event_files(files: &[(PathBuf, Vec<u8>)], folder: &str) -> Vec<Vec<u8>> {
    let is_one = |path: &Path| {
        path.parent() == Some(Path::new(folder)) && path.to_string_lossy().contains("events.out.tfevents.")
    };
    files.iter().filter(|(path, _)| is_one(path)).map(|(_, bytes)| bytes.clone()).collect()
}

#[test]
fn a_run_leaves_whole_records_of_what_it_measured() {
    let bench = Bench::new();
    bench.train("model", None, &mut []);
    let files = bench.files("model");
    let [training] = &event_files(&files, "")[..] else { panic!("one file of training") };
    let (records, rest) = records(training);
    assert_eq!(rest, 0);
    let events: Vec<Event> = records.iter().map(|record| Event::read(record)).collect();
    assert_eq!(events[0], Event { version: Some("brain.Event:2".into()), ..Event::default() });
    assert_eq!(events[1], Event { step: 1, is_start: true, ..Event::default() });
    let (tag, size, png) = &events[3].pictures[0];
    assert_eq!((tag.as_str(), *size, events[3].step), ("pictures", [32, 32, 1], 1));
    assert!(png.starts_with(b"\x89PNG\r\n"));
    let steps: Vec<u64> = events[2..].iter().map(|event| event.step).collect();
    assert_eq!(steps, [1, 1, 101, 201, STEPS]);
    let names = |event: &Event| event.values.iter().map(|(tag, _)| tag.clone()).collect::<Vec<_>>();
    assert_eq!(names(&events[2]), ["loss", "learning_rate"]);
    assert_eq!(names(&events[4]), ["loss", "learning_rate", "global_step/sec"]);
    let speed = f32::from_bits(events[4].values[2].1);
    assert!(speed.is_finite() && speed > 0.0, "{speed}");
    assert_eq!(expected(&bench.model("model")), numbers(&files));
}

/// A run that is stopped, and killed after its last checkpoint, has the values of one that was not: each of
/// its files takes back what comes after the step that it goes on from.
#[test]
fn stops_and_kills_change_no_value() {
    let bench = Bench::new();
    bench.train("whole", None, &mut []);
    bench.train("parts", Some(50), &mut []);
    bench.train("parts", None, &mut [&mut kill_at(119)]);
    let known = points(&bench.files("parts"));
    assert_eq!(known.iter().map(|(_, _, step, _)| *step).max(), Some(114), "after the last checkpoint");
    bench.train("parts", None, &mut []);
    assert_eq!(points(&bench.files("parts")), points(&bench.files("whole")));
    assert_eq!(event_files(&bench.files("parts"), "").len(), 3, "one for each start that had values");
}

/// A run that is gone on with after its end makes no step, and adds no value.
#[test]
fn the_last_step_is_there_once() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.train("model", None, &mut []);
    }
    let all = points(&bench.files("model"));
    let is_last = |point: &&(PathBuf, String, u64, u32)| point.0 == Path::new("") && point.2 == STEPS;
    let last: Vec<&str> = all.iter().filter(is_last).map(|point| point.1.as_str()).collect();
    assert_eq!(last, ["loss", "learning_rate"]);
}

/// Its end is not known beforehand: each epoch may be the last. A kill after what was written of the last step,
/// and before it was saved, changes nothing.
#[test]
fn a_run_that_ends_early_has_its_last_step() {
    let bench = Bench::new();
    let train = |name: &str, stop_at: Option<u64>, listeners: &mut [&mut dyn Listener]| {
        let overrides = Overrides { early_stop: Some(2), ..Overrides::default() };
        let options = TrainOptions { overrides, ..bench.options(name, stop_at) };
        train(&options, &Regression::make, listeners, &AtomicBool::new(false)).map(|run| run.global_step)
    };
    let end = train("whole", None, &mut []).unwrap();
    assert!(end < STEPS && end % 6 == 0 && end % 100 != 1, "{end}");
    let whole = points(&bench.files("whole"));
    assert!(whole.iter().any(|point| point.0 == Path::new("") && point.2 == end), "{whole:?}");
    train("parts", Some(8), &mut []).unwrap();
    let mut kill_before_it_is_saved = Tell(|event: &vgg_train::Event<'_>| match event {
        vgg_train::Event::Saving { global_step } if *global_step == end => {
            Err(TrainError::Usage("killed".into()))
        }
        _ => Ok(()),
    });
    train("parts", None, &mut [&mut kill_before_it_is_saved]).unwrap_err();
    assert!(points(&bench.files("parts")).iter().any(|point| point.0 == Path::new("") && point.2 == end));
    assert_eq!(train("parts", None, &mut []).unwrap(), end);
    assert_eq!(points(&bench.files("parts")), whole);
}

#[test]
fn the_test_split_is_recorded_once() {
    let bench = Bench::new();
    let evaluation =
        Evaluation { accuracy: 0.5, interval: [0.3, 0.7], loss: 0.25, global_step: 252, examples: 20 };
    for _ in 0..2 {
        tensorboard::record_test(&bench.model("model").into(), &evaluation).unwrap();
    }
    let files = bench.files("model");
    assert_eq!(event_files(&files, "eval/test").len(), 1);
    let expected = [
        json!({"tag": "eval/test/accuracy", "step": 252, "bits": 0.5f32.to_bits()}),
        json!({"tag": "eval/test/loss", "step": 252, "bits": 0.25f32.to_bits()}),
    ];
    assert_eq!(numbers(&files), expected);
}

/// The numbers as `read_events.py` gives them.
fn numbers(files: &[(PathBuf, Vec<u8>)]) -> Vec<Value> {
    let number = |(folder, tag, step, bits): (PathBuf, String, u64, u32)| json!({"tag": folder.join(tag), "step": step, "bits": bits});
    sorted(points(files).into_iter().map(number).collect())
}

/// The numbers that event files are to have, from `metrics.jsonl`.
fn expected(model_dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(model_dir.join("metrics.jsonl")).unwrap();
    let mut numbers = Vec::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let step = line["global_step"].as_u64().unwrap();
        let (folder, names) = match line["event"].as_str() {
            Some("step") if step % 100 == 1 || step == STEPS => ("", ["loss", "learning_rate"]),
            Some("step") => continue,
            _ => ("eval/", ["accuracy", "loss"]),
        };
        for name in names {
            let bits = (line[name].as_f64().unwrap() as f32).to_bits();
            numbers.push(json!({"tag": format!("{folder}{name}"), "step": step, "bits": bits}));
        }
    }
    sorted(numbers)
}

fn sorted(mut numbers: Vec<Value>) -> Vec<Value> {
    numbers.sort_by_key(|number| (number["tag"].to_string(), number["step"].as_u64()));
    numbers
}

/// TensorBoard's own package reads the same numbers and pictures, from a run that was stopped and killed and
/// of which a file has lost its end. `VGG_TENSORBOARD_PYTHON` is a Python that has the package.
#[test]
fn tensorboard_reads_the_same() {
    let python = std::env::var_os("VGG_TENSORBOARD_PYTHON").unwrap_or_else(|| "python3".into());
    let has_package = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !has_package.is_ok_and(|output| output.status.success()) {
        println!(
            "SKIPPED: {} has no package tensorboard; VGG_TENSORBOARD_PYTHON may name one that has",
            python.display()
        );
        return;
    }
    let bench = Bench::new();
    bench.train("model", Some(50), &mut []);
    bench.train("model", None, &mut [&mut kill_at(119)]);
    cut_last_file(&bench.model("model"));
    bench.train("model", None, &mut []);
    let evaluation =
        Evaluation { accuracy: f64::NAN, interval: [0.3, 0.7], loss: 0.25, global_step: 252, examples: 20 };
    tensorboard::record_test(&bench.model("model").into(), &evaluation).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let output = Command::new(&python).arg(script).arg(bench.model("model")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut all = expected(&bench.model("model"));
    all.push(json!({"tag": "eval/test/accuracy", "step": 252, "bits": f32::NAN.to_bits()}));
    all.push(json!({"tag": "eval/test/loss", "step": 252, "bits": 0.25f32.to_bits()}));
    for reader in ["scalars", "tensors"] {
        let found = sorted(read[reader].as_array().unwrap().clone());
        assert_eq!(found, sorted(all.clone()), "{reader}");
    }
    assert_eq!(read["speeds"], json!([101, 201, STEPS]), "{read}");
    assert_eq!(read["pictures"], json!([{"tag": "pictures", "step": 1, "width": 32, "height": 32}]));
}

/// Takes the last bytes of the newest file of training away, as a kill or a power cut may.
fn cut_last_file(model_dir: &Path) {
    let files = contents(model_dir);
    let (name, bytes) = files.iter().rfind(|(name, _)| name.starts_with("events.")).unwrap();
    std::fs::write(model_dir.join(name), &bytes[..bytes.len() - 3]).unwrap();
}
