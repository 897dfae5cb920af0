//! Every seed, and changes of the seeds for a few seconds: the part of fuzzing that belongs in the
//! test command.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use vgg_arch::{Purpose, Random};
use vgg_fuzz::{Limits, PeakAlloc, TARGETS, Target, check};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Time for the changed seeds of one target.
const TIME: Duration = Duration::from_secs(2);

/// Longest changed input.
const LONGEST: usize = 1 << 17;

#[test]
fn idx() {
    pass("idx");
}

#[test]
fn gzip() {
    pass("gzip");
}

#[test]
fn png() {
    pass("png");
}

#[test]
fn jpeg() {
    pass("jpeg");
}

#[test]
fn folder() {
    pass("folder");
}

#[test]
fn cifar() {
    pass("cifar");
}

#[test]
fn config() {
    pass("config");
}

#[test]
fn checkpoint() {
    pass("checkpoint");
}

#[test]
fn safetensors() {
    pass("safetensors");
}

/// The programs for libFuzzer are those of the table, and each target has seeds.
#[test]
fn every_target_has_a_program_and_seeds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: PathBuf| {
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let mut expected: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    expected.sort();
    assert_eq!(names(root.join("seeds")), expected);
    assert_eq!(names(root.join("../../fuzz/fuzz_targets")), expected);
}

/// One target at a time: memory is counted for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn pass(name: &str) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let target = vgg_fuzz::target(name);
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    for (file, data) in &seeds {
        run(target, data, file);
    }
    let mut changes = Changes { random: Random::new(1, Purpose::Augmentation, 0), position: 0 };
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        let data = changes.next(&seeds);
        run(target, &data, &format!("change {count} of the seeds"));
        count += 1;
    }
    println!("{name}: {} seeds, {count} changes of them", seeds.len());
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// Checks one input; one that fails is kept, so that it can become a seed.
fn run(target: &Target, data: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(target, data, &Limits::LENIENT))) {
        let kept = std::env::temp_dir().join(format!("vgg-fuzz-{}-failed", target.name));
        let written = fs::write(&kept, data);
        println!("{}: failed on {what}, kept as {}: {written:?}", target.name, kept.display());
        resume_unwind(panic);
    }
}

/// Changes of the seeds, the same in every run.
struct Changes {
    random: Random,
    position: u64,
}

impl Changes {
    /// A random number below `end`, which is above 0.
    fn below(&mut self, end: usize) -> usize {
        self.position += 1;
        self.random.bits(self.position) as usize % end
    }

    /// A seed with one to eight changes.
    fn next(&mut self, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut data = seeds[self.below(seeds.len())].1.clone();
        for _ in 0..=self.below(8) {
            let other = &seeds[self.below(seeds.len())].1;
            self.change(&mut data, other);
        }
        data.truncate(LONGEST);
        data
    }

    fn change(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        let place = self.below(data.len() + 1);
        let length = self.below(16) + 1;
        let end = data.len().min(place + length);
        match self.below(7) {
            0 => data.truncate(place),
            1 => drop(data.drain(place..end)),
            2 => data.extend_from_within(place..end),
            3 => {
                let from = self.below(other.len() + 1);
                data.truncate(place);
                data.extend_from_slice(&other[from..]);
            }
            4 => {
                let extreme = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                data[place..end].fill(extreme);
            }
            5 => data.insert(place, self.below(256) as u8),
            _ if place < data.len() => data[place] ^= 1 << self.below(8),
            _ => {}
        }
    }
}
