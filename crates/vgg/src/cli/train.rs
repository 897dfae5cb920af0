//! `vgg train`: train, say how it goes, and evaluate what came out.

use super::output::{self, Thousands};
use super::recipe_arguments::RecipeArguments;
use super::{BATCH_SIZE, MODEL_DIR, arch_help, arch_name, evaluate, head_help, head_name, progress, report};
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use vgg::report::Occasion;
use vgg::report::origin::quoted;
use vgg::train::options::DEFAULT_SEED;
use vgg::train::overfit::LEARNED;
use vgg::train::recipe::{RECIPES, recipe_row};
use vgg::train::tensorboard::record_test;
use vgg::train::{DEFAULT_RECIPE, Freeze};
use vgg::{Ending, Evaluation, Length, Log, Precision, Source, Split, TrainError, TrainOptions, Trained};

pub(super) const EXAMPLES: &str = "\
Examples:
  vgg train                           VGG13 on MNIST, into ./model
  vgg train --recipe tutorial         as in the 2018 tutorial: 55,000 steps
  vgg train --arch vgg11 --epochs 1 --model-dir small
  vgg train --stop-at 200             and later on to the end: vgg train
  vgg train --overfit-batch           can the network learn at all?
  vgg train --init-from model --freeze features --data DIR --model-dir mine

Ctrl-C finishes the step, saves, and ends; the same command goes on from there.
A second Ctrl-C ends at once, without saving, with exit code 1.
Options that are left out are those that the run was started with.";

/// Where the check on one batch is kept when nothing else is said: not in the way of a training.
const OVERFIT_DIR: &str = "model-overfit";

/// The exit code of a run that was interrupted, with everything saved that was learned.
const INTERRUPTED: u8 = 130;

/// The exit code of a run that was ended at once, without saving.
const ENDED_AT_ONCE: i32 = 1;

/// What `vgg train` takes. What is left out is what the run in the model directory was started
/// with, or the default of a new run.
#[derive(Args)]
pub(crate) struct TrainArguments {
    #[arg(long, value_name = "DIR", help = model_dir_help())]
    model_dir: Option<PathBuf>,
    /// A TOML file of settings, with the keys of a run's config.toml; options win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, value_name = super::DATA_NAME, help = super::DATA_HELP.to_owned() + " [default: mnist]")]
    data: Option<Source>,
    /// Size that pictures of a folder are brought to: a side, or height x width such as 32x48
    #[arg(long, value_name = "N|HxW", value_parser = image_size)]
    image_size: Option<[usize; 2]>,
    /// Use at most so many pictures of each split, for a quick try
    #[arg(long, value_name = "N", value_parser = super::batch_size)]
    limit: Option<usize>,
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
    /// Start from the weights of a trained network, in all layers that fit
    #[arg(long, value_name = "DIR")]
    init_from: Option<PathBuf>,
    /// Layers that keep their weights: the first N, or features for all convolutions
    #[arg(long, value_name = "N|features")]
    freeze: Option<Freeze>,
    /// Only check that the network can learn one batch by heart
    #[arg(long)]
    overfit_batch: bool,
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
    /// Steps from one evaluation of the validation pictures to the next, besides those after each epoch and at the end
    #[arg(long, value_name = "N", value_parser = super::count, allow_hyphen_values = true)]
    evaluate_every: Option<u64>,
    /// Save and end at this step, to go on another time
    #[arg(long, value_name = "N", value_parser = super::count, allow_hyphen_values = true)]
    stop_at: Option<u64>,
    #[command(flatten)]
    recipe_values: RecipeArguments,
}

/// The whole answer.
#[derive(Serialize)]
struct Report {
    /// A name that is not UTF-8 is given as it can be shown.
    model_dir: String,
    /// ` --data SOURCE`, where that is not the default.
    #[serde(skip)]
    data_option: String,
    ending: &'static str,
    complete: bool,
    global_step: u64,
    steps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<evaluate::Report>,
    /// The page about the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_batch: Option<OneBatch>,
}

/// What came of the check on one batch.
#[derive(Serialize)]
struct OneBatch {
    loss: f64,
    accuracy: f64,
    examples: usize,
    learned: bool,
}

