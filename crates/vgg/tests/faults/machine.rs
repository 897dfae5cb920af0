//! Faults of the machine and of the program's surroundings: memory, threads, signals.

use crate::place::{Outcome, Place, training};
use crate::{Area, Fault};
use std::io::{BufRead, BufReader, Read};
use std::process::Command;

pub(crate) const AREA: Area = Area {
    letter: 'S',
    title: "Machine and surroundings",
    about: "Limits on memory and threads, signals, and folders that go away.",
    faults: FAULTS,
};

const FAULTS: &[Fault] = &[
    Fault {
        title: "not enough memory to train the network",
        happen: |place| {
            place.digits();
            let outcome = place.run_after("ulimit -v 100000", &training(&[]));
            outcome.hide_number("error: ", " bytes of memory")
        },
        exit: 2,
        says: ["this network and batch size", "bytes of memory could not be had", "use a smaller batch"],
        touches: &[],
    },
    Fault {
        title: "not enough memory to read a checkpoint's network",
        happen: |place| {
            place.trained_with_one_checkpoint();
            let outcome = place.run_after("ulimit -v 100000", &["evaluate"]);
            outcome.hide_number("error: ", " bytes of memory")
        },
        exit: 2,
        says: ["this network and batch size", "bytes of memory could not be had", "use a smaller batch"],
        touches: &[],
    },
    Fault {
        title: "the folder in which the program runs was removed",
        happen: |place| {
            place.folder("gone");
            place.digits();
            let data = place.path("digits").display().to_string();
            place.run_after(
                "cd gone; rmdir ../gone",
                &["train", "--data", &data, "--steps", "1", "--batch-size", "4"],
            )
        },
        exit: 73,
        says: ["cannot create model", "No such file or directory", "choose another model directory"],
        touches: &["gone"],
    },
    interrupted("Ctrl-C (SIGINT)", |place| stop_with(place, "INT")),
    interrupted("a request to terminate (SIGTERM)", |place| stop_with(place, "TERM")),
    interrupted("the terminal was closed (SIGHUP)", |place| stop_with(place, "HUP")),
];

const fn interrupted(title: &'static str, happen: fn(&Place) -> Outcome) -> Fault {
    let says = ["saved in model", "interrupted at step N of 1,000,000", "Go on with: vgg train"];
    Fault { title, happen, exit: 130, says, touches: &["model"] }
}

/// Sends a signal to a training in its course. The system's `kill` sends it, so that no unsafe code is needed.
fn stop_with(place: &Place, signal: &str) -> Outcome {
    place.digits();
    let mut child = place.command(&training(&["--steps", "1000000"])).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("loss = ") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the training ended early");
    }
    let reader = std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    let killed = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let outcome = place.outcome(child);
    reader.join().unwrap().unwrap();
    let outcome = outcome.hide_number("interrupted at step ", " of");
    let step = place.path("model");
    assert!(std::fs::read_dir(step).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.join("MANIFEST").exists()
    }));
    outcome
}
