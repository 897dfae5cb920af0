//! `vgg data check`: what spoils training.

use crate::cli;
use crate::cli::output::{self, Thousands};
use clap::Args;
use serde::Serialize;
use std::fmt;
use vgg::data::check::{Findings, IMBALANCE, TINY, check};
use vgg::{DataOptions, Source, Split, TrainError};

/// Findings of one kind that are listed for people; machines get all.
const LISTED: usize = 10;

/// What `vgg data check` takes: what decides which pictures `vgg train` would use.
#[derive(Args)]
pub(super) struct CheckArguments {
    #[arg(long, value_name = cli::DATA_NAME, default_value = "mnist", help = cli::DATA_HELP)]
    data: Source,
    /// Size that pictures are brought to, as for vgg train
    #[arg(long, value_name = "N|HxW", value_parser = cli::train::image_size)]
    image_size: Option<[usize; 2]>,
    /// Look at the pictures that vgg train takes with this limit
    #[arg(long, value_name = "N", value_parser = cli::batch_size)]
    limit: Option<usize>,
}

/// The answer of `vgg data check`.
#[derive(Serialize)]
struct Report {
    data: String,
    clean: bool,
    #[serde(flatten)]
    findings: Findings,
}

/// Checks the data and prints what was found. Data with findings can be trained with; data that training
/// would refuse are an error after the answer.
///
/// # Errors
/// Data that cannot be used.
pub(super) fn run(arguments: &CheckArguments, json: bool) -> Result<(), TrainError> {
    let CheckArguments { data, image_size, limit } = arguments;
    let options = DataOptions { image_size: *image_size, limit: *limit, ..crate::cli::data_options() };
    let findings = check(data, &options)?;
    findings.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    let report = Report { data: data.to_string(), clean: findings.is_clean(), findings };
    output::answer(&report, json)?;
    match report.findings.unusable {
        Some(cause) => Err(TrainError::Incompatible(cause)),
        None => Ok(()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = &self.findings;
        let counts: Vec<String> = Split::ALL
            .iter()
            .zip(findings.pictures)
            .map(|(split, count)| format!("{} {split}", Thousands(count as u64)))
            .collect();
        writeln!(f, "{}: {} pictures", self.data, counts.join(", "))?;
        if self.clean {
            return writeln!(f, "nothing wrong was found");
        }
        list(f, "files cannot be read", &findings.unreadable)?;
        let pairs = |pairs: &[vgg::data::check::Pair]| -> Vec<String> {
            let side = |name: &str, class: &str| format!("{name} ({class})");
            pairs
                .iter()
                .map(|pair| {
                    let [first, second] =
                        [(&pair.first, &pair.first_class), (&pair.second, &pair.second_class)]
                            .map(|(name, class)| side(name, class));
                    format!("{first} = {second}")
                })
                .collect()
        };
        list(f, "pictures of one class are also in another", &pairs(&findings.across_classes))?;
        list(f, "pictures of one split are also in another", &pairs(&findings.across_splits))?;
        if findings.repeated > 0 {
            let count = Thousands(findings.repeated as u64);
            writeln!(f, "{count} pictures are there already, in the same split and class")?;
        }
        let classes = |classes: &[vgg::data::check::ClassCount]| -> Vec<String> {
            let line = |class: &vgg::data::check::ClassCount| {
                format!("{} in {}: {}", class.class, class.split, class.pictures)
            };
            classes.iter().map(line).collect()
        };
        list(f, "classes are empty", &classes(&findings.empty_classes))?;
        let tiny = format!("classes have fewer than {TINY} training pictures");
        list(f, &tiny, &classes(&findings.tiny_classes))?;
        if let Some([least, most]) = &findings.imbalance {
            writeln!(
                f,
                "the largest class, {}, has {} training pictures, more than {IMBALANCE} times those of the \
                 smallest, {}: {}",
                most.class,
                Thousands(most.pictures as u64),
                least.class,
                Thousands(least.pictures as u64)
            )?;
        }
        Ok(())
    }
}

/// A heading with the number of lines, and the first of them.
fn list(f: &mut fmt::Formatter<'_>, what: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{} {what}:", Thousands(lines.len() as u64))?;
    lines.iter().take(LISTED).try_for_each(|line| writeln!(f, "  {line}"))?;
    match lines.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => writeln!(f, "  … and {} more; --json lists all", Thousands(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_and_the_first_are_listed() {
        let unreadable = (0..12).map(|index| format!("{index}.png: no picture")).collect();
        let findings = Findings { pictures: [3, 2, 1], unreadable, repeated: 7, ..Findings::default() };
        let text = Report { data: "photos".into(), clean: findings.is_clean(), findings }.to_string();
        assert!(
            text.starts_with("photos: 3 train, 2 validation, 1 test pictures\n12 files cannot be read:\n")
        );
        assert!(
            text.contains("  9.png: no picture\n  … and 2 more; --json lists all\n7 pictures are"),
            "{text}"
        );
        let clean = Report { data: "mnist".into(), clean: true, findings: Findings::default() }.to_string();
        assert_eq!(clean, "mnist: 0 train, 0 validation, 0 test pictures\nnothing wrong was found\n");
    }
}
