//! The power is cut after each file operation of a run, and the file system comes back in many of
//! the states that a disk may then be in: everything that was said to be saved is there, and going
//! on from it ends with the bits of a run that was never interrupted.
//!
//! `VGG_POWER_CUTS` is the number of states tried for each operation: 64 for the full count, a few
//! by default.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::simulated::{Fault, Simulated};
use support::{MODEL, Regression, Tell, small_run, write_data};
use vgg_arch::random::{Purpose, Random};
use vgg_formats::ModelDir;
use vgg_train::{Event, TrainError, TrainOptions, train};

/// Trains on `storage`; gives the step of the last checkpoint that training said was saved.
fn run(data: &Path, storage: &Simulated) -> (Option<u64>, Result<(), TrainError>) {
    let mut saved = None;
    let mut listener = Tell(|event: &Event<'_>| {
        if let Event::Saved { global_step, .. } = event {
            saved = Some(*global_step);
        }
        Ok(())
    });
    let options = options(data, storage);
    let trained = train(&options, &Regression::make, &mut [&mut listener], &AtomicBool::new(false));
    (saved, trained.map(drop))
}

/// Twelve steps, saved every second: the last save deletes an old checkpoint.
fn options(data: &Path, storage: &Simulated) -> TrainOptions {
    small_run(data, ModelDir::on(Arc::new(storage.clone()), MODEL))
}

#[test]
fn a_power_cut_at_any_moment_leaves_every_checkpoint_that_was_saved() {
    let states: u64 = std::env::var("VGG_POWER_CUTS").map_or(3, |count| count.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let whole = Simulated::new();
    run(&data, &whole).1.unwrap();
    let (operations, expected) = (whole.operations(), support::outcome(&whole));
    assert_eq!(expected.len(), 5, "four files of a checkpoint, and the metrics");

    for at in 0..=operations {
        let storage = Simulated::new().with(Fault::PowerCut { at });
        let (saved, result) = run(&data, &storage);
        assert_eq!(result.is_err(), at < operations, "operation {at}");
        for state in 0..states {
            let after = storage.after_power_cut(&Random::new(at, Purpose::Augmentation, state));
            let what = format!("operation {at} of {operations}, state {state}");
            check(&data, &after, saved, &what);
            assert_eq!(support::outcome(&after), expected, "{what}");
        }
    }
    println!("power cuts: {} operations, {states} states each, nothing lost", operations + 1);
}

/// Goes on from what a power cut has left.
fn check(data: &Path, after: &Simulated, saved: Option<u64>, what: &str) {
    let mut began = None;
    let mut warnings = Vec::new();
    let mut listener = Tell(|event: &Event<'_>| {
        match event {
            Event::Started(run) | Event::Resumed(run) => began = Some(run.global_step),
            Event::Warning(warning) => warnings.push((*warning).to_owned()),
            _ => {}
        }
        Ok(())
    });
    let stop = AtomicBool::new(false);
    let trained = train(&options(data, after), &Regression::make, &mut [&mut listener], &stop);
    if let Err(error) = trained.map(drop) {
        panic!("{what}: {error}");
    }
    assert!(began >= saved, "{what}: saved {saved:?}, gone on from {began:?}");
    assert!(warnings.is_empty(), "{what}: no checkpoint may be half there: {warnings:?}");
}
