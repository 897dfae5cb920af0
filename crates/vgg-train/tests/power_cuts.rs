//! The power is cut after each file operation of a run, and the file system comes back in many of
//! the states that a disk may then be in: everything that was said to be saved is there, and going
//! on from it ends with the bits of a run that was never interrupted.
//!
//! `VGG_POWER_CUTS` is the number of states tried for each operation: 64 for the full count, a few
//! by default.

mod support;

use std::path::Path;
use support::event_reader::points;
use support::simulated::{Fault, Simulated};
use support::{MODEL, outcome, run_on, write_data};
use vgg_arch::random::{Purpose, Random};

#[test]
fn a_power_cut_at_any_moment_leaves_every_checkpoint_that_was_saved() {
    let states: u64 = std::env::var("VGG_POWER_CUTS").map_or(3, |count| count.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let whole = Simulated::new();
    run_on(&whole, &data).1.unwrap();
    let (operations, expected) = (whole.operations(), outcome(&whole));
    assert_eq!(expected.len(), 6, "five files of a checkpoint, and the metrics");
    let shown = points(&whole.contents(Path::new(MODEL)));
    assert_eq!(shown.len(), 10, "two values of the first step, four of steps 6 and 12, where epochs end");

    for at in 0..=operations {
        let storage = Simulated::new().with(Fault::PowerCut { at });
        let (course, result) = run_on(&storage, &data);
        assert_eq!(result.is_err(), at < operations, "operation {at}");
        for state in 0..states {
            let after = storage.after_power_cut(&Random::new(at, Purpose::Augmentation, state));
            let what = format!("operation {at} of {operations}, state {state}");
            check(&data, &after, course.saved, &what);
            assert_eq!(outcome(&after), expected, "{what}");
            assert_eq!(points(&after.contents(Path::new(MODEL))), shown, "{what}: event files");
        }
    }
    println!("power cuts: {} operations, {states} states each, nothing lost", operations + 1);
}

/// Goes on from what a power cut has left.
fn check(data: &Path, after: &Simulated, saved: Option<u64>, what: &str) {
    let (course, result) = run_on(after, data);
    if let Err(error) = result {
        panic!("{what}: {error}");
    }
    assert!(course.began >= saved, "{what}: saved {saved:?}, gone on from {:?}", course.began);
    let warnings = course.warnings;
    assert!(warnings.is_empty(), "{what}: no checkpoint may be half there: {warnings:?}");
}
