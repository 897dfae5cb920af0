//! The command line: what may be typed, which verb runs, and the exit code.
//!
//! Each verb has a file of its own. What a verb finds out goes to standard output
//! ([`output::answer`]), what it says on the way goes to standard error ([`output::note`]).

mod bench;
mod data;
mod evaluate;
mod info;
mod loading;
mod output;
mod pictures;
mod predict;
mod progress;
mod recipe_arguments;
mod recipes;
mod report;
mod train;

use clap::{Args, Parser, Subcommand};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use vgg::arch::presets::{configuration, configuration_names, head, head_names};
use vgg::arch::{ArchError, Network, Shape};
use vgg::engine::Precision;
use vgg::train::{PRECISIONS, precision_named};
use vgg::{DataOptions, Estimator, OpenOptions, Source, Split, Splits, TrainError};

/// Where a run is kept when nothing else is said.
const MODEL_DIR: &str = "model";

/// What `--data` takes.
const DATA_HELP: &str = "\
mnist, fashion-mnist, kmnist, cifar-10, or a path: four IDX files, pictures as \
train/CLASS/*.png, CIFAR-10's binary files";

/// How `--data` is named in help.
const DATA_NAME: &str = "NAME|PATH";

/// Most pictures that are evaluated or predicted at once.
const BATCH_SIZE: usize = 100;

const EXAMPLES: &str = "\
Start here:
  vgg train                       learn MNIST; the result is in ./model
  vgg evaluate                    how good it is on the test pictures
  vgg predict digit.png           which digit a picture shows

Exit codes: 0 done, 1 ended by a second interrupt, 2 usage, 65 bad input data,
73 cannot create output, 74 input/output error, 75 locked by another process,
76 training diverged, 130 interrupted after saving.";

/// Trains the VGG family of convolutional networks on the machine you have.
#[derive(Parser)]
#[command(name = "vgg", version, about, after_help = EXAMPLES, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object on standard output and nothing else there
    #[arg(long, global = true, display_order = 100)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a network, or go on where training stopped
    #[command(after_help = train::EXAMPLES)]
    Train(Box<train::TrainArguments>),
    /// Measure accuracy and loss on pictures with known classes
    #[command(after_help = evaluate::EXAMPLES)]
    Evaluate(evaluate::EvaluateArguments),
    /// Write a page about a trained network: curves, mistakes, and more
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArguments),
    /// Tell the class of pictures
    #[command(after_help = predict::EXAMPLES)]
    Predict(predict::PredictArguments),
    /// Measure how long a step takes on this machine
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArguments),
    /// Show the layers of a network, its cost, and the kernels of this machine
    #[command(after_help = info::EXAMPLES)]
    Info(info::InfoArguments),
    /// List, count, check and show the pictures
    #[command(after_help = data::EXAMPLES)]
    Data(data::DataArguments),
}

/// Which network, where it is not read from a model directory.
#[derive(Args)]
struct NetworkArguments {
    #[arg(long, value_name = "NAME", default_value = "vgg13", value_parser = arch_name, help = arch_help())]
    arch: String,
    #[arg(long, value_name = "NAME", default_value = "tutorial", value_parser = head_name, help = head_help())]
    head: String,
    /// Rows of pixels in a picture
    #[arg(long, value_name = "N", default_value_t = 28)]
    height: usize,
    /// Pixels in a row
    #[arg(long, value_name = "N", default_value_t = 28)]
    width: usize,
    /// Values in a pixel: 1 for grey, 3 for colour
    #[arg(long, value_name = "N", default_value_t = 1)]
    channels: usize,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
}

/// Which network is looked at, and on which pictures.
#[derive(Args)]
struct SubjectArguments {
    /// Where the trained network is kept
    #[arg(long, value_name = "DIR", default_value = MODEL_DIR)]
    model_dir: PathBuf,
    #[arg(long, value_name = DATA_NAME, help = DATA_HELP.to_owned() + " [default: as trained]")]
    data: Option<Source>,
    /// train, validation or test
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: Split,
}

impl SubjectArguments {
    /// The network, ready to compute, and the data.
    fn open(&self) -> Result<(Estimator, Splits), TrainError> {
        let estimator = open_estimator(&self.model_dir, BATCH_SIZE, 0)?;
        let splits = open_data_for(&estimator, self.data.as_ref())?;
        Ok((estimator, splits))
    }
}

impl NetworkArguments {
    fn network(&self) -> Result<Network, ArchError> {
        let input = Shape::new(self.height, self.width, self.channels);
        Network::new(&self.arch, &self.head, input, self.classes)
    }
}

/// The exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

/// Opens the data of a verb, with a bar for whoever waits, and says what should be known of them.
fn open_data(source: &Source, options: &DataOptions) -> Result<Splits, TrainError> {
    let splits = vgg::open(source, options)?;
    splits.notes.iter().for_each(|note| output::note(format_args!("note: {note}")));
    Ok(splits)
}

/// How data are opened: whole, with a bar for whoever waits.
fn data_options() -> DataOptions {
    DataOptions { progress: loading::progress(), ..DataOptions::default() }
}

/// Whether clap's "error" is the help or the version that was asked for, or nothing was said at all.
fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}

/// Clap's paragraphs on a wrong command line (cause, tip, usage, where help is) as the one line of other
/// errors. The usage is left out: help has it.
fn usage_line(text: &str) -> String {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim_start().starts_with("Usage:"));
    let lines = paragraphs.map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let line = line.replace("; tip: ", "; ").replace("; For more", "; for more");
    line.trim_end_matches('.').to_owned()
}

