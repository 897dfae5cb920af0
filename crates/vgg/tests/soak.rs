//! Long runs do not creep: while the program trains, saves and evaluates, its memory, its file
//! descriptors and its threads stay what they are. An interrupt ends it.
//!
//! `VGG_SOAK_SECONDS` is the time that it is watched.
#![cfg(unix)]

mod common;

use common::long::{ROOM, SMALL, Scratch, names, number, say, small_pictures};
use common::{command, interrupt};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SAVE_EVERY: &str = "20";

/// More steps than can be made in the time.
const STEPS: &str = "100000000";

/// Time from one sample to the next: a small part of what a save takes.
const INTERVAL: Duration = Duration::from_millis(100);

/// Windows of equal length into which the time is cut; the first third of them is for warming up.
const WINDOWS: usize = 9;

/// Saves before the time begins, and the seconds in which they must be made.
const FIRST_SAVES: usize = 2;
const LONGEST_START: u64 = 300;

/// Growth of memory that is taken for none, in KiB: kernels count pages a few dozen at a time for
/// each processor.
const NO_GROWTH: f64 = 1024.0;

/// Descriptors that a save has open besides those that are always open: a file, and its directory.
const OPEN_WHILE_SAVING: usize = 2;

#[test]
fn a_long_run_does_not_creep() {
    if !Path::new("/proc/self/smaps_rollup").exists() {
        say("SKIPPED: this system does not tell in /proc what a process uses");
        return;
    }
    let seconds = number("VGG_SOAK_SECONDS", 15);
    let scratch = Scratch::new(ROOM);
    small_pictures(scratch.path());
    let mut training = Training::start(scratch.path());
    let samples = training.watch(Duration::from_secs(seconds));
    let log = training.end();
    let saves = count(&log, "Saving checkpoints for ");
    let steps = saved_by_interrupt(scratch.path(), &log);

    let usage = Usage::new(&samples);
    say(format_args!(
        "{seconds} s, {steps} steps, {saves} saves, {} evaluations: {}",
        count(&log, "Evaluation of "),
        usage.text(seconds)
    ));
    usage.check(seconds);
}

/// The program at work. It is killed when the test fails.
struct Training<'a> {
    scratch: &'a Path,
    child: Child,
}

impl<'a> Training<'a> {
    /// Starts the program, and waits until it has saved for the first times.
    fn start(scratch: &'a Path) -> Self {
        let child = command(scratch, SMALL)
            .args(["--steps", STEPS, "--save-every", SAVE_EVERY])
            .stdout(Stdio::null())
            .stderr(File::create(scratch.join("log")).unwrap())
            .spawn()
            .expect("the program starts");
        let mut training = Self { scratch, child };
        let begin = Instant::now();
        while count(&training.log(), "Saving checkpoints for ") < FIRST_SAVES {
            assert!(begin.elapsed().as_secs() < LONGEST_START, "too slow: {}", training.log());
            training.assert_alive();
            sleep(INTERVAL);
        }
        training
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap()
    }

    fn assert_alive(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the program has ended: {}", self.log());
    }

    fn watch(&mut self, duration: Duration) -> Vec<Vec<Sample>> {
        let begin = Instant::now();
        let mut windows = vec![Vec::new(); WINDOWS];
        loop {
            let part = begin.elapsed().div_duration_f64(duration);
            if part >= 1.0 {
                return windows;
            }
            self.assert_alive();
            windows[(part * WINDOWS as f64) as usize].push(Sample::take(self.child.id()));
            sleep(INTERVAL);
        }
    }

    /// Interrupts the program and gives its log.
    fn end(mut self) -> String {
        interrupt(&self.child);
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{}", self.log());
        self.log()
    }
}

impl Drop for Training<'_> {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of the log with this beginning.
fn count(log: &str, beginning: &str) -> usize {
    log.lines().filter(|line| line.starts_with(beginning)).count()
}

/// The step at which the run was interrupted, after making sure that it is saved.
fn saved_by_interrupt(scratch: &Path, log: &str) -> u64 {
    let said = log.lines().find_map(|line| line.strip_prefix("Interrupted; all ")).expect("it says so");
    let steps: u64 = said.strip_suffix(" steps are saved.").and_then(|steps| steps.parse().ok()).unwrap();
    let model_dir = scratch.join("model");
    assert!(model_dir.join(format!("ckpt-{steps:09}/MANIFEST")).exists(), "{:?}", names(&model_dir));
    steps
}

