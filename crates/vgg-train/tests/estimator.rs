//! The estimator with a small engine: resuming, stopping, diverging, what is kept, and what is
//! refused.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{Bench, Regression, Tell, checkpoints, contents, kill_at, stop_at, write_data};
use vgg_arch::Network;
use vgg_data::Source;
use vgg_engine::{Engine, EngineError, EngineOptions};
use vgg_train::{Ending, Event, Length, Listener, Overrides, TrainError, TrainOptions, Trained, train};

fn run(options: &TrainOptions, listener: &mut dyn Listener) -> Result<Trained, TrainError> {
    train(options, &Regression::make, &mut [listener], &AtomicBool::new(false))
}

fn run_alone(options: &TrainOptions) -> Result<Trained, TrainError> {
    run(options, &mut Tell(|_: &Event<'_>| Ok(())))
}

fn ending(options: &TrainOptions) -> Ending {
    run_alone(options).map(|trained| trained.ending).unwrap()
}

/// The error of what must not succeed.
fn refused<T>(result: Result<T, TrainError>) -> TrainError {
    result.err().expect("an error was expected")
}

/// The lines of metrics without what depends on time.
fn metrics(model_dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(model_dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| line.split(",\"seconds").next().unwrap().to_owned()).collect()
}

#[test]
fn stopping_twice_in_mid_epoch_changes_no_bit() {
    let bench = Bench::new();
    assert_eq!(ending(&bench.options("whole")), Ending::Finished);
    assert_eq!(ending(&TrainOptions { stop_at: Some(4), ..bench.options("parts") }), Ending::Stopped);
    assert_eq!(ending(&TrainOptions { stop_at: Some(9), ..bench.options("parts") }), Ending::Stopped);
    // The rest without options: what is not given is taken from the configuration.
    assert_eq!(ending(&TrainOptions::new(bench.path("parts"))), Ending::Finished);
    let last = "ckpt-000000015";
    assert_eq!(checkpoints(&bench.path("parts")), ["ckpt-000000004", "ckpt-000000009", last]);
    assert_eq!(contents(&bench.path("parts").join(last)), contents(&bench.path("whole").join(last)));
    assert_eq!(metrics(&bench.path("parts")), metrics(&bench.path("whole")));
}

#[test]
fn training_learns_and_tells_the_same_after_opening() {
    let bench = Bench::new();
    let length = Some(Length::Epochs(20));
    let overrides = Overrides {
        learning_rate: Some(0.2),
        momentum: Some(0.9),
        nesterov: Some(true),
        ..Overrides::default()
    };
    let recipe = Some("tutorial".into());
    let options = TrainOptions { length, recipe, overrides, ..bench.options("model") };
    let Trained { mut estimator, splits, ending, .. } = run_alone(&options).unwrap();
    assert_eq!((ending, estimator.global_step()), (Ending::Finished, 120));
    let stop = AtomicBool::new(false);
    let evaluation = estimator.evaluate(&splits.test, &stop, &mut |_, _| {}).unwrap();
    assert!(evaluation.accuracy > 0.9, "{evaluation:?}");
    let mut progress = Vec::new();
    let mut opened = bench.open("model").unwrap();
    let again = opened.evaluate(&splits.test, &stop, &mut |done, of| progress.push((done, of))).unwrap();
    assert_eq!(again, evaluation);
    assert_eq!(progress, [(7, 20), (14, 20), (20, 20)]);
    assert_eq!(opened.predict(splits.test.images()).unwrap().len(), 20);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refused(opened.evaluate(&splits.test, &stop, &mut |_, _| {})).exit_code(), 130);
    let mnist = vgg_data::Dataset::new(vec![0; 784], vec![0], [28, 28, 1], vec!["a".into()]).unwrap();
    assert_eq!(refused(opened.evaluate(&mnist, &AtomicBool::new(false), &mut |_, _| {})).exit_code(), 65);
}

#[test]
fn a_killed_run_leaves_no_line_twice() {
    let bench = Bench::new();
    run_alone(&bench.options("whole")).unwrap();
    let options = TrainOptions { save_every: Some(5), ..bench.options("killed") };
    refused(run(&options, &mut kill_at(3)));
    assert!(checkpoints(&bench.path("killed")).is_empty());
    refused(run(&options, &mut kill_at(13)));
    assert_eq!(checkpoints(&bench.path("killed")), ["ckpt-000000005", "ckpt-000000010"]);
    run_alone(&options).unwrap();
    assert_eq!(metrics(&bench.path("killed")), metrics(&bench.path("whole")));
    let last = "ckpt-000000015";
    assert_eq!(contents(&bench.path("killed").join(last)), contents(&bench.path("whole").join(last)));
}

#[test]
fn the_stop_flag_saves() {
    let bench = Bench::new();
    let stop = AtomicBool::new(false);
    let mut events = Vec::new();
    let mut note = Tell(|event: &Event<'_>| {
        events.push(match event {
            Event::Started(_) => "started",
            Event::Resumed(_) => "resumed",
            Event::Step(_) => "step",
            Event::Saving { .. } => "saving",
            Event::Saved { .. } => "saved",
            Event::Interrupted { global_step: 3 } => "interrupted",
            _ => "else",
        });
        Ok(())
    });
    let listeners: &mut [&mut dyn Listener] = &mut [&mut note, &mut stop_at(3, &stop)];
    let trained = train(&bench.options("model"), &Regression::make, listeners, &stop).unwrap();
    assert_eq!(trained.ending, Ending::Interrupted);
    assert_eq!(events, ["started", "step", "step", "step", "saving", "saved", "interrupted"]);
    assert_eq!(checkpoints(&bench.path("model")), ["ckpt-000000003"]);
}