/// Trains, evaluates a finished network on the test split, and prints where the results are.
///
/// # Errors
/// Options, data or a model directory that cannot be used; training that diverges.
pub(crate) fn run(arguments: &TrainArguments, json: bool) -> Result<ExitCode, TrainError> {
    let options = arguments.options()?;
    let model_dir = options.model_dir.path();
    let stop = stop_on_interrupt();
    let mut progress = progress::Progress::new();
    let mut log = Log::new(progress.lines());
    let trained = vgg::train(&options, &vgg::cpu_engine, &mut [&mut log, &mut progress], stop);
    progress::clear();
    let Trained { estimator, splits, ending, complete, global_step } = trained?;

    let (steps, overfit_batch) = (estimator.config().run.steps, estimator.config().run.overfit_batch);
    let data_option = match estimator.config().data.source.as_str() {
        "mnist" => String::new(),
        source => format!(" --data {}", quoted(source)),
    };
    // The memory of training is given back before memory for the evaluation is taken.
    drop(estimator);
    let mut interrupted = ending == Ending::Interrupted;
    let (mut test, mut page, mut one_batch) = (None, None, None);
    if complete {
        let mut saved = super::open_estimator(model_dir, BATCH_SIZE, arguments.threads)?;
        // The training split is the batch of a check on one.
        let split = if overfit_batch { Split::Train } else { Split::Test };
        match report::measure(&mut saved, &splits, split, stop) {
            Ok((figures, _)) if overfit_batch => one_batch = Some(OneBatch::new(&figures.evaluation)),
            Ok((figures, scores)) => {
                if let Err(error) = record_test(&options.model_dir, &figures.evaluation) {
                    output::note(format_args!("note: TensorBoard will not show the test: {error}"));
                }
                let occasion = match ending {
                    Ending::Finished | Ending::EndedEarly => Occasion::EndOfTraining,
                    _ => Occasion::Later,
                };
                page = report::write_or_warn(&saved, model_dir, &splits, scores, occasion);
                test = Some(figures);
            }
            Err(TrainError::Interrupted) => interrupted = true,
            Err(error) => return Err(error),
        }
    }
    let ending = ending_name(ending);
    let report = Report {
        model_dir: model_dir.display().to_string(),
        data_option,
        ending,
        complete,
        global_step,
        steps,
        test,
        report: page.map(|page| page.display().to_string()),
        one_batch,
    };
    output::answer(&report, json)?;
    Ok(if interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

impl TrainArguments {
    /// What is asked for, by options and by the file of settings. Refuses what the library may be asked for,
    /// and what is a slip here.
    fn options(&self) -> Result<TrainOptions, TrainError> {
        let mut options = self.given()?;
        if let Some(path) = &self.config {
            options = options.with_settings_of(path)?;
        }
        if options.overrides.learning_rate == Some(0.0) {
            return Err(TrainError::Usage(
                "the learning rate is 0, with which nothing would be learned; give one such as 0.001"
                    .to_owned(),
            ));
        }
        if self.model_dir.is_none() && options.overfit_batch == Some(true) {
            options.model_dir = OVERFIT_DIR.into();
            options.replace_check = true;
        }
        Ok(options)
    }

    /// The options of the command line alone.
    fn given(&self) -> Result<TrainOptions, TrainError> {
        let steps = self.steps.map(Length::Steps);
        Ok(TrainOptions {
            data: self.data.clone(),
            image_size: self.image_size,
            limit: self.limit,
            arch: self.arch.clone(),
            head: self.head.clone(),
            recipe: self.recipe.clone(),
            overrides: self.recipe_values.overrides()?,
            batch_size: self.batch_size,
            length: steps.or(self.epochs.map(Length::Epochs)),
            seed: self.seed,
            precision: self.precision,
            freeze: self.freeze,
            overfit_batch: self.overfit_batch.then_some(true),
            init_from: self.init_from.clone(),
            loading: super::loading::progress(),
            threads: self.threads,
            save_every: self.save_every,
            evaluate_every: self.evaluate_every,
            stop_at: self.stop_at,
            ..TrainOptions::new(self.model_dir.clone().unwrap_or_else(|| MODEL_DIR.into()))
        })
    }
}

impl OneBatch {
    fn new(evaluation: &Evaluation) -> Self {
        let Evaluation { loss, accuracy, examples, .. } = *evaluation;
        Self { loss, accuracy, examples, learned: loss <= LEARNED }
    }
}

impl fmt::Display for OneBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, accuracy, examples, learned } = *self;
        let accuracy = 100.0 * accuracy;
        writeln!(
            f,
            "the same {examples} pictures again and again: loss {loss:.6}, accuracy {accuracy:.2} %"
        )?;
        if learned {
            return writeln!(f, "They are learned by heart: the network can learn. This is no result.");
        }
        writeln!(f, "They are not learned by heart, which takes a loss of {LEARNED} or less.")?;
        writeln!(f, "Try more --steps or another --learning-rate; look at the labels: vgg data show")
    }
}

