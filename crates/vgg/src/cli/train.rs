//! `vgg train`: train, say how it goes, and evaluate what came out.

use super::output::{self, Thousands};
use super::{BATCH_SIZE, MODEL_DIR, arch_help, arch_name, evaluate, head_help, head_name, progress, report};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use vgg::report::Occasion;
use vgg::train::DEFAULT_RECIPE;
use vgg::train::options::DEFAULT_SEED;
use vgg::train::recipe::{Overrides, RECIPES, recipe_row};
use vgg::train::tensorboard::record_test;
use vgg::{Ending, Length, Log, Precision, Source, Split, TrainError, TrainOptions, Trained};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg train                           VGG13 on MNIST, into ./model
  vgg train --recipe tutorial         as in the 2018 tutorial: 55,000 steps
  vgg train --arch vgg11 --epochs 1 --model-dir small
  vgg train --stop-at 200             and later on to the end: vgg train

Ctrl-C finishes the step, saves, and ends; the same command goes on from there.
A second Ctrl-C ends at once, without saving, with exit code 1.
Options that are left out are those that the run was started with.";

/// The exit code of a run that was interrupted, with everything saved that was learned.
const INTERRUPTED: u8 = 130;

/// The exit code of a run that was ended at once, without saving.
const ENDED_AT_ONCE: i32 = 1;

/// What `vgg train` takes. What is left out is what the run in the model directory was started
/// with, or the default of a new run.
#[derive(Args)]
pub(crate) struct TrainArguments {
    /// Where the run is kept; a run that is there goes on
    #[arg(long, value_name = "DIR", default_value = MODEL_DIR)]
    model_dir: PathBuf,
    /// mnist, or a folder with four IDX files [default: mnist]
    #[arg(long, value_name = "mnist|DIR")]
    data: Option<Source>,
    #[arg(long, value_name = "NAME", value_parser = arch_name, help = arch_help() + " [default: vgg13]")]
    arch: Option<String>,
    #[arg(long, value_name = "NAME", value_parser = head_name, help = head_help() + " [default: tutorial]")]
    head: Option<String>,
    #[arg(long, value_name = "NAME", value_parser = recipe_name, help = recipe_help())]
    recipe: Option<String>,
    /// Length of the whole run in steps [default: the recipe's epochs]
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = super::count)]
    #[arg(allow_hyphen_values = true)]
    steps: Option<u64>,
    /// Length of the whole run in passes over the training pictures
    #[arg(long, value_name = "N", value_parser = super::count, allow_hyphen_values = true)]
    epochs: Option<u64>,
    /// Pictures in a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// The largest learning rate of the run [default: the recipe's]
    #[arg(long, value_name = "X", value_parser = super::number, allow_hyphen_values = true)]
    learning_rate: Option<f64>,
    #[arg(long, value_name = "NAME", value_parser = super::precision, help = super::precision_help())]
    precision: Option<Precision>,
    /// Threads; 0 takes one for each core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::threads)]
    threads: usize,
    #[arg(long, value_name = "N", help = format!("Seed of all random numbers [default: {DEFAULT_SEED}]"))]
    #[arg(value_parser = super::count, allow_hyphen_values = true)]
    seed: Option<u64>,
    /// Steps from one checkpoint to the next [default: every 600 seconds]
    #[arg(long, value_name = "N", value_parser = super::count, allow_hyphen_values = true)]
    save_every: Option<u64>,
    /// Save and end at this step, to go on another time
    #[arg(long, value_name = "N", value_parser = super::count, allow_hyphen_values = true)]
    stop_at: Option<u64>,
}

/// The whole answer.
#[derive(Serialize)]
struct Report {
    model_dir: PathBuf,
    ending: &'static str,
    global_step: u64,
    steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<evaluate::Report>,
    /// The page about the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<PathBuf>,
}

