//! A process that trains is killed (SIGKILL) at each file operation of its run in turn: the run
//! goes on from what is left, loses no checkpoint that it had, and ends with the same bits.
//!
//! `VGG_KILL_POINTS=all` kills at every operation of the whole run; by default at every operation
//! of one save, with the deletion of an old checkpoint that belongs to it.

#![cfg(unix)]

mod support;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::event_reader::{Point, points};
use support::{Regression, Tell, contents, small_run, without_seconds, write_data};
use vgg_formats::{Disk, Entry, Lock, ModelDir, OutputFile, Storage};
use vgg_train::{Event, train};

const FOLDER: &str = "VGG_TEST_FOLDER";
const KILL_AT: &str = "VGG_TEST_KILL_AT";

/// The disk, in a process that dies at a given operation, before it is done.
#[derive(Clone, Debug)]
struct Deadly {
    at: u64,
    operations: Arc<AtomicU64>,
}

impl Deadly {
    fn new(at: u64) -> Self {
        Self { at, operations: Arc::default() }
    }

    fn operation(&self) -> Disk {
        if self.operations.fetch_add(1, Ordering::Relaxed) == self.at {
            let pid = std::process::id().to_string();
            Command::new("kill").args(["-KILL", &pid]).status().expect("a program called kill");
            loop {
                std::thread::park();
            }
        }
        Disk
    }
}

impl Storage for Deadly {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.operation().entry(path)
    }
    fn names(&self, directory: &Path) -> io::Result<Vec<(OsString, bool)>> {
        self.operation().names(directory)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.operation().open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let file = self.operation().create(path)?;
        Ok(Box::new(DeadlyFile { storage: self.clone(), file }))
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let file = self.operation().append(path)?;
        Ok(Box::new(DeadlyFile { storage: self.clone(), file }))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.operation().create_directory(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation().rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation().remove_file(path)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.operation().remove_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.operation().sync_directory(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.operation().lock(path)
    }
}

struct DeadlyFile {
    storage: Deadly,
    file: Box<dyn OutputFile>,
}

impl Write for DeadlyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.storage.operation();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl OutputFile for DeadlyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.storage.operation();
        self.file.sync()
    }
}

/// Trains in `folder`; gives the operations that had been done when each save began and ended, and
/// the step from which the run went on.
fn run(folder: &Path, storage: &Deadly) -> (Vec<u64>, Option<u64>) {
    let (mut marks, mut began) = (Vec::new(), None);
    let mut listener = Tell(|event: &Event<'_>| {
        match event {
            Event::Started(run) | Event::Resumed(run) => began = Some(run.global_step),
            Event::Saving { .. } | Event::Finished { .. } => {
                marks.push(storage.operations.load(Ordering::Relaxed));
            }
            _ => {}
        }
        Ok(())
    });
    let model_dir = ModelDir::on(Arc::new(storage.clone()), folder.join("model"));
    let options = small_run(&folder.join("data"), model_dir);
    train(&options, &Regression::make, &mut [&mut listener], &AtomicBool::new(false)).map(drop).unwrap();
    (marks, began)
}

/// What the event files say.
fn shown(folder: &Path) -> Vec<Point> {
    let files = contents(&folder.join("model")).into_iter();
    points(&files.map(|(path, bytes)| (path.into(), bytes)).collect::<Vec<_>>())
}

/// The last checkpoint and the metrics.
fn outcome(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = contents(&folder.join("model")).into_iter();
    let files = files.filter(|(name, _)| name.starts_with("ckpt-000000012") || name == "metrics.jsonl");
    files.map(|(name, bytes)| (name, without_seconds(&bytes))).collect()
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "started by the test below, to be killed"]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let at = std::env::var(KILL_AT).unwrap().parse().unwrap();
    run(&PathBuf::from(folder), &Deadly::new(at));
}

#[test]
fn a_kill_at_any_operation_of_a_save_loses_nothing_that_was_saved() {
    let all = std::env::var("VGG_KILL_POINTS").is_ok_and(|value| value == "all");
    let folder = tempfile::tempdir().unwrap();
    write_data(&folder.path().join("data"), 1);
    let storage = Deadly::new(u64::MAX);
    let (marks, _) = run(folder.path(), &storage);
    let (expected, values) = (outcome(folder.path()), shown(folder.path()));
    assert_eq!(expected.len(), 6, "five files of a checkpoint, and the metrics");
    // The last save is the one that deletes an old checkpoint.
    let [.., begin, end] = marks[..] else { panic!("saves are missing: {marks:?}") };
    let points = if all { 0..storage.operations.load(Ordering::Relaxed) } else { begin..end };
    let count = points.end - points.start;
    assert!(count > 20, "{points:?}");
    for at in points {
        std::fs::remove_dir_all(folder.path().join("model")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_process_that_is_killed", "--ignored"]);
        let output = child.env(FOLDER, folder.path()).env(KILL_AT, at.to_string()).output().unwrap();
        assert_eq!(signal(&output.status), Some(9), "operation {at}: it was not killed");
        let complete = saved(&folder.path().join("model"));
        let (_, began) = run(folder.path(), &Deadly::new(u64::MAX));
        assert_eq!(began, Some(complete), "operation {at}");
        assert_eq!(outcome(folder.path()), expected, "operation {at}");
        assert_eq!(shown(folder.path()), values, "operation {at}: event files");
    }
    println!("kills at file operations: {count}, nothing lost");
}

/// The largest step of a checkpoint that has its name.
fn saved(model_dir: &Path) -> u64 {
    let checkpoints = vgg_formats::list(&model_dir.into()).unwrap();
    checkpoints.last().map_or(0, |(step, _)| *step)
}

fn signal(status: &std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(status)
}
