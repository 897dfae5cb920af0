//! Hostile input: one function for each reader of outside data.
//!
//! A target takes any bytes, gives them to a reader as a file, and checks what must hold whatever
//! the bytes are: what was accepted is whole and fits together, what was refused has a message of
//! one line that names the file. [`check`] adds the limits on time and memory. The tests of this
//! crate replay the committed seeds and changes of them; the programs in the folder `fuzz` at the
//! root of the repository hand the same functions to libFuzzer.
//!
//! A program that calls [`check`] has [`PeakAlloc`] as its global allocator.
#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod data;
pub mod made;
mod parts;
mod picture;
mod scratch;

pub use checkpoint::{checkpoint, safetensors};
pub use config::config;
pub use data::{cifar, folder, gzip, idx};
pub use parts::Part;
pub use peak_alloc::PeakAlloc;
pub use picture::{jpeg, png};

use std::time::Duration;

/// A reader of outside data under test.
#[derive(Debug)]
pub struct Target {
    /// Its name: that of the function, of the folder of seeds, and of the program for libFuzzer.
    pub name: &'static str,
    /// What the bytes are taken for.
    pub bytes: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "idx", bytes: "an IDX file", run: idx },
    Target { name: "gzip", bytes: "a gzip file of IDX data, or what to pack as one", run: gzip },
    Target { name: "png", bytes: "a PNG file, as it is and with its checksums made right", run: png },
    Target { name: "jpeg", bytes: "a JPEG file", run: jpeg },
    Target { name: "folder", bytes: "names and contents of the files in a data folder", run: folder },
    Target { name: "cifar", bytes: "CIFAR-10's archive, or names and contents of its files", run: cifar },
    Target { name: "config", bytes: "a config.toml", run: config },
    Target { name: "checkpoint", bytes: "files of a checkpoint, with right hashes or not", run: checkpoint },
    Target {
        name: "safetensors",
        bytes: "a tensor file or its header, in a right MANIFEST",
        run: safetensors,
    },
];

/// The target called `name`.
///
/// # Panics
/// When there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target is called {name}"))
}

/// What one input may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time of the thread.
    pub time: Duration,
    /// Bytes of memory beyond those in use at the start and those of the input.
    pub memory: usize,
}

/// The memory that every reader keeps to, besides the size of its file.
const MEMORY: usize = 64 << 20;

impl Limits {
    /// The figures that the project promises, for optimised code.
    pub const PROMISED: Self = Self { time: Duration::from_secs(1), memory: MEMORY };

    /// For tests, which must not fail on a busy machine or without optimisation, and for the programs of
    /// libFuzzer: with AddressSanitizer and counters a large JPEG takes fifteen times as long.
    pub const LENIENT: Self = Self { time: Duration::from_secs(10), memory: MEMORY };
}

/// What one input did cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Processor time of the thread.
    pub time: Duration,
    /// Bytes of memory at the peak beyond those in use at the start.
    pub memory: usize,
}

/// What `run` costs. Memory is counted for all threads: let no other one work meanwhile.
///
/// # Panics
/// When [`PeakAlloc`] is not the global allocator.
pub fn cost<R>(run: impl FnOnce() -> R) -> (R, Cost) {
    assert!(PeakAlloc.current_usage() > 0, "PeakAlloc is not the global allocator of this program");
    let (memory, time) = (PeakAlloc.current_usage(), thread_time());
    PeakAlloc.reset_peak_usage();
    let result = run();
    let time = thread_time().saturating_sub(time);
    (result, Cost { time, memory: PeakAlloc.peak_usage().saturating_sub(memory) })
}

/// Runs `target` on `data`, while no other thread works.
///
/// # Panics
/// When the target finds something wrong, or the limits are exceeded.
pub fn check(target: &Target, data: &[u8], limits: &Limits) -> Cost {
    scratch::prepare();
    let ((), cost) = cost(|| (target.run)(data));
    let most = limits.memory + data.len();
    assert!(
        cost.memory <= most,
        "{}: {} bytes of memory for an input of {}, expected at most {most}",
        target.name,
        cost.memory,
        data.len()
    );
    assert!(
        cost.time <= limits.time,
        "{}: {:?} for an input of {} bytes, expected at most {:?}",
        target.name,
        cost.time,
        data.len(),
        limits.time
    );
    cost
}

/// Processor time of this thread: other programs on the machine do not add to it.
#[cfg(unix)]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Time since the first call.
#[cfg(not(unix))]
fn thread_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// What every message keeps to: one line without control characters, not endless, and with `name`,
/// the file or folder that it is about.
#[track_caller]
pub(crate) fn check_message(error: &dyn std::error::Error, name: &str) {
    let message = error.to_string();
    assert!(
        !message.contains(|c: char| c.is_control()),
        "more than one line, or control characters: {message:?}"
    );
    assert!(message.len() <= 2_000, "a message of {} bytes: {message}", message.len());
    assert!(message.contains(name), "expected a message that names {name}: {message}");
}
