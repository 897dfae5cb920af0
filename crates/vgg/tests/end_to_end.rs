//! The program from training to prediction, with the files and exit codes that a user meets. One
//! test learns MNIST for real; the others train a few steps on a few hundred pictures.

mod common;

#[cfg(unix)]
use common::interrupt;
use common::{assert_error, command, idx, json, run, stderr, text};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
#[cfg(unix)]
use std::process::{Child, ChildStderr, Stdio};
use tempfile::tempdir;
use vgg::{Dataset, Source, Split, Splits, write_png};

/// Arguments of a short training on the folder that [`few_pictures`] makes.
const SHORT: &[&str] = &["train", "--json", "--data", "few", "--arch", "A", "--batch-size", "8"];

fn mnist() -> Splits {
    vgg::open(&Source::Mnist, &vgg::DataOptions::default()).unwrap()
}

/// Makes the data folder `few`: 300 training and 40 test pictures of MNIST in IDX files.
fn few_pictures(directory: &Path) {
    let folder = directory.join("few");
    fs::create_dir(&folder).unwrap();
    let splits = mnist();
    for (prefix, split, count) in [("train", Split::Train, 300), ("t10k", Split::Test, 40)] {
        let data = splits.get(split);
        let images = idx(&[count, 28, 28], &data.images()[..count * 28 * 28]);
        fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        let labels: Vec<u8> = data.labels()[..count].iter().map(|&label| label as u8).collect();
        fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), idx(&[count], &labels)).unwrap();
    }
}

fn write_digit(path: &Path, data: &Dataset, index: usize) {
    write_png(path, data.image(index), 28, 28, 1).unwrap();
}

