//! Running the program, for the tests of the command line.
#![allow(dead_code)] // Every test takes what it needs.

pub(crate) mod long;

use std::path::Path;
#[cfg(unix)]
use std::process::Child;
use std::process::{Command, Output};

/// The program with `arguments`, in the folder `directory`, not yet started.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgg"));
    command.current_dir(directory).args(arguments);
    command
}

/// Runs the program to its end.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().expect("the program starts")
}

/// What the program printed on standard output, after making sure that it ended well.
pub(crate) fn text(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("text is UTF-8")
}

/// The one JSON object on standard output.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert!(value.is_object(), "{value}");
    value
}

/// What the program printed on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes sure that a run failed with `code` and one line of error that has `part` in it.
pub(crate) fn assert_error(output: &Output, code: i32, part: &str) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    // Notes may come before it.
    let first = message.lines().find(|line| line.starts_with("error: "));
    assert!(first.is_some_and(|line| line.contains(part)), "expected {part:?} in {message:?}");
    assert!(!message.contains("panicked"), "{message}");
}

/// Asks the program to stop. The signal is sent by the system's `kill`, so that the test needs no
/// unsafe code.
#[cfg(unix)]
pub(crate) fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
}

/// An IDX file of bytes: two zeros, the type 8, the number of dimensions, and each of them.
pub(crate) fn idx(sizes: &[usize], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|&size| file.extend((size as u32).to_be_bytes()));
    file.extend(values);
    file
}