#[test]
fn five_checkpoints_are_kept() {
    let bench = Bench::new();
    run_alone(&TrainOptions { save_every: Some(2), ..bench.options("model") }).unwrap();
    let kept = [8, 10, 12, 14, 15].map(|step| format!("ckpt-{step:09}"));
    assert_eq!(checkpoints(&bench.path("model")), kept);
}

#[test]
fn a_run_at_its_end_has_nothing_to_train() {
    let bench = Bench::new();
    run_alone(&bench.options("model")).unwrap();
    let before = contents(&bench.path("model"));
    assert_eq!(ending(&bench.options("model")), Ending::NothingToDo);
    assert_eq!(ending(&TrainOptions { stop_at: Some(5), ..bench.options("model") }), Ending::NothingToDo);
    assert_eq!(contents(&bench.path("model")), before);
}

#[test]
fn evaluating_changes_nothing_else() {
    let bench = Bench::new();
    let evaluated_at = |options: &TrainOptions| {
        let mut steps = Vec::new();
        let mut note = Tell(|event: &Event<'_>| {
            if let Event::Evaluated { split, evaluation } = event {
                assert_eq!((*split, evaluation.examples), ("validation", 6));
                steps.push(evaluation.global_step);
            }
            Ok(())
        });
        run(options, &mut note).unwrap();
        steps
    };
    assert_eq!(evaluated_at(&bench.options("with")), [6, 12, 15]);
    let often = TrainOptions { evaluate_every: Some(4), ..bench.options("often") };
    assert_eq!(evaluated_at(&often), [4, 6, 8, 12, 15]);
    let without = TrainOptions { evaluate_epochs: false, ..bench.options("without") };
    assert!(evaluated_at(&without).is_empty());
    let last = |name| contents(&bench.path(name).join("ckpt-000000015"));
    assert_eq!(last("with"), last("without"));
    assert_eq!(last("with"), last("often"));
    assert_eq!(metrics(&bench.path("without")).len(), 15);
}

#[test]
fn divergence_leaves_the_last_good_checkpoint() {
    type Break = fn(&mut Regression);
    let breaks: [Break; 3] = [
        |engine| engine.bad_loss = Some(7),
        |engine| engine.bad_update = Some(9),
        |engine| engine.overflow = Some(7),
    ];
    for break_it in breaks {
        let bench = Bench::new();
        let options = TrainOptions { save_every: Some(5), ..bench.options("model") };
        let make = |network: &Network, options: &EngineOptions| {
            let mut engine = Regression::new(network, options);
            break_it(&mut engine);
            Ok(Box::new(engine) as Box<dyn Engine>)
        };
        let error = refused(train(&options, &make, &mut [], &AtomicBool::new(false)));
        assert_eq!(error.exit_code(), 76, "{error}");
        assert_eq!(checkpoints(&bench.path("model")), ["ckpt-000000005"]);
        assert_eq!(bench.open("model").unwrap().global_step(), 5);
        assert_eq!(ending(&options), Ending::Finished);
    }
}

