//! The table of faults: what goes wrong, and what the program must do about it. Every fault is made for real
//! and met by the real program, which must end in time, with the right exit code, with one line that names what is
//! concerned, the cause and the next step, and without touching any file that it has no business with.
//!
//! `docs/faults.md` is this table with the program's words in it. `VGG_WRITE_DOCS=1 cargo test -p vgg --test faults`
//! writes it anew; without the variable, the test fails when the file is not what the program says.
#![cfg(target_os = "linux")] // Pipes, limits, signals and devices are made in the way of Linux.

mod checkpoints;
mod data;
mod document;
mod machine;
mod model_dir;
mod options;
mod output;
mod pictures;
mod place;
mod sources;

use place::{Outcome, Place, Trained};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Something that goes wrong, and what must come of it.
pub(crate) struct Fault {
    /// What is wrong, for the table.
    title: &'static str,
    /// Makes the fault in an empty folder, and runs the program there.
    happen: fn(&Place) -> Outcome,
    /// The exit code. 0 where the program helps itself and says so.
    exit: i32,
    /// Parts of what it says: the file or option concerned, the cause, the next step (or what was done).
    says: [&'static str; 3],
    /// Beginnings of the paths that may be created, changed or removed.
    touches: &'static [&'static str],
}

/// Faults of one kind.
pub(crate) struct Area {
    /// What begins their numbers.
    letter: char,
    title: &'static str,
    /// Where they come from and what is common to them, for the table.
    about: &'static str,
    faults: &'static [Fault],
}

const AREAS: &[Area] = &[
    data::AREA,
    sources::AREA,
    pictures::AREA,
    options::AREA,
    model_dir::AREA,
    checkpoints::AREA,
    output::AREA,
    machine::AREA,
];

/// The issue of one fault.
struct Report {
    /// Such as `D7`.
    id: String,
    /// What is not as it must be; empty when all is well.
    complaints: Vec<String>,
    /// The row of the table; `None` when the fault could not be made here.
    row: Option<String>,
}

#[test]
fn every_fault_has_its_message() {
    let reports = meet_all(&Trained::new());
    assert!(reports.len() >= 60);
    let skipped: Vec<&str> = reports
        .iter()
        .filter(|r| r.row.is_none() && r.complaints.is_empty())
        .map(|r| r.id.as_str())
        .collect();
    let complaints: Vec<String> = reports.iter().flat_map(|report| report.complaints.clone()).collect();
    println!(
        "{} faults, {} skipped {skipped:?}, {} complaints",
        reports.len(),
        skipped.len(),
        complaints.len()
    );
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    let rows: Vec<(&str, Option<&str>)> =
        reports.iter().map(|report| (report.id.as_str(), report.row.as_deref())).collect();
    document::check(AREAS, &rows);
}

/// No standard input, no HOME and no PATH, a bare language, 32 open files, no standard error.
#[test]
fn unusual_surroundings_do_no_harm() {
    let trained = Trained::new();
    for shell in ["exec <&-", "unset HOME PATH TMPDIR", "export LC_ALL=C LANG=C", "ulimit -n 32", "exec 2>&-"]
    {
        let place = Place::new(&trained);
        place.trained();
        let outcome = place.run_after(shell, &["train", "--stop-at", "3"]);
        assert_eq!(outcome.code, Some(0), "{shell}: {}", outcome.all());
        assert!(
            outcome.all().contains("stopped at step 3 of 4; saved in model"),
            "{shell}: {}",
            outcome.all()
        );
        assert_eq!(outcome.error_lines(), [""; 0], "{shell}");
    }
}

/// Reports in the order of the table, made by as many threads as there are cores.
fn meet_all(trained: &Trained) -> Vec<Report> {
    let faults: Vec<(String, &Fault)> = AREAS
        .iter()
        .flat_map(|area| {
            area.faults.iter().enumerate().map(|(at, fault)| (format!("{}{}", area.letter, at + 1), fault))
        })
        .collect();
    let (next, reports) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((id, fault)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = meet(id, fault, trained);
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|report: &Report| faults.iter().position(|(id, _)| *id == report.id));
    reports
}

/// Makes one fault and compares what the program does with what it must do.
fn meet(id: &str, fault: &Fault, trained: &Trained) -> Report {
    let place = Place::new(trained);
    // A failed assertion within one fault must not hide what came of the others.
    let outcome = catch_unwind(AssertUnwindSafe(|| (fault.happen)(&place)));
    let Ok(outcome) = outcome else {
        let complaint = format!("{id}, {}: an assertion failed, see above", fault.title);
        return Report { id: id.to_owned(), complaints: vec![complaint], row: None };
    };
    if let Some(reason) = &outcome.skipped {
        println!("SKIPPED {id}, {}: {reason}", fault.title);
        return Report { id: id.to_owned(), complaints: Vec::new(), row: None };
    }
    let complaints = complaints(fault, &outcome);
    let place_and_words =
        |complaint: String| format!("{id}, {}: {complaint}; it said: {}", fault.title, outcome.all());
    Report {
        id: id.to_owned(),
        complaints: complaints.into_iter().map(place_and_words).collect(),
        row: Some(document::row(id, fault, &outcome.words(fault))),
    }
}

fn complaints(fault: &Fault, outcome: &Outcome) -> Vec<String> {
    let mut complaints = Vec::new();
    if outcome.code != Some(fault.exit) {
        complaints.push(format!("expected exit code {}, found {:?}", fault.exit, outcome.code));
    }
    let errors = outcome.error_lines().len();
    let expected = usize::from(fault.is_error());
    if errors != expected {
        complaints.push(format!("expected {expected} lines of error, found {errors}"));
    }
    let words = outcome.words(fault);
    complaints.extend(
        fault.says.iter().filter(|part| !words.contains(**part)).map(|part| format!("{part:?} is missing")),
    );
    if outcome.all().contains("panicked") {
        complaints.push("it panicked".to_owned());
    }
    let may_change = |path: &String| fault.touches.iter().any(|beginning| path.starts_with(beginning));
    let changed: BTreeSet<&String> = outcome.changed.iter().filter(|path| !may_change(path)).collect();
    if !changed.is_empty() {
        complaints.push(format!("it changed {changed:?}"));
    }
    complaints
}

impl Fault {
    /// Whether the program must fail. With 130 it ends well, only earlier than asked.
    fn is_error(&self) -> bool {
        !matches!(self.exit, 0 | 130)
    }
}