/// One number for both sides, or height and width.
pub(super) fn image_size(text: &str) -> Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text| super::whole_number(text, 1, 4096);
    match (side(height), side(width)) {
        (Ok(height), Ok(width)) => Ok([height, width]),
        _ => Err("expected a side of 1 to 4096 pixels, or height x width such as 32x48".to_owned()),
    }
}

fn model_dir_help() -> String {
    format!(
        "Where the run is kept; a run that is there goes on [default: {MODEL_DIR}, or {OVERFIT_DIR} with \
         --overfit-batch]"
    )
}

/// Whether training is to end; other verbs are ended by the signal itself.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

/// A flag that the first Ctrl-C (or request to terminate) sets. The second ends the program.
fn stop_on_interrupt() -> &'static AtomicBool {
    let installed = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            without_waiting(progress::clear);
            std::process::exit(ENDED_AT_ONCE);
        }
        without_waiting(|| {
            output::note("stopping after this step; interrupt again to end at once, without saving");
        });
    });
    if let Err(error) = installed {
        output::note(format_args!("note: an interrupt will end training without saving: {error}"));
    }
    &STOP
}

/// Writes to standard error what must not hold up an interrupt: nobody may be reading there.
fn without_waiting(write: impl FnOnce() + Send + 'static) {
    /// Usually far less.
    const WAIT: Duration = Duration::from_millis(200);
    let (ended, end) = mpsc::channel();
    // Where the system gives no thread, nothing is written. A receiver that has gone wants no answer.
    let thread = std::thread::Builder::new().spawn(move || {
        write();
        let _ = ended.send(());
    });
    if thread.is_ok() {
        let _ = end.recv_timeout(WAIT);
    }
}

fn recipe_name(text: &str) -> Result<String, TrainError> {
    recipe_row(text).map(|row| row.recipe.name.clone().into_owned())
}