/// The run's end when the loss at `step` is no number, with a checkpoint after every step.
fn diverge(options: &TrainOptions, step: u64) -> String {
    let make = |network: &Network, options: &EngineOptions| {
        let mut engine = Regression::new(network, options);
        engine.bad_loss = Some(step);
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    let options = TrainOptions { save_every: Some(1), ..options.clone() };
    let error = refused(train(&options, &make, &mut [], &AtomicBool::new(false)));
    assert_eq!(error.exit_code(), 76, "{error}");
    error.to_string()
}

#[test]
fn the_checkpoint_whose_weights_diverged_is_not_kept() {
    let bench = Bench::new();
    let message = diverge(&bench.options("model"), 3);
    assert_eq!(checkpoints(&bench.path("model")), ["ckpt-000000001", "ckpt-000000002"]);
    let good = bench.path("model").join("ckpt-000000002");
    let expected = format!("the last good checkpoint is {}; train again in another", good.display());
    assert!(message.contains(&expected) && message.contains("after 3 steps: the loss is NaN"), "{message}");
}

#[test]
fn divergence_without_a_good_checkpoint_leaves_no_new_directory() {
    let bench = Bench::new();
    for step in [0, 1] {
        let message = diverge(&bench.options("parent/model"), step);
        assert!(message.contains("there is no good checkpoint; train again with a smaller"), "{message}");
        assert!(!bench.path("parent").exists());
    }
    // A directory that was there before stays, and its run with it.
    fs::create_dir(bench.path("model")).unwrap();
    let message = diverge(&bench.options("model"), 1);
    assert!(message.contains("no good checkpoint; train again in another --model-dir"), "{message}");
    assert!(bench.path("model").exists() && checkpoints(&bench.path("model")).is_empty());
}

#[test]
fn other_options_are_refused_with_both_values() {
    let bench = Bench::new();
    run_alone(&TrainOptions { stop_at: Some(4), ..bench.options("model") }).unwrap();
    let before = contents(&bench.path("model"));
    let good = bench.options("model");
    write_data(&bench.path("other"), 2);
    let rate = Overrides { learning_rate: Some(0.5), ..Overrides::default() };
    for (options, part) in [
        (TrainOptions { batch_size: Some(5), ..good.clone() }, "run.batch_size (saved 10, asked 5)"),
        (TrainOptions { length: Some(Length::Epochs(2)), ..good.clone() }, "run.steps (saved 15, asked 12)"),
        (TrainOptions { seed: Some(9), ..good.clone() }, "run.seed (saved 1, asked 9)"),
        (TrainOptions { overrides: rate, ..good.clone() }, "recipe.learning_rate (saved 0.04, asked 0.5)"),
        (
            TrainOptions { recipe: Some("tutorial".into()), ..good.clone() },
            "recipe.name (saved \"fast\", asked \"tutorial\")",
        ),
        (
            TrainOptions { arch: Some("E".into()), ..good.clone() },
            "network.name (saved \"vgg13\", asked \"vgg19\")",
        ),
        (
            TrainOptions { head: Some("paper".into()), ..good.clone() },
            "network.head (saved \"tutorial\", asked \"paper\")",
        ),
        (
            TrainOptions { data: Some(Source::Folder(bench.path("other"))), ..good.clone() },
            "data.fingerprint",
        ),
    ] {
        let error = refused(run_alone(&options));
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }
    // A folder whose content has changed is bad data.
    fs::rename(bench.path("data"), bench.path("hidden")).unwrap();
    fs::rename(bench.path("other"), bench.path("data")).unwrap();
    let error = refused(run_alone(&TrainOptions::new(bench.path("model"))));
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("no longer those"), "{error}");
    assert_eq!(contents(&bench.path("model")), before);
    // The same data elsewhere, other threads, and values as they are: nothing differs.
    fs::rename(bench.path("hidden"), bench.path("moved")).unwrap();
    let data = Some(Source::Folder(bench.path("moved")));
    let recipe = Some("fast".into());
    assert_eq!(ending(&TrainOptions { data, recipe, threads: 2, ..good }), Ending::Finished);
}

