//! What the tests that run for long have in common: numbers from the environment, a folder that
//! bears many gigabytes of writing, and pictures so few and small that reading them takes no time.

use super::idx;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use vgg::arch::{Purpose, Random};

/// The number in the environment variable `name`, or `default` when it is not set.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a whole number")),
        Err(_) => default,
    }
}

/// Writes a line that is seen although the test passes.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A temporary folder, in memory if there is room. It is kept when the test fails.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// A folder for `kibibytes` of files.
    pub(crate) fn new(kibibytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if free_kibibytes(memory).is_some_and(|free| free >= kibibytes) {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        Self(folder.expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            say(format_args!("the files are kept in {}", self.path().display()));
        }
    }
}

/// Free space of the file system that `folder` is on, as the system's `df` says.
fn free_kibibytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// Makes the data folder `small` in `directory`: 30 training pictures (three of them go to the
/// validation split) and 10 test pictures of 4×4 random bytes, in ten classes.
pub(crate) fn small_pictures(directory: &Path) {
    let folder = directory.join("small");
    fs::create_dir(&folder).unwrap();
    for (stream, (prefix, count)) in [("train", 30), ("t10k", 10)].into_iter().enumerate() {
        let random = Random::new(1, Purpose::Augmentation, stream as u64);
        let pixels: Vec<u8> = (0..count * 16).map(|position| random.bits(position) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|picture| (picture % 10) as u8).collect();
        let images = idx(&[count as usize, 4, 4], &pixels);
        fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        let labels = idx(&[count as usize], &labels);
        fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// Arguments of a training on [`small_pictures`] into the folder `model`. The recipe has momentum,
/// so that a checkpoint has both files of tensors; an epoch has seven steps.
pub(crate) const SMALL: &[&str] =
    &["train", "--data", "small", "--arch", "vgg11", "--head", "paper", "--batch-size", "4"];

/// Room for the checkpoints of [`SMALL`]: six of 220 MiB, one that is being written, and some more.
pub(crate) const ROOM: u64 = 3 << 20;

/// The names in a folder, sorted; none if there is no such folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().expect("names are Unicode")).collect();
    names.sort();
    names
}

/// The steps of the checkpoints in a model directory, oldest first.
pub(crate) fn checkpoints(model_dir: &Path) -> Vec<u64> {
    let step = |name: String| name.strip_prefix("ckpt-").and_then(|step| step.parse().ok());
    names(model_dir).into_iter().filter_map(step).collect()
}