fn recipe_help() -> String {
    let rows: Vec<String> =
        RECIPES.iter().map(|row| format!("{}: {}", row.recipe.name, row.summary)).collect();
    format!("How to train. {} [default: {DEFAULT_RECIPE}]", rows.join("; "))
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Finished => "finished",
        Ending::EndedEarly => "ended early",
        Ending::Stopped => "stopped",
        Ending::Interrupted => "interrupted",
        Ending::NothingToDo => "nothing to do",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = &self.model_dir;
        let option = if directory == MODEL_DIR {
            String::new()
        } else {
            format!(" --model-dir {}", quoted(directory))
        };
        if let Some(one_batch) = &self.one_batch {
            return one_batch.fmt(f);
        }
        let Some(test) = &self.test else {
            let (step, steps) = (Thousands(self.global_step), Thousands(self.steps));
            if self.complete {
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
        if self.global_step < self.steps {
            let (step, steps) = (Thousands(self.global_step), Thousands(self.steps));
            writeln!(f, "Training ended early, at step {step} of {steps}; this is the best it came by.")?;
        }
        writeln!(f, "The network is in {directory}, and how it learned: tensorboard --logdir {directory}")?;
        if let Some(page) = &self.report {
            writeln!(f, "The report is {page}; open it in a browser.")?;
        }
        writeln!(f, "Next:")?;
        writeln!(f, "  vgg evaluate{option} --split validation")?;
        writeln!(f, "  vgg data show{} --split test --index 0 --png picture.png", self.data_option)?;
        writeln!(f, "  vgg predict{option} picture.png")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn report(ending: Ending, test: Option<evaluate::Report>) -> Report {
        Report {
            model_dir: "elsewhere".into(),
            data_option: " --data photos".into(),
            ending: ending_name(ending),
            complete: ending == Ending::Finished,
            global_step: 200,
            steps: 1100,
            test,
            report: None,
            one_batch: None,
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
        assert!(text.contains("  vgg data show --data photos --split test --index 0 --png "), "{text}");
        assert!(text.contains("Training ended early, at step 200 of 1,100;"), "{text}");
        let whole =
            Report { steps: 200, ..report(Ending::Finished, Some(evaluate::tests::report())) }.to_string();
        assert!(!whole.contains("early"), "{whole}");
    }

    #[test]
    fn one_batch_says_whether_it_was_learned() {
        let report = |loss| {
            let one_batch =
                OneBatch::new(&Evaluation { loss, ..evaluate::tests::report().evaluation.clone() });
            Report { one_batch: Some(one_batch), ..report(Ending::Finished, None) }.to_string()
        };
        assert!(report(0.01).contains("learned by heart: the network can learn"), "{}", report(0.01));
        assert!(report(0.1).contains("not learned by heart"), "{}", report(0.1));
        assert!(report(0.1).lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn sizes_are_a_side_or_two() {
        assert_eq!((image_size("32"), image_size("32x48")), (Ok([32, 32]), Ok([32, 48])));
        for wrong in ["0", "x", "32x", "32x48x1", "4097", "-1", ""] {
            assert!(image_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_left_out_are_left_to_the_run() {
        use clap::Parser;
        let cli = super::super::Cli::parse_from(["vgg", "train", "--epochs", "3", "--arch", "D"]);
        let super::super::Verb::Train(arguments) = cli.verb else { panic!("another verb") };
        let options = arguments.options().unwrap();
        assert_eq!(options.length, Some(Length::Epochs(3)));
        assert_eq!(options.arch.as_deref(), Some("vgg16"));
        assert_eq!((options.recipe, options.batch_size, options.seed), (None, None, None));
        assert_eq!((options.overrides, options.overfit_batch), (Default::default(), None));
        assert_eq!(options.model_dir.path(), Path::new(MODEL_DIR));
    }

    /// What a report gives as the command to repeat a run can be typed, and asks for that run.
    #[test]
    fn the_command_of_a_report_is_understood() {
        use clap::Parser;
        use vgg::train::config::{DataConfig, RunConfig};
        use vgg::train::{Config, Overrides};
        let network = vgg::Network::new("vgg11", "paper", vgg::Shape::new(28, 28, 1), 2).unwrap();
        let data = DataConfig {
            source: "/some/where".into(),
            fingerprint: "0".repeat(64),
            class_names: vec!["a".into(), "b".into()],
            limit: Some(40),
            mean: None,
            deviation: None,
            split: None,
        };
        let run = RunConfig {
            seed: 7,
            batch_size: 10,
            steps: 33,
            precision: "f32".into(),
            freeze: 2,
            overfit_batch: false,
            init_from: None,
        };
        let overrides = Overrides { learning_rate: Some(0.5), ..Overrides::default() };
        let recipe = recipe_row("tutorial").unwrap().recipe.clone().with(&overrides);
        let command = vgg::report::origin::command(&Config::new(&network, data, recipe, run));
        let cli = super::super::Cli::try_parse_from(command.split(' ')).unwrap();
        let super::super::Verb::Train(arguments) = cli.verb else { panic!("another verb") };
        let options = arguments.options().unwrap();
        assert_eq!(options.data, Some(Source::Folder("/some/where".into())));
        assert_eq!((options.arch.as_deref(), options.head.as_deref()), (Some("vgg11"), Some("paper")));
        assert_eq!((options.recipe.as_deref(), options.overrides), (Some("tutorial"), overrides));
        assert_eq!((options.length, options.batch_size), (Some(Length::Steps(33)), Some(10)));
        assert_eq!((options.seed, options.precision), (Some(7), Some(Precision::F32)));
        assert_eq!((options.limit, options.freeze), (Some(40), Some(Freeze::Layers(2))));
    }
}