#[test]
fn a_configuration_changed_by_hand_is_noticed() {
    let bench = Bench::new();
    run_alone(&TrainOptions { stop_at: Some(4), ..bench.options("model") }).unwrap();
    let path = bench.path("model").join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("momentum = 0.9", "momentum = 0.8")).unwrap();
    let holder = fs::read_to_string(bench.path("model").join(".lock")).unwrap();
    assert_eq!(holder.trim(), std::process::id().to_string());
    fs::write(bench.path("model").join(".lock"), "of the last run").unwrap();
    let error = refused(run_alone(&TrainOptions::new(bench.path("model"))));
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("recipe.momentum (saved 0.9, asked 0.8)"), "{error}");
    assert_eq!(fs::read(bench.path("model").join(".lock")).unwrap(), b"of the last run");
    fs::remove_file(&path).unwrap();
    let error = refused(run_alone(&bench.options("model")));
    assert!(error.to_string().contains("no config.toml"), "{error}");
    assert!(!path.exists());
}

#[test]
fn bad_input_makes_no_directory() {
    let bench = Bench::new();
    let good = bench.options("parent/model");
    let rate = |rate| Overrides { learning_rate: Some(rate), ..Overrides::default() };
    let momentum = Overrides { momentum: Some(1.0), ..Overrides::default() };
    let decay = Overrides { weight_decay: Some(f64::NAN), ..Overrides::default() };
    for (options, code) in [
        (TrainOptions { batch_size: Some(0), ..good.clone() }, 2),
        (TrainOptions { batch_size: Some(55), ..good.clone() }, 2),
        (TrainOptions { length: Some(Length::Steps(0)), ..good.clone() }, 2),
        (TrainOptions { length: Some(Length::Epochs(0)), ..good.clone() }, 2),
        (TrainOptions { length: Some(Length::Epochs(u64::MAX)), ..good.clone() }, 2),
        (TrainOptions { overrides: rate(f64::NAN), ..good.clone() }, 2),
        (TrainOptions { overrides: rate(f64::INFINITY), ..good.clone() }, 2),
        (TrainOptions { overrides: rate(-0.1), ..good.clone() }, 2),
        (TrainOptions { overrides: momentum, ..good.clone() }, 2),
        (TrainOptions { overrides: decay, ..good.clone() }, 2),
        (TrainOptions { seed: Some(u64::MAX), ..good.clone() }, 2),
        (TrainOptions { save_every: Some(0), ..good.clone() }, 2),
        (TrainOptions { stop_at: Some(0), ..good.clone() }, 2),
        (TrainOptions { recipe: Some("slow".into()), ..good.clone() }, 2),
        (TrainOptions { arch: Some("vgg12".into()), ..good.clone() }, 2),
        (TrainOptions { head: Some("big".into()), ..good.clone() }, 2),
        (TrainOptions { data: Some(Source::Folder(bench.path("missing"))), ..good.clone() }, 65),
    ] {
        let error = refused(run_alone(&options));
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(!bench.path("parent").exists(), "{error}");
    }
    let make = |_: &Network, _: &EngineOptions| Err(EngineError::Memory { bytes: 1 });
    assert_eq!(refused(train(&good, &make, &mut [], &AtomicBool::new(false))).exit_code(), 2);
    assert!(!bench.path("parent").exists());
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("model"), "a").unwrap();
    assert_eq!(refused(run_alone(&bench.options("model"))).exit_code(), 73);
    assert_eq!(refused(run_alone(&bench.options("model/inner"))).exit_code(), 73);
    assert_eq!(fs::read(bench.path("model")).unwrap(), b"a");
}