/// What the program uses at one moment.
#[derive(Clone, Copy)]
struct Sample {
    /// Resident memory in KiB.
    memory: u64,
    /// The largest resident memory until then, in KiB.
    peak: u64,
    threads: u64,
    descriptors: usize,
}

impl Sample {
    fn take(process: u32) -> Self {
        let folder = Path::new("/proc").join(process.to_string());
        let status = fs::read_to_string(folder.join("status")).unwrap();
        // Unlike the figure in `status`, this one is counted page by page.
        let memory = fs::read_to_string(folder.join("smaps_rollup")).unwrap();
        Self {
            memory: field(&memory, "Rss:"),
            peak: field(&status, "VmHWM:"),
            threads: field(&status, "Threads:"),
            descriptors: fs::read_dir(folder.join("fd")).unwrap().count(),
        }
    }
}

/// The number in the line with this beginning.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// What was used in each window. Saving takes memory and gives it back, so the smallest memory of
/// a window is that of the steps; the largest is in the peak.
struct Usage {
    memory: Vec<u64>,
    peak: Vec<u64>,
    threads: Vec<(u64, u64)>,
    descriptors: Vec<(usize, usize)>,
}

impl Usage {
    fn new(windows: &[Vec<Sample>]) -> Self {
        Self {
            memory: windows.iter().map(|window| extent(window, |sample| sample.memory).0).collect(),
            peak: windows.iter().map(|window| extent(window, |sample| sample.peak).1).collect(),
            threads: windows.iter().map(|window| extent(window, |sample| sample.threads)).collect(),
            descriptors: windows.iter().map(|window| extent(window, |sample| sample.descriptors)).collect(),
        }
    }

    /// KiB in ten minutes, by least squares through the windows after the warming up.
    fn slope(&self, seconds: u64) -> f64 {
        let values = &self.memory[WINDOWS / 3..];
        let middle = (values.len() - 1) as f64 / 2.0;
        let (mut products, mut squares) = (0.0, 0.0);
        for (position, &value) in values.iter().enumerate() {
            let offset = position as f64 - middle;
            products += offset * value as f64;
            squares += offset * offset;
        }
        products / squares * WINDOWS as f64 / seconds as f64 * 600.0
    }

    fn text(&self, seconds: u64) -> String {
        format!(
            "memory {} KiB at the beginning, {} after warming up, {} at the end (slope {:.0} KiB in 10 minutes), \
             peak {} KiB; threads {:?}; descriptors {:?}",
            self.memory[0],
            self.memory[WINDOWS / 3],
            self.memory[WINDOWS - 1],
            self.slope(seconds),
            self.peak[WINDOWS - 1],
            self.threads[WINDOWS - 1],
            self.descriptors[WINDOWS - 1]
        )
    }

    fn check(&self, seconds: u64) {
        let third = WINDOWS / 3;
        let [_, middle, last] = [0, 1, 2].map(|part| part * third..(part + 1) * third);
        let growth = |values: &[u64], of: fn(&[u64]) -> u64| {
            of(&values[last.clone()]) as f64 - of(&values[middle.clone()]) as f64
        };
        let smallest = |values: &[u64]| values.iter().copied().min().unwrap();
        let largest = |values: &[u64]| values.iter().copied().max().unwrap();
        assert!(growth(&self.memory, smallest) < NO_GROWTH, "memory grows: {:?}", self.memory);
        assert!(growth(&self.peak, largest) < NO_GROWTH, "memory's peak grows: {:?}", self.peak);
        // In a short time a few pages would make a steep slope.
        assert!(seconds < 600 || self.slope(seconds) < NO_GROWTH, "memory grows: {:?}", self.memory);

        let threads = &self.threads[third..];
        assert!(
            threads.iter().all(|&(low, high)| low == high && low == threads[0].0),
            "threads: {threads:?}"
        );
        let descriptors = &self.descriptors[third..];
        let lowest = descriptors.iter().map(|&(low, _)| low).min().unwrap();
        // A short window of a busy machine may have all its few samples in a save.
        let slack = if seconds < 600 { OPEN_WHILE_SAVING } else { 0 };
        let is_flat =
            |&(low, high): &(usize, usize)| low <= lowest + slack && high <= lowest + OPEN_WHILE_SAVING;
        assert!(descriptors.iter().all(is_flat), "descriptors: {descriptors:?}");
    }
}

/// The smallest and the largest of a window.
fn extent<T: Ord>(window: &[Sample], of: impl Fn(&Sample) -> T) -> (T, T) {
    let low = window.iter().map(&of).min().expect("every window has samples");
    (low, window.iter().map(&of).max().expect("every window has samples"))
}