fn train(directory: &Path, more: &[&str]) -> Value {
    let output = run(directory, &[SHORT, more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    json(&output)
}

#[test]
fn mnist_is_learned_and_its_digits_are_told() {
    let folder = tempdir().unwrap();
    let directory = folder.path();
    let output = run(directory, &["train", "--json", "--steps", "300"]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    for part in ["network   vgg13, head tutorial, 32,393,410 parameters", "recipe    fast", "kernels   "] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(
        log.contains("\nloss = ") && log.contains(", step = 101 (") && log.contains("\nglobal_step/sec: ")
    );
    let trained = json(&output);
    let test = &trained["test"];
    assert_eq!((&trained["ending"], &trained["global_step"]), (&"finished".into(), &300.into()));
    assert_eq!((&test["split"], &test["examples"]), (&"test".into(), &10_000.into()));
    assert!(test["accuracy"].as_f64().unwrap() > 0.97, "{test}");
    let metrics = fs::read_to_string(directory.join("model/metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() > 1);
    assert!(metrics.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{metrics}");

    let validation = json(&run(directory, &["evaluate", "--split", "validation", "--json"]));
    assert!(validation["accuracy"].as_f64().unwrap() > 0.97, "{validation}");
    assert_eq!((&validation["examples"], &validation["global_step"]), (&5000.into(), &300.into()));

    the_report_is_about_this_run(directory, &trained);
    digits_are_told(directory);
    pictures_of_every_kind_are_told_or_named(directory);
}

/// The page at the end of training has the figures that were printed; `vgg report` makes another one.
fn the_report_is_about_this_run(directory: &Path, trained: &Value) {
    assert_eq!(trained["report"], "model/report.html");
    let percent = |report: &Value| format!("{:.2}\u{a0}%", 100.0 * report["accuracy"].as_f64().unwrap());
    let page = fs::read_to_string(directory.join("model/report.html")).unwrap();
    let loss = format!("loss {:.4}</p>", trained["test"]["loss"].as_f64().unwrap());
    for part in [&percent(&trained["test"]), &loss, "scored once", "vgg train --steps 300 --precision "] {
        assert!(page.contains(part), "{part} is missing");
    }
    let later = json(&run(directory, &["report", "--split", "validation", "--json"]));
    let other = "model/report-validation.html";
    assert_eq!((&later["report"], &later["examples"]), (&other.into(), &5_000.into()));
    assert_eq!(fs::read_to_string(directory.join("model/report.html")).unwrap(), page);
    let page = fs::read_to_string(directory.join(other)).unwrap();
    assert!(page.contains(&format!("{}</span> of 5,000 validation pictures", percent(&later))));
}

/// Of twenty test pictures as PNG files, at most one is taken for another digit.
fn digits_are_told(directory: &Path) {
    let test = mnist().test;
    let files: Vec<String> = (0..20).map(|index| format!("{index}.png")).collect();
    for (index, file) in files.iter().enumerate() {
        write_digit(&directory.join(file), &test, index);
    }
    let mut arguments = vec!["predict", "--json"];
    arguments.extend(files.iter().map(String::as_str));
    let report = json(&run(directory, &arguments));
    let predictions = report["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 20);
    let mut right = 0;
    for (index, prediction) in predictions.iter().enumerate() {
        assert_eq!(prediction["file"], files[index]);
        let probabilities = prediction["probabilities"].as_array().unwrap();
        let sum: f64 = probabilities.iter().map(|value| value.as_f64().unwrap()).sum();
        assert!(probabilities.len() == 10 && (sum - 1.0).abs() < 1e-6, "{prediction}");
        right += usize::from(prediction["class"] == test.label(index));
    }
    assert!(right >= 19, "{right} of 20 in {report}");
}

/// Prediction and evaluation in all their ways; a network that has learned little will do.
#[test]
fn folders_standard_input_and_shifted_pictures_are_told() {
    let folder = tempdir().unwrap();
    let directory = folder.path();
    few_pictures(directory);
    train(directory, &["--steps", "2"]);
    let predictions = folder_is_told(directory);
    let mut command = command(directory, &["predict", "all/000.png", "-", "all/001.png", "--json"]);
    let output = command.stdin(fs::File::open(directory.join("all/002.png")).unwrap()).output().unwrap();
    let told = json(&output);
    for (at, (file, same)) in [("all/000.png", 0), ("-", 2), ("all/001.png", 1)].into_iter().enumerate() {
        let (found, expected) = (&told["predictions"][at], &predictions[same]);
        assert_eq!((&found["file"], &found["class"]), (&file.into(), &expected["class"]));
    }
    shifts_are_averaged(directory);
}

/// More pictures than are told at once, some in a folder within, come in the order of their names; the table and
/// the JSON object say the same.
fn folder_is_told(directory: &Path) -> Vec<Value> {
    let test = mnist().test;
    fs::create_dir_all(directory.join("all/within")).unwrap();
    let files: Vec<String> = (0..230)
        .map(|index| format!("all/{}{index:03}.png", if index < 200 { "" } else { "within/" }))
        .collect();
    files.iter().enumerate().for_each(|(index, file)| write_digit(&directory.join(file), &test, index));
    let mut report = json(&run(directory, &["predict", "--json", "--top", "2", "all"]));
    let Value::Array(predictions) = report["predictions"].take() else { panic!("{report}") };
    assert_eq!(predictions.iter().map(|p| p["file"].as_str().unwrap()).collect::<Vec<_>>(), files);

    let table = text(directory, &["predict", "all", "--top", "2"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 460);
    for (index, (lines, prediction)) in lines.chunks(2).zip(&predictions).enumerate() {
        let percent = |at: usize| 100.0 * prediction["top"][at]["probability"].as_f64().unwrap();
        let class = |at: usize| prediction["top"][at]["class_name"].as_str().unwrap();
        let file = prediction["file"].as_str().unwrap();
        // The last portion has longer names.
        let width = if index < 200 { 11 } else { 18 };
        assert_eq!(lines[0], format!("{file:width$}  {}  {:6.2} %", class(0), percent(0)));
        assert_eq!(lines[1], format!("{:width$}  {}  {:6.2} %", "", class(1), percent(1)));
        assert_eq!(prediction["class"], prediction["top"][0]["class"]);
    }
    predictions
}

/// Nine looks at each picture give other probabilities than one.
fn shifts_are_averaged(directory: &Path) {
    let shifts = ["--json", "--test-time-shifts"];
    let told = |more: &[&str]| {
        json(&run(directory, &[&["predict", "all/000.png", "--json"][..], more].concat()))["predictions"][0]
            .take()
    };
    let (one, nine) = (told(&[]), told(&shifts[1..]));
    assert_eq!(nine["probabilities"].as_array().unwrap().len(), 10);
    assert_ne!(one["probabilities"], nine["probabilities"]);
    let evaluate = |more: &[&str]| json(&run(directory, &[&["evaluate", "--json"][..], more].concat()));
    let (one, nine) = (evaluate(&[]), evaluate(&shifts[1..]));
    assert_ne!(one["loss"], nine["loss"]);
    for found in [one, nine] {
        let (accuracy, interval) = (found["accuracy"].as_f64().unwrap(), &found["interval"]);
        let [low, high] = [0, 1].map(|end| interval[end].as_f64().unwrap());
        assert!(low <= accuracy && accuracy <= high && low < high, "{found}");
    }
}

/// A large colour picture is converted, with a note; what is no picture is named, and the others
/// are told all the same.
fn pictures_of_every_kind_are_told_or_named(directory: &Path) {
    let test = mnist().test;
    let mut large = Vec::new();
    for y in 0..56 {
        for x in 0..56 {
            large.extend([test.image(0)[y / 2 * 28 + x / 2]; 3]);
        }
    }
    write_png(&directory.join("large.png"), &large, 56, 56, 3).unwrap();
    fs::write(directory.join("text.png"), "not a picture").unwrap();
    let output = run(directory, &["predict", "large.png", "text.png", "missing.png", "0.png"]);
    assert_error(&output, 65, "text.png");
    let message = stderr(&output);
    assert!(message.contains("error: missing.png"), "{message}");
    assert!(message.contains("note: large.png: resized from 56x56 to 28x28"), "{message}");
    let told = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("large.png  7  ") && lines[1].starts_with("0.png      7  "),
        "{told}"
    );
    assert!(message.contains("note: 2 of 4 could not be told"), "{message}");
}

/// Also with another number of threads, and with every option left out the second time.
#[test]
fn a_stopped_and_resumed_run_gives_the_same_bytes() {
    let folder = tempdir().unwrap();
    let directory = folder.path();
    few_pictures(directory);
    train(directory, &["--steps", "6", "--model-dir", "whole", "--threads", "3"]);
    let stopped = train(directory, &["--steps", "6", "--stop-at", "2", "--model-dir", "parts"]);
    assert_eq!((&stopped["ending"], &stopped["global_step"]), (&"stopped".into(), &2.into()));
    assert_eq!(stopped["test"], Value::Null);

    refuses_other_options(directory);

    let output = run(directory, &["train", "--model-dir", "parts"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("resumed at step 2, to step 6 of 6"), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("vgg predict --model-dir parts picture.png"));
    for file in ["weights.safetensors", "optimizer.safetensors"] {
        let read = |run: &str| fs::read(directory.join(run).join("ckpt-000000006").join(file)).unwrap();
        assert!(read("whole") == read("parts"), "{file} differs");
    }
    assert_eq!(train(directory, &["--model-dir", "parts"])["ending"], "nothing to do");

    data_that_do_not_fit_are_named(directory);
    damage_is_passed_over(directory);
}

fn refuses_other_options(directory: &Path) {
    let config = directory.join("parts/config.toml");
    let before = fs::read(&config).unwrap();
    let output = run(directory, &["train", "--model-dir", "parts", "--seed", "7", "--steps", "9"]);
    assert_error(&output, 2, "run.seed (saved 1, asked 7)");
    assert_error(&output, 2, "run.steps (saved 6, asked 9)");
    assert_eq!(fs::read(&config).unwrap(), before);
}

/// Fewer classes than the network has can be told apart by it, and pictures of another size are brought to
/// its own, with a word; more classes cannot.
fn data_that_do_not_fit_are_named(directory: &Path) {
    let write = |name: &str, side: usize, labels: &[u8]| {
        let folder = directory.join(name);
        fs::create_dir(&folder).unwrap();
        for prefix in ["train", "t10k"] {
            let count = labels.len();
            let images = idx(&[count, side, side], &vec![0; count * side * side]);
            fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
            fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), idx(&[count], labels)).unwrap();
        }
    };
    write("two", 28, &[0, 1, 0, 1]);
    write("other", 30, &[0, 1, 0, 1]);
    // The first becomes the validation split, and training must show every class.
    write("more", 28, &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let evaluate = |data| run(directory, &["evaluate", "--model-dir", "parts", "--data", data, "--json"]);
    assert_eq!(json(&evaluate("two"))["examples"], 4);
    let other = evaluate("other");
    assert_eq!(json(&other)["examples"], 4);
    assert!(stderr(&other).contains("other: pictures of 30x30 (height x width) were brought to 28x28"));
    assert_error(&evaluate("more"), 65, "error: more: ");
}

/// With its newest checkpoint damaged, a model directory still has the one before. Evaluation, which uses the
/// mean of the weights, is not kept from it by damage to the weights themselves; training is.
fn damage_is_passed_over(directory: &Path) {
    let damage = |file: &str| {
        let path = directory.join("parts/ckpt-000000006").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    let evaluate = || run(directory, &["evaluate", "--model-dir", "parts", "--json"]);
    damage("weights.safetensors");
    let output = evaluate();
    assert_eq!(json(&output)["global_step"], 6);
    assert!(!stderr(&output).contains("note: "), "{}", stderr(&output));
    damage("average.safetensors");
    let output = evaluate();
    let message = stderr(&output);
    assert!(message.contains("note: ") && message.contains("ckpt-000000006"), "{message}");
    let report = json(&output);
    assert_eq!((&report["global_step"], &report["examples"]), (&2.into(), &40.into()));
    let again = train(directory, &["--model-dir", "parts"]);
    assert_eq!((&again["ending"], &again["global_step"]), (&"finished".into(), &6.into()));
    assert!(directory.join("parts/damaged-ckpt-000000006").exists());
}

#[test]
fn training_that_diverges_ends_with_76_and_saves_nothing_bad() {
    let folder = tempdir().unwrap();
    few_pictures(folder.path());
    let more = ["--steps", "50", "--learning-rate", "1e20"];
    assert_error(&run(folder.path(), &[SHORT, &more].concat()), 76, "training diverged");
    assert_error(&run(folder.path(), &["evaluate"]), 65, "no trained network");
    // The first step's weights are finite, and saved, but the loss that they give is not.
    let more = ["--steps", "5", "--learning-rate", "1e30", "--save-every", "1"];
    assert_error(&run(folder.path(), &[SHORT, &more].concat()), 76, "there is no good checkpoint");
    assert!(!folder.path().join("model").exists());
    // Only the final evaluation meets them here.
    let more = ["--steps", "1", "--learning-rate", "1e30"];
    let output = run(folder.path(), &[SHORT, &more].concat());
    assert_error(&output, 76, "training diverged after 1 steps");
    assert!(output.stdout.is_empty());
}

#[test]
fn damaged_data_are_named_and_create_nothing() {
    let folder = tempdir().unwrap();
    few_pictures(folder.path());
    let images = folder.path().join("few/train-images-idx3-ubyte");
    let whole = fs::read(&images).unwrap();
    let wrong_magic = [&[1], &whole[1..]].concat();
    for damaged in [&whole[..whole.len() - 1], &whole[..10], &[], &wrong_magic] {
        fs::write(&images, damaged).unwrap();
        assert_error(&run(folder.path(), SHORT), 65, "train-images-idx3-ubyte");
        assert!(!folder.path().join("model").exists());
    }
}

/// A started program whose standard error is read up to a line that begins with `line`.
#[cfg(unix)]
fn start(directory: &Path, arguments: &[&str], line: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child =
        command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    wait_for(&mut log, line);
    (child, log)
}

#[cfg(unix)]
fn wait_for(log: &mut BufReader<ChildStderr>, beginning: &str) {
    let mut line = String::new();
    while !line.starts_with(beginning) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the run ended before {beginning:?}");
    }
}

/// Standard output and the rest of standard error of a program that ends with `code`.
#[cfg(unix)]
fn end(mut child: Child, mut log: BufReader<ChildStderr>, code: i32) -> (String, String) {
    let (mut rest, mut answer) = (String::new(), String::new());
    log.read_to_string(&mut rest).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(code), "{rest}");
    (answer, rest)
}

/// JSON is text, and a folder's name on Linux need not be: the byte that is none is shown as a mark.
#[cfg(target_os = "linux")]
#[test]
fn a_model_directory_whose_name_is_no_text_is_trained_in_and_shown() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    let directory = folder.path();
    few_pictures(directory);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let arguments = [SHORT, &["--steps", "1", "--model-dir"]].concat();
    let output = command(directory, &arguments).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["model_dir"], "caf\u{fffd}");
    assert!(directory.join(name).join("ckpt-000000001/MANIFEST").exists());
}

/// The final evaluation, of 10,000 pictures, takes far longer than the signal needs to arrive.
#[cfg(unix)]
#[test]
fn an_interrupted_final_evaluation_leaves_a_finished_run() {
    let folder = tempdir().unwrap();
    let short = ["train", "--arch", "A", "--steps", "1", "--batch-size", "8"];
    let arguments = [&short[..], &["--json"]].concat();
    let (child, log) = start(folder.path(), &arguments, "Loss for final step");
    interrupt(&child);
    let (answer, log) = end(child, log, 130);
    assert!(!log.contains("error: "), "{log}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["ending"], &answer["global_step"]), (&"finished".into(), &1.into()));
    assert_eq!(answer["test"], Value::Null);

    let (child, log) = start(folder.path(), &short, "Nothing to train");
    interrupt(&child);
    let (answer, _) = end(child, log, 130);
    assert!(answer.starts_with("training is complete at step 1 and saved in model"), "{answer}");
}

/// A step of so many pictures takes far longer than the second signal needs to arrive.
#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_at_once_without_saving() {
    let folder = tempdir().unwrap();
    let arguments = ["train", "--arch", "E", "--batch-size", "1000", "--threads", "1"];
    let (child, mut log) = start(folder.path(), &arguments, "kept in");
    interrupt(&child);
    wait_for(&mut log, "stopping after this step");
    interrupt(&child);
    let (answer, _) = end(child, log, 1);
    assert_eq!(answer, "");
    assert_error(&run(folder.path(), &["evaluate"]), 65, "no trained network");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_goes_on() {
    let folder = tempdir().unwrap();
    let directory = folder.path();
    few_pictures(directory);
    let endless = [SHORT, &["--steps", "1000000"]].concat();
    let (child, log) = start(directory, &endless, "loss = ");
    assert_error(&run(directory, &endless), 75, "model");

    interrupt(&child);
    let (answer, _) = end(child, log, 130);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["ending"], "interrupted");

    let step = answer["global_step"].as_u64().unwrap();
    assert!(directory.join(format!("model/ckpt-{step:09}/MANIFEST")).exists());
    let next = (step + 1).to_string();
    assert!(text(directory, &["train", "--stop-at", &next]).starts_with("stopped at step "));
}
