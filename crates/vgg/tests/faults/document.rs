//! `docs/faults.md`: the table of faults as a page for people.

use crate::{Area, Fault};
use std::fs;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md");

const INTRODUCTION: &str = "\
# What can go wrong, and what the program says

Every row is a fault that `cargo test -p vgg --test faults` makes for real, in front of the real program. The test
checks the exit code, that the message is one line with the file or option, the cause and the next step, and that no
other file was created, changed or removed. The page is written by the test
(`VGG_WRITE_DOCS=1 cargo test -p vgg --test faults`), and the test fails when the two differ.

`FOLDER` stands for where the program ran, `N` for a number that is another each time, `HASH` for a SHA-256.
Exit codes: 0 done, 2 usage, 65 bad input data, 73 cannot create output, 74 input/output error, 75 locked by another
process, 76 training diverged, 130 interrupted after saving.
";

/// One row: number, what is wrong, exit code, what the program says.
pub(crate) fn row(id: &str, fault: &Fault, words: &str) -> String {
    let words = words.replace('|', "\\|");
    // A quotation of words that have a backtick in them takes two on either side.
    let quoted = if words.contains('`') { format!("`` {words} ``") } else { format!("`{words}`") };
    format!("| {id} | {} | {} | {quoted} |\n", fault.title, fault.exit)
}

/// Compares the page with the rows of this run, or writes it. A fault that was skipped keeps its row.
pub(crate) fn check(areas: &[Area], rows: &[(&str, Option<&str>)]) {
    let present = fs::read_to_string(PATH).unwrap_or_default();
    let page = page(areas, rows, &present);
    if std::env::var_os("VGG_WRITE_DOCS").is_some() {
        fs::write(PATH, page).expect("docs/faults.md can be written");
        return;
    }
    let differing: Vec<(&str, &str)> =
        page.lines().zip(present.lines()).filter(|(expected, found)| expected != found).collect();
    assert!(
        page == present,
        "docs/faults.md is not what the program says; write it anew with VGG_WRITE_DOCS=1.\n\
         Expected and found lines that differ: {differing:#?}"
    );
}

fn page(areas: &[Area], rows: &[(&str, Option<&str>)], present: &str) -> String {
    let mut page = format!("{INTRODUCTION}\n{} faults in all.\n", rows.len());
    for area in areas {
        page += &format!("\n## {}\n\n{}\n\n", area.title, area.about);
        page += "| | what is wrong | exit | what the program says |\n|---|---|---|---|\n";
        for (id, row) in rows.iter().filter(|(id, _)| id.starts_with(area.letter)) {
            match row {
                Some(row) => page += row,
                None => page += &present_row(present, id),
            }
        }
    }
    page
}

/// The row of a fault in the page as it is; none when it is not there.
fn present_row(present: &str, id: &str) -> String {
    let beginning = format!("| {id} | ");
    let row = present.lines().find(|line| line.starts_with(&beginning));
    row.map_or_else(String::new, |row| format!("{row}\n"))
}
