//! A kill at any moment loses at most the work since the last checkpoint: the program is killed at
//! random moments and started again until it ends by itself. What it then leaves must be what it
//! leaves when nobody kills it.
//!
//! `VGG_KILLS` is the number of kills, `VGG_KILLS_SEED` the seed of their moments.
#![cfg(unix)]

mod common;

use common::command;
use common::long::{ROOM, SMALL, Scratch, checkpoints, names, number, say, small_pictures};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vgg::arch::random::unit;
use vgg::arch::{Purpose, Random};

const STEPS: u64 = 14;
const SAVE_EVERY: u64 = 2;

/// Number of checkpoints that the program keeps.
const KEEP: usize = 5;

/// Starts after which a run that never ends is given up; three or four are usual.
const MOST_STARTS: u64 = 100;

/// Starts of a run after which the next ones get twice the time: the machine may have become much slower
/// since the time of a whole run was taken.
const STARTS_BEFORE_MORE_TIME: u64 = 10;

/// Time after which a start that is not to be killed is given up.
const LONGEST: Duration = Duration::from_secs(600);

/// Beginnings of the folders that a kill may leave and the next start must remove.
const LEFTOVERS: [&str; 2] = [".tmp-ckpt-", ".trash-ckpt-"];

/// A file put into such a folder after a kill, to know the folder again.
const MARK: &str = "left-by-a-kill";

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let (kills, seed) = (number("VGG_KILLS", 8), number("VGG_KILLS_SEED", 1));
    say(format_args!("{kills} kills with VGG_KILLS_SEED={seed}"));
    let scratch = Scratch::new(ROOM);
    small_pictures(scratch.path());
    let mut tally = Tally::new(seed);
    for (precision, goal) in [("f32", kills / 2), ("auto", kills)] {
        let trial = Trial::new(scratch.path(), precision);
        while tally.kills() < goal {
            trial.run_with_kills(goal, &mut tally);
        }
        say(format_args!("{trial}"));
    }
    say(tally);
}

/// A training, and what it leaves when nobody kills it.
struct Trial<'a> {
    scratch: &'a Path,
    precision: &'static str,
    whole: Results,
    duration: Duration,
    kernels: String,
}

/// What must be the same with and without kills.
struct Results {
    /// SHA-256 of each file of the last checkpoint.
    hashes: BTreeMap<String, String>,
    /// The lines of `metrics.jsonl`, without times.
    metrics: Vec<Value>,
}

impl<'a> Trial<'a> {
    /// Trains once without a kill.
    fn new(scratch: &'a Path, precision: &'static str) -> Self {
        clear(scratch);
        let begin = Instant::now();
        let Start { status, log, .. } = Start::run(scratch, precision, 0, LONGEST);
        let duration = begin.elapsed();
        assert!(status.success(), "{}", log.0);
        let kernels = log.after("kernels   ").expect("the log names the kernels").to_owned();
        Self { scratch, precision, whole: Results::read(scratch), duration, kernels }
    }

    /// Trains anew, with a kill at a random moment of each start until one ends by itself, or until
    /// the tally has `goal` kills; and compares.
    fn run_with_kills(&self, goal: u64, tally: &mut Tally) {
        clear(self.scratch);
        let model_dir = model_dir(self.scratch);
        let mut said = 0;
        for number in 0.. {
            assert!(number < MOST_STARTS, "no end after {number} starts");
            let before = newest(&model_dir);
            let is_killed = tally.kills() < goal;
            let usual = self.duration * (1 << (number / STARTS_BEFORE_MORE_TIME));
            let delay = if is_killed { usual.mul_f64(tally.next_unit()) } else { LONGEST };
            let start = Start::run(self.scratch, self.precision, number, delay);
            start.check(before, &model_dir);
            let Start { status, log, .. } = start;
            tally.starts += 1;
            tally.resumed += u64::from(log.began().is_some_and(|step| step > 0));
            if status.success() {
                break;
            }
            assert!(is_killed && status.signal() == Some(9), "{status}: {}", log.0);
            said = said.max(log.saved().unwrap_or(0));
            tally.steps_lost = tally.steps_lost.max(steps_lost(&model_dir, said));
            tally.kills_by_phase[Phase::of(&log, &model_dir) as usize] += 1;
            leftovers(&model_dir).for_each(|folder| drop(File::create(folder.join(MARK)).unwrap()));
        }
        let results = Results::read(self.scratch);
        assert_eq!(results.hashes, self.whole.hashes, "with kills, and without");
        for (line, whole) in results.metrics.iter().zip(&self.whole.metrics) {
            assert_eq!(line, whole, "with kills, and without");
        }
        assert_eq!(results.metrics.len(), self.whole.metrics.len(), "lines of metrics.jsonl");
        tally.runs += 1;
    }
}