#[test]
fn a_directory_without_a_run_cannot_be_opened() {
    let bench = Bench::new();
    for name in ["missing", "data"] {
        let error = refused(bench.open(name));
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("no trained network"), "{error}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_a_warning() {
    let bench = Bench::new();
    run_alone(&bench.options("whole")).unwrap();
    run_alone(&TrainOptions { stop_at: Some(4), ..bench.options("model") }).unwrap();
    run_alone(&TrainOptions { stop_at: Some(9), ..bench.options("model") }).unwrap();
    // The mean of the weights is what is opened; training needs all three.
    for (file, opened) in
        [("optimizer.safetensors", (9, 0)), ("weights.safetensors", (9, 0)), ("average.safetensors", (4, 1))]
    {
        let damaged = bench.path("model").join("ckpt-000000009").join(file);
        let bytes = fs::read(&damaged).unwrap();
        fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
        let estimator = bench.open("model").unwrap();
        assert_eq!((estimator.global_step(), estimator.warnings().len()), opened, "{file}");
    }
    let mut warnings = Vec::new();
    let mut note = Tell(|event: &Event<'_>| {
        if let Event::Warning(text) = event {
            warnings.push((*text).to_owned());
        }
        Ok(())
    });
    run(&bench.options("model"), &mut note).unwrap();
    assert!(warnings[0].contains("ckpt-000000009") && warnings[0].contains("step 4"), "{warnings:?}");
    assert_eq!(metrics(&bench.path("model")), metrics(&bench.path("whole")));
}

/// It would count as the newest and end the run, and as one of the five that are kept.
#[test]
fn a_damaged_checkpoint_is_set_aside_and_pruning_goes_on() {
    let bench = Bench::new();
    let model_dir = bench.path("model");
    run_alone(&TrainOptions { save_every: Some(1), stop_at: Some(4), ..bench.options("model") }).unwrap();
    run_alone(&TrainOptions { stop_at: Some(8), ..bench.options("model") }).unwrap();
    fs::write(model_dir.join("ckpt-000000008/MANIFEST"), "").unwrap();
    let mut warnings = Vec::new();
    let mut note = Tell(|event: &Event<'_>| {
        if let Event::Warning(text) = event {
            warnings.push((*text).to_owned());
        }
        Ok(())
    });
    let options = TrainOptions { save_every: Some(3), stop_at: Some(7), ..bench.options("model") };
    run(&options, &mut note).unwrap();
    let kept = [2, 3, 4, 6, 7].map(|step| format!("ckpt-{step:09}"));
    assert_eq!(checkpoints(&model_dir), kept);
    let aside = model_dir.join("damaged-ckpt-000000008");
    assert!(aside.join("weights.safetensors").exists());
    assert!(warnings[0].contains(&format!("It is kept as {}", aside.display())), "{warnings:?}");
    assert_eq!(warnings.len(), 1);
    assert_eq!(ending(&bench.options("model")), Ending::Finished);
}

#[test]
fn an_interrupt_before_the_first_step_leaves_no_new_directory() {
    let bench = Bench::new();
    let stop = AtomicBool::new(true);
    let trained = train(&bench.options("parent/model"), &Regression::make, &mut [], &stop).unwrap();
    assert_eq!((trained.ending, trained.estimator.global_step()), (Ending::Interrupted, 0));
    assert!(!bench.path("parent").exists());
}

#[test]
fn an_interrupt_at_the_end_of_an_epoch_loses_no_evaluation() {
    let bench = Bench::new();
    run_alone(&bench.options("whole")).unwrap();
    let stop = AtomicBool::new(false);
    let trained =
        train(&bench.options("parts"), &Regression::make, &mut [&mut stop_at(6, &stop)], &stop).unwrap();
    assert_eq!(trained.ending, Ending::Interrupted);
    run_alone(&bench.options("parts")).unwrap();
    assert_eq!(metrics(&bench.path("parts")), metrics(&bench.path("whole")));
}

#[test]
fn a_locked_directory_is_left_alone() {
    let bench = Bench::new();
    let _lock = vgg_formats::lock(&bench.path("model").into()).unwrap();
    let before = contents(&bench.path("model"));
    assert_eq!(refused(run_alone(&bench.options("model"))).exit_code(), 75);
    assert_eq!(contents(&bench.path("model")), before);
}