/// Trains, evaluates a finished network on the test split, and prints where the results are.
///
/// # Errors
/// Options, data or a model directory that cannot be used; training that diverges.
pub(crate) fn run(arguments: &TrainArguments, json: bool) -> Result<ExitCode, TrainError> {
    arguments.check()?;
    let stop = stop_on_interrupt();
    let mut progress = progress::Progress::new();
    let mut log = Log::new(progress.lines());
    let trained = vgg::train(&arguments.options(), &vgg::cpu_engine, &mut [&mut log, &mut progress], stop);
    progress::clear();
    let Trained { estimator, splits, ending } = trained?;

    let (global_step, steps) = (estimator.global_step(), estimator.config().run.steps);
    // The memory of training is given back before memory for the evaluation is taken.
    drop(estimator);
    let mut interrupted = ending == Ending::Interrupted;
    let (mut test, mut page) = (None, None);
    if global_step >= steps {
        let mut saved = super::open_estimator(&arguments.model_dir, BATCH_SIZE, arguments.threads)?;
        match report::measure(&mut saved, &splits, Split::Test, stop) {
            Ok((figures, scores)) => {
                if let Err(error) = record_test(&(&arguments.model_dir).into(), &figures.evaluation) {
                    output::note(format_args!("note: TensorBoard will not show the test: {error}"));
                }
                let occasion = match ending {
                    Ending::Finished => Occasion::EndOfTraining,
                    _ => Occasion::Later,
                };
                page = report::write_or_warn(&saved, &arguments.model_dir, &splits, scores, occasion);
                test = Some(figures);
            }
            Err(TrainError::Interrupted) => interrupted = true,
            Err(error) => return Err(error),
        }
    }
    let ending = ending_name(ending);
    let report =
        Report { model_dir: arguments.model_dir.clone(), ending, global_step, steps, test, report: page };
    output::answer(&report, json)?;
    Ok(if interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

impl TrainArguments {
    /// Refuses what the library may be asked for, and what is a slip at the command line.
    fn check(&self) -> Result<(), TrainError> {
        match self.learning_rate {
            Some(0.0) => Err(TrainError::Usage(
                "the learning rate is 0, with which nothing would be learned; give one such as 0.001"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn options(&self) -> TrainOptions {
        let steps = self.steps.map(Length::Steps);
        TrainOptions {
            data: self.data.clone(),
            arch: self.arch.clone(),
            head: self.head.clone(),
            recipe: self.recipe.clone(),
            overrides: Overrides { learning_rate: self.learning_rate, ..Overrides::default() },
            batch_size: self.batch_size,
            length: steps.or(self.epochs.map(Length::Epochs)),
            seed: self.seed,
            precision: self.precision,
            threads: self.threads,
            save_every: self.save_every,
            stop_at: self.stop_at,
            ..TrainOptions::new(&self.model_dir)
        }
    }
}

/// A flag that the first Ctrl-C (or request to terminate) sets. The second ends the program.
fn stop_on_interrupt() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    let installed = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            progress::clear();
            std::process::exit(ENDED_AT_ONCE);
        }
        output::note("stopping after this step; interrupt again to end at once, without saving");
    });
    if let Err(error) = installed {
        output::note(format_args!("note: an interrupt will end training without saving: {error}"));
    }
    &STOP
}

fn recipe_name(text: &str) -> Result<String, TrainError> {
    recipe_row(text).map(|row| row.name.to_owned())
}

fn recipe_help() -> String {
    let rows: Vec<String> = RECIPES.iter().map(|row| format!("{}: {}", row.name, row.summary)).collect();
    format!("How to train. {} [default: {DEFAULT_RECIPE}]", rows.join("; "))
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Finished => "finished",
        Ending::Stopped => "stopped",
        Ending::Interrupted => "interrupted",
        Ending::NothingToDo => "nothing to do",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.model_dir.display();
        let option = if self.model_dir == Path::new(MODEL_DIR) {
            String::new()
        } else {
            format!(" --model-dir {directory}")
        };
        let Some(test) = &self.test else {
            let (step, steps) = (Thousands(self.global_step), Thousands(self.steps));
            if self.global_step >= self.steps {
                writeln!(f, "training is complete at step {step} and saved in {directory}; not evaluated")?;
                return writeln!(f, "Go on with: vgg evaluate{option}");
            }
            if self.global_step == 0 {
                return writeln!(f, "interrupted before the first step; there was nothing to save");
            }
            writeln!(f, "{} at step {step} of {steps}; saved in {directory}", self.ending)?;
            return writeln!(f, "Go on with: vgg train{option}");
        };
        write!(f, "{test}")?;
        writeln!(f, "The network is in {directory}, and how it learned: tensorboard --logdir {directory}")?;
        if let Some(page) = &self.report {
            writeln!(f, "The report is {}; open it in a browser.", page.display())?;
        }
        writeln!(f, "Next:")?;
        writeln!(f, "  vgg evaluate{option} --split validation")?;
        writeln!(f, "  vgg data show --split test --index 0 --png digit.png")?;
        writeln!(f, "  vgg predict{option} digit.png")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ending: Ending, test: Option<evaluate::Report>) -> Report {
        Report {
            model_dir: "elsewhere".into(),
            ending: ending_name(ending),
            global_step: 200,
            steps: 1100,
            test,
            report: None,
        }
    }

    #[test]
    fn an_unfinished_run_says_how_to_go_on() {
        let text = report(Ending::Interrupted, None).to_string();
        assert!(text.starts_with("interrupted at step 200 of 1,100; saved in elsewhere\n"), "{text}");
        assert!(text.contains("vgg train --model-dir elsewhere"), "{text}");
    }

    #[test]
    fn an_interrupt_before_the_first_step_claims_nothing() {
        let text = Report { global_step: 0, ..report(Ending::Interrupted, None) }.to_string();
        assert_eq!(text, "interrupted before the first step; there was nothing to save\n");
    }

    #[test]
    fn a_finished_run_says_what_comes_next() {
        let finished = report(Ending::Finished, Some(evaluate::tests::report()));
        let text = Report { report: Some("elsewhere/report.html".into()), ..finished }.to_string();
        assert!(text.starts_with("accuracy 98.42 %"), "{text}");
        assert!(text.contains("\nThe report is elsewhere/report.html; open it in a browser.\n"), "{text}");
        assert!(text.contains("  vgg evaluate --model-dir elsewhere --split validation\n"), "{text}");
    }

    #[test]
    fn options_left_out_are_left_to_the_run() {
        use clap::Parser;
        let cli = super::super::Cli::parse_from(["vgg", "train", "--epochs", "3", "--arch", "D"]);
        let super::super::Verb::Train(arguments) = cli.verb else { panic!("another verb") };
        let options = arguments.options();
        assert_eq!(options.length, Some(Length::Epochs(3)));
        assert_eq!(options.arch.as_deref(), Some("vgg16"));
        assert_eq!((options.recipe, options.batch_size, options.seed), (None, None, None));
        assert_eq!(options.model_dir.path(), Path::new(MODEL_DIR));
    }

    /// What a report gives as the command to repeat a run can be typed, and asks for that run.
    #[test]
    fn the_command_of_a_report_is_understood() {
        use clap::Parser;
        use vgg::train::config::{DataConfig, RunConfig};
        use vgg::train::{Config, Recipe};
        let network = vgg::Network::new("vgg11", "paper", vgg::Shape::new(28, 28, 1), 2).unwrap();
        let data = DataConfig {
            source: "/some/where".into(),
            fingerprint: "0".repeat(64),
            class_names: vec!["a".into(), "b".into()],
        };
        let run = RunConfig { seed: 7, batch_size: 10, steps: 33, precision: "f32".into() };
        let overrides = Overrides { learning_rate: Some(0.5), ..Overrides::default() };
        let recipe = Recipe::from_row(recipe_row("tutorial").unwrap()).with(&overrides);
        let command = vgg::report::origin::command(&Config::new(&network, data, recipe, run), 100);
        let cli = super::super::Cli::try_parse_from(command.split(' ')).unwrap();
        let super::super::Verb::Train(arguments) = cli.verb else { panic!("another verb") };
        let options = arguments.options();
        assert_eq!(options.data, Some(Source::Folder("/some/where".into())));
        assert_eq!((options.arch.as_deref(), options.head.as_deref()), (Some("vgg11"), Some("paper")));
        assert_eq!((options.recipe.as_deref(), options.overrides), (Some("tutorial"), overrides));
        assert_eq!((options.length, options.batch_size), (Some(Length::Steps(33)), Some(10)));
        assert_eq!((options.seed, options.precision), (Some(7), Some(Precision::F32)));
    }
}