impl Results {
    /// Reads what a training that has ended left.
    fn read(scratch: &Path) -> Self {
        let model_dir = model_dir(scratch);
        let expected = [".lock", "config.toml", "eval", "metrics.jsonl", "report.html"];
        let is_counted =
            |name: &String| name.starts_with("ckpt-") || name.starts_with("events.out.tfevents.");
        let others = names(&model_dir).into_iter().filter(|name| !is_counted(name));
        assert_eq!(others.collect::<Vec<_>>(), expected);
        let checkpoint = model_dir.join(format!("ckpt-{STEPS:09}"));
        let hash = |name: String| (name.clone(), sha256(&checkpoint.join(&name)));
        let hashes: BTreeMap<_, _> = names(&checkpoint).into_iter().map(hash).collect();
        let files: Vec<&String> = hashes.keys().collect();
        let sets = ["average.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors"];
        assert_eq!(files, [&["MANIFEST"][..], &sets].concat());
        Self { hashes, metrics: metrics(&model_dir) }
    }
}

fn sha256(path: &Path) -> String {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).unwrap(), &mut hash).unwrap();
    format!("{:x}", hash.finalize())
}

/// The whole lines of `metrics.jsonl` without the time that a step took.
fn metrics(model_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(model_dir.join("metrics.jsonl")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |line| {
        let mut value: Value = serde_json::from_str(line).expect("a line is one JSON value");
        let line = value.as_object_mut().expect("a line is a JSON object");
        line.retain(|key, _| !key.starts_with("seconds"));
        value
    };
    whole.map(parse).collect()
}

/// Where a training is kept; beside it are the logs of its starts.
fn model_dir(scratch: &Path) -> PathBuf {
    scratch.join("run/model")
}

fn clear(scratch: &Path) {
    let run = scratch.join("run");
    if run.exists() {
        fs::remove_dir_all(&run).unwrap();
    }
    fs::create_dir(run).unwrap();
}

fn newest(model_dir: &Path) -> u64 {
    checkpoints(model_dir).last().copied().unwrap_or(0)
}

fn leftovers(model_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let is_left = |name: &String| LEFTOVERS.iter().any(|beginning| name.starts_with(beginning));
    names(model_dir).into_iter().filter(is_left).map(|name| model_dir.join(name))
}

/// A start of the program, and how it ended.
struct Start {
    status: ExitStatus,
    log: Log,
    /// A folder left by an earlier kill that was still there when the program said that it goes on.
    not_removed: Option<PathBuf>,
}

impl Start {
    /// Starts the program, and kills it after `delay` if it has not ended before.
    fn run(scratch: &Path, precision: &str, number: u64, delay: Duration) -> Self {
        let (steps, save_every) = (STEPS.to_string(), SAVE_EVERY.to_string());
        let path = scratch.join(format!("run/{number}.log"));
        let mut child = command(scratch, SMALL)
            .args(["--steps", &steps, "--save-every", &save_every])
            .args(["--precision", precision, "--model-dir", "run/model"])
            .stdout(Stdio::null())
            .stderr(File::create(&path).unwrap())
            .spawn()
            .expect("the program starts");
        let (begin, mut goes_on, mut not_removed) = (Instant::now(), false, None);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() >= delay {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            if !goes_on && Log::read(&path).began().is_some() {
                // Seen long before the next save, which would take the name of a folder over.
                not_removed = leftovers(&model_dir(scratch)).find(|folder| folder.join(MARK).exists());
                goes_on = true;
            }
            sleep(Duration::from_millis(1));
        };
        Self { status, log: Log::read(&path), not_removed }
    }

    /// Makes sure that the program has found what was there, `before` being the newest checkpoint,
    /// and has cleaned up after the start before.
    fn check(&self, before: u64, model_dir: &Path) {
        let log = &self.log;
        for word in ["Warning", "note:", "error:", "panicked"] {
            assert!(!log.0.contains(word), "{word} in {}", log.0);
        }
        let names = names(model_dir);
        assert!(!names.iter().any(|name| name.starts_with("damaged")), "{names:?}");
        assert_eq!(log.began().unwrap_or(before), before, "not from the newest checkpoint: {}", log.0);
        assert_eq!(self.not_removed, None, "left by an earlier kill");
    }
}

/// What a start has written on standard error.
struct Log(String);

impl Log {
    fn read(path: &Path) -> Self {
        Self(fs::read_to_string(path).unwrap())
    }

    /// The rest of the last whole line with this beginning.
    fn after(&self, beginning: &str) -> Option<&str> {
        let whole = self.0.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.filter_map(|line| line.trim_end().strip_prefix(beginning)).next_back()
    }

    /// The step at which the start went on, once it has gone on.
    fn began(&self) -> Option<u64> {
        if self.after("run       from the start,").is_some() {
            return Some(0);
        }
        let line = self.after("run       resumed at step ").or(self.after("Nothing to train: step "));
        line.map(leading_number)
    }

    /// The last step that the program said was saved.
    fn saved(&self) -> Option<u64> {
        self.after("Saving checkpoints for ").map(leading_number)
    }
}

fn leading_number(text: &str) -> u64 {
    let digits = text.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("no number at the beginning of {text:?}"))
}

