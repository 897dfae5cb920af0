//! Each file operation of a run fails in turn, once and for good, with every error of
//! [`FAULTS`]: training goes on or ends with 73 or 74 and names a file, what was saved before is
//! still there, and the same command ends with the same bits once the disk is well again.
//!
//! `VGG_IO_ERRORS=all` tries every error on every operation; by default they take turns.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use support::simulated::{FAULTS, Fault, Simulated};
use support::{MODEL, Regression, Tell, outcome, run_on, small_run, write_data};
use vgg_formats::Storage;
use vgg_train::{Event, TrainOptions, train};

#[test]
fn every_failing_operation_leaves_what_was_saved_and_a_run_that_goes_on() {
    let all = std::env::var("VGG_IO_ERRORS").is_ok_and(|value| value == "all");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let whole = Simulated::new();
    run_on(&whole, &data).1.unwrap();
    let (operations, expected) = (whole.operations(), outcome(&whole));
    let (mut ended, mut went_on) = (0, 0);
    for at in 0..operations {
        for (turn, &(name, number)) in FAULTS.iter().enumerate() {
            if !all && at as usize % FAULTS.len() != turn {
                continue;
            }
            for &lasts in durations(name) {
                let what = format!("operation {at} of {operations}, {name}, lasting: {lasts}");
                let storage = Simulated::new().with(Fault::Error { at, number, lasts });
                match fail_and_go_on(&data, storage, None, &expected, &what) {
                    true => went_on += 1,
                    false => ended += 1,
                }
            }
        }
    }
    assert!(ended > 0 && went_on > 0);
    println!("I/O errors: {operations} operations, {ended} runs ended with 73 or 74, {went_on} went on");
}

/// The operations of a run that goes on, with an old checkpoint to be deleted and a damaged one to be
/// passed over, fail in turn.
#[test]
fn every_failing_operation_of_a_run_that_goes_on_leaves_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let whole = Simulated::new();
    run_on(&whole, &data).1.unwrap();
    let expected = outcome(&whole);
    let begun = Simulated::new();
    let options = small_run(&data, begun.model_dir());
    let options = TrainOptions { stop_at: Some(9), ..options };
    train(&options, &Regression::make, &mut [], &AtomicBool::new(false)).map(drop).unwrap();
    begun.append(&Path::new(MODEL).join("ckpt-000000009/MANIFEST")).unwrap().write_all(b"x").unwrap();
    let begun = begun.with(Fault::Never);
    let storage = begun.copy();
    run_on(&storage, &data).1.unwrap();
    for at in 0..storage.operations() {
        let (name, number) = FAULTS[at as usize % FAULTS.len()];
        for &lasts in durations(name) {
            let what = format!("operation {at} of a run that goes on, {name}, lasting: {lasts}");
            let storage = begun.copy().with(Fault::Error { at, number, lasts });
            fail_and_go_on(&data, storage, Some(8), &expected, &what);
        }
    }
}

/// Whether a fault may last, and whether it may not. An interrupted call is tried again, for ever if
/// need be: it can happen but not last.
fn durations(fault: &str) -> &'static [bool] {
    if fault == "EINTR" { &[false] } else { &[false, true] }
}

/// Runs on a disk that fails, then on the same one when it is well again; whether the first run
/// reached its end. `before` is the step of the newest good checkpoint that there was already.
fn fail_and_go_on(
    data: &Path,
    storage: Simulated,
    before: Option<u64>,
    expected: &[(PathBuf, Vec<u8>)],
    what: &str,
) -> bool {
    let (course, result) = run_on(&storage, data);
    let storage = storage.with(Fault::Never);
    let reached = match result {
        Ok(()) => true,
        Err(error) => {
            let message = error.to_string();
            assert!(matches!(error.exit_code(), 73 | 74), "{what}: {} {message}", error.exit_code());
            assert!(message.contains(" /runs"), "{what}: no file in {message:?}");
            assert_eq!(message.lines().count(), 1, "{what}: {message:?}");
            false
        }
    };
    assert!(
        course.warnings.iter().all(|warning| warning.contains(" /runs")),
        "{what}: {:?}",
        course.warnings
    );
    let (again, result) = run_on(&storage, data);
    if let Err(error) = result {
        panic!("{what}: when the disk is well again: {error}");
    }
    let saved = course.saved.max(before);
    assert!(again.began >= saved, "{what}: saved {saved:?}, gone on from {:?}", again.began);
    assert_eq!(outcome(&storage), expected, "{what}");
    reached
}

/// A disk that is full for a while costs the checkpoints of that time, with a word about each.
#[test]
fn a_disk_that_is_full_for_a_while_costs_no_more_than_the_checkpoints_of_that_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let storage = Simulated::new();
    let mut warnings = Vec::new();
    let mut saved = Vec::new();
    let full = Fault::Error { at: 0, number: FAULTS[0].1, lasts: true };
    let mut listener = Tell(|event: &Event<'_>| {
        match event {
            Event::Step(step) if step.global_step == 3 => drop(storage.clone().with(full)),
            Event::Step(step) if step.global_step == 7 => drop(storage.clone().with(Fault::Never)),
            Event::Warning(warning) => warnings.push((*warning).to_owned()),
            Event::Saved { global_step, .. } => saved.push(*global_step),
            _ => {}
        }
        Ok(())
    });
    let options = small_run(&data, storage.model_dir());
    train(&options, &Regression::make, &mut [&mut listener], &AtomicBool::new(false)).map(drop).unwrap();
    assert_eq!(saved, [2, 8, 10, 12]);
    // What step 6 and its evaluation showed does not reach TensorBoard, either.
    let (of_saves, of_events): (Vec<&String>, Vec<&String>) =
        warnings.iter().partition(|warning| warning.starts_with("step "));
    assert_eq!((of_saves.len(), of_events.len()), (2, 2), "{warnings:?}");
    assert!(of_saves[0].starts_with("step 4 is not saved: cannot "), "{warnings:?}");
    assert!(
        of_events[0].ends_with(". Training goes on; metrics.jsonl has what TensorBoard will miss"),
        "{warnings:?}"
    );
    let metrics = String::from_utf8(outcome(&storage).pop().unwrap().1).unwrap();
    assert_eq!(metrics.matches("\"step\"").count(), 12, "no line is missing: {metrics}");
}