/// Runs what the command line says and returns the exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => {
            output::note(usage_line(&error.to_string()));
            return ExitCode::from(USAGE);
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            output::note(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, TrainError> {
    match &cli.verb {
        Verb::Train(arguments) => return train::run(arguments, cli.json),
        Verb::Evaluate(arguments) => evaluate::run(arguments, cli.json)?,
        Verb::Report(arguments) => report::run(arguments, cli.json)?,
        Verb::Predict(arguments) => return predict::run(arguments, cli.json),
        Verb::Bench(arguments) => bench::run(arguments, cli.json)?,
        Verb::Info(arguments) => info::run(arguments, cli.json)?,
        Verb::Data(arguments) => data::run(arguments, cli.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest checkpoint of a model directory, ready to compute; whatever the user should know of
/// it is said.
fn open_estimator(model_dir: &Path, batch_size: usize, threads: usize) -> Result<Estimator, TrainError> {
    let options = OpenOptions { model_dir: model_dir.into(), batch_size, threads };
    let estimator = Estimator::open(&options, &vgg::cpu_engine)?;
    estimator.warnings().iter().for_each(|warning| output::note(format_args!("note: {warning}")));
    Ok(estimator)
}

/// The data that a network was trained with, opened as they were then; or others, with pictures brought to
/// the network's size where they can be.
fn open_data_for(estimator: &Estimator, other: Option<&Source>) -> Result<Splits, TrainError> {
    let mut options = DataOptions { progress: loading::progress(), ..estimator.config().data_options() };
    let source = match other {
        Some(source) => {
            options.limit = None;
            source.clone()
        }
        None => estimator.config().data.source.parse()?,
    };
    open_data(&source, &options)
}

fn arch_help() -> String {
    format!("Network, by name or by its letter in the paper: {}", configuration_names())
}

fn head_help() -> String {
    format!("Dense layers after the last pool: {}", head_names())
}

/// The name of a network of the table, from its name or letter.
fn arch_name(text: &str) -> Result<String, ArchError> {
    let row = configuration(text).ok_or_else(|| ArchError::UnknownConfiguration(text.to_owned()))?;
    Ok(row.name.to_owned())
}

/// The name of a head of the table.
fn head_name(text: &str) -> Result<String, ArchError> {
    let row = head(text).ok_or_else(|| ArchError::UnknownHead(text.to_owned()))?;
    Ok(row.name.to_owned())
}

/// A whole number from 0 up to what the file of a run's configuration can hold.
fn count(text: &str) -> Result<u64, String> {
    whole_number(text, 0, i64::MAX.unsigned_abs())
}

/// Any number; what it may be is for its user to say.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number, such as 0.001".to_owned())
}

/// A whole number from 1 to 1,000,000.
fn batch_size(text: &str) -> Result<usize, String> {
    whole_number(text, 1, 1_000_000)
}

/// A number of threads; 0 stands for one for each core.
fn threads(text: &str) -> Result<usize, String> {
    whole_number(text, 0, 1024)
}

fn whole_number<T: Copy + FromStr + PartialOrd + Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}

/// A number above zero that is neither infinite nor NaN.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number < f64::INFINITY => Ok(number),
        _ => Err("expected a number above zero, such as 0.01".to_owned()),
    }
}

/// A format of operands from its name.
fn precision(text: &str) -> Result<Precision, TrainError> {
    precision_named(text)
}

fn precision_help() -> String {
    let names: Vec<&str> = PRECISIONS.iter().map(|(name, _)| *name).collect();
    format!("Format of the operands: {}; auto takes bf16 where the processor multiplies it", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_eighty_columns() {
        let mut command = Cli::command();
        command.build();
        let mut names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        names.retain(|name| name != "help");
        for name in names {
            let help = command.find_subcommand_mut(&name).unwrap().render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }

    #[test]
    fn only_numbers_above_zero_are_positive() {
        for wrong in ["NaN", "inf", "-inf", "-0.1", "0", "", "1e999", "fast"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
        assert_eq!(positive("0.001"), Ok(0.001));
    }

    #[test]
    fn a_wrong_command_line_gives_one_line() {
        let line =
            |arguments: &[&str]| usage_line(&Cli::try_parse_from(arguments).err().unwrap().to_string());
        assert_eq!(
            line(&["vgg", "train", "--sed", "1"]),
            "error: unexpected argument '--sed' found; a similar argument exists: '--seed'; for more \
             information, try '--help'"
        );
        assert_eq!(
            line(&["vgg", "predict"]),
            "error: the following required arguments were not provided: <IMAGE>...; for more information, try \
             '--help'"
        );
    }

    #[test]
    fn whole_numbers_have_a_range() {
        for wrong in ["0", "-1", "1.5", "1000001", "99999999999999999999", ""] {
            assert!(batch_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(batch_size("100"), Ok(100));
        assert_eq!(threads("0"), Ok(0));
        assert_eq!(count("9223372036854775807"), Ok(9_223_372_036_854_775_807));
        assert!(count("9223372036854775808").is_err() && count("-1").is_err());
    }

    #[test]
    fn names_and_letters_give_the_name() {
        assert_eq!(arch_name("B").unwrap(), "vgg13");
        assert_eq!(head_name("PAPER").unwrap(), "paper");
        assert!(arch_name("vgg12").unwrap_err().to_string().contains("vgg13 (B)"));
    }
}