/// Steps that were made and are not in the newest checkpoint. `said` is the last step that the
/// program said was saved.
fn steps_lost(model_dir: &Path, said: u64) -> u64 {
    let newest = newest(model_dir);
    assert!(newest >= said, "step {said} was said to be saved, the newest checkpoint is of step {newest}");
    let made = metrics(model_dir).iter().filter_map(|line| line["global_step"].as_u64()).max();
    let lost = made.unwrap_or(0).saturating_sub(newest);
    assert!(lost <= SAVE_EVERY, "{lost} steps are lost after step {newest}");
    lost
}

/// What a kill met.
#[derive(Clone, Copy)]
enum Phase {
    Loading,
    Training,
    Saving,
    Pruning,
    FinalEvaluation,
}

impl Phase {
    const NAMES: [&str; 5] = ["loading", "training", "saving", "pruning", "final evaluation"];

    /// From what the start said and the model directory that it left.
    fn of(log: &Log, model_dir: &Path) -> Self {
        let Some(began) = log.began() else { return Self::Loading };
        if log.after("Loss for final step").is_some() || log.after("Nothing to train").is_some() {
            return Self::FinalEvaluation;
        }
        let names = names(model_dir);
        let has = |beginning| names.iter().any(|name| name.starts_with(beginning));
        let checkpoints = checkpoints(model_dir);
        if has(LEFTOVERS[0]) {
            Self::Saving
        } else if has(LEFTOVERS[1])
            || checkpoints.len() > KEEP
            || checkpoints.last().is_some_and(|&newest| newest > log.saved().unwrap_or(began))
        {
            Self::Pruning
        } else {
            Self::Training
        }
    }
}

/// What was done.
struct Tally {
    random: Random,
    drawn: u64,
    kills_by_phase: [u64; Phase::NAMES.len()],
    starts: u64,
    resumed: u64,
    runs: u64,
    steps_lost: u64,
}

impl Tally {
    fn new(seed: u64) -> Self {
        let random = Random::new(seed, Purpose::Augmentation, 2);
        Self {
            random,
            drawn: 0,
            kills_by_phase: Default::default(),
            starts: 0,
            resumed: 0,
            runs: 0,
            steps_lost: 0,
        }
    }

    /// Kills of a living process.
    fn kills(&self) -> u64 {
        self.kills_by_phase.iter().sum()
    }

    /// A random number in `[0, 1)`.
    fn next_unit(&mut self) -> f64 {
        self.drawn += 1;
        unit(self.random.bits(self.drawn)).into()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kills (", self.kills())?;
        for (position, (name, count)) in Phase::NAMES.iter().zip(self.kills_by_phase).enumerate() {
            write!(f, "{}{name} {count}", if position > 0 { ", " } else { "" })?;
        }
        write!(f, "), {} starts of {} runs, {} of them resumed; ", self.starts, self.runs, self.resumed)?;
        write!(f, "at most {} steps lost, every run ended with the same bytes", self.steps_lost)
    }
}

impl fmt::Display for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernels, seconds) = (&self.kernels, self.duration.as_secs_f64());
        write!(f, "{kernels}: {seconds:.1} s without kills, ")?;
        let weights = self.whole.hashes.get("weights.safetensors");
        write!(f, "final weights {}", weights.map_or("", String::as_str))
    }
}
