//! What a run can be told besides its recipe's numbers: to end early, to use a mean of the weights, to
//! check itself on one batch, to start from another network, to leave layers as they are.

mod support;

use std::fs;
use std::sync::atomic::AtomicBool;
use support::{Bench, Regression, checkpoints, contents, kill_at, without_seconds};
use vgg_data::Source;
use vgg_train::{Ending, Freeze, Length, Overrides, TrainError, TrainOptions, Trained, train};

/// A run that learns next to nothing, and ends after two epochs without a better one. A checkpoint
/// after every step would push the best one out, were it not spared.
fn early(bench: &Bench, name: &str) -> TrainOptions {
    let overrides = Overrides { learning_rate: Some(1e-9), early_stop: Some(2), ..Overrides::default() };
    let length = Some(Length::Steps(60));
    TrainOptions { overrides, length, save_every: Some(1), ..bench.options(name) }
}

fn metrics(bench: &Bench, name: &str) -> Vec<u8> {
    without_seconds(&fs::read(bench.path(name).join("metrics.jsonl")).unwrap())
}

fn weights_of(bench: &Bench, name: &str, file: &str) -> Vec<u8> {
    fs::read(bench.path(name).join(file)).unwrap()
}

fn run(options: &TrainOptions) -> Result<Trained, TrainError> {
    train(options, &Regression::make, &mut [], &AtomicBool::new(false))
}

fn refused(options: &TrainOptions) -> String {
    run(options).err().expect("an error was expected").to_string()
}

#[test]
fn a_run_ends_early_and_uses_its_best_checkpoint() {
    let bench = Bench::new();
    let trained = run(&early(&bench, "model")).unwrap();
    assert_eq!((trained.ending, trained.complete, trained.global_step), (Ending::EndedEarly, true, 18));
    assert_eq!(trained.estimator.global_step(), 6, "the first of equal evaluations is the best");
    let kept = [6, 14, 15, 16, 17, 18].map(|step| format!("ckpt-{step:09}"));
    assert_eq!(checkpoints(&bench.path("model")), kept);
    let opened = bench.open("model").unwrap();
    assert_eq!((opened.global_step(), opened.warnings()), (6, &[][..]));

    let again = run(&early(&bench, "model")).unwrap();
    assert_eq!((again.ending, again.complete, again.global_step), (Ending::NothingToDo, true, 18));
    assert_eq!(again.estimator.global_step(), 6);

    // The newest takes the place of a best one that is gone, with a word.
    fs::remove_dir_all(bench.path("model/ckpt-000000006")).unwrap();
    let opened = bench.open("model").unwrap();
    assert_eq!(opened.global_step(), 18);
    assert!(
        opened.warnings()[0].contains("the best checkpoint, of step 6, is not in"),
        "{:?}",
        opened.warnings()
    );
}

/// Stopped or killed before, at or after the end of an epoch, a run ends early at the same step with the same bits.
#[test]
fn a_run_that_goes_on_ends_as_early() {
    let bench = Bench::new();
    run(&early(&bench, "whole")).unwrap();
    let last = "ckpt-000000018";
    let expected = (contents(&bench.path("whole").join(last)), metrics(&bench, "whole"));
    for step in [1, 5, 6, 7, 12, 13, 17] {
        let (parts, killed) = (format!("parts-{step}"), format!("killed-{step}"));
        run(&TrainOptions { stop_at: Some(step), ..early(&bench, &parts) }).unwrap();
        let options = TrainOptions { save_every: Some(4), ..early(&bench, &killed) };
        let result = train(&options, &Regression::make, &mut [&mut kill_at(step)], &AtomicBool::new(false));
        assert!(result.is_err());
        for name in [parts, killed] {
            assert_eq!(run(&early(&bench, &name)).unwrap().ending, Ending::EndedEarly, "{name}");
            let found = (contents(&bench.path(&name).join(last)), metrics(&bench, &name));
            assert_eq!(found, expected, "{name}");
        }
    }
}

#[test]
fn evaluation_and_prediction_use_the_mean_of_the_weights() {
    let bench = Bench::new();
    let overrides = Overrides {
        averaging: Some(0.25),
        averaging_interval: Some(2),
        learning_rate: Some(0.2),
        ..Overrides::default()
    };
    let options = TrainOptions { overrides, length: Some(Length::Epochs(20)), ..bench.options("model") };
    let Trained { mut estimator, splits, .. } = run(&options).unwrap();
    let stop = AtomicBool::new(false);
    let trained = estimator.evaluate(&splits.validation, &stop, &mut |_, _| {}).unwrap();
    let opened = bench.open("model").unwrap().evaluate(&splits.validation, &stop, &mut |_, _| {}).unwrap();
    assert_eq!(trained, opened);
    let metrics = String::from_utf8(metrics(&bench, "model")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert_eq!(last["loss"], trained.loss, "{last}");
    let checkpoint = bench.path("model/ckpt-000000120");
    assert_ne!(
        fs::read(checkpoint.join("average.safetensors")).unwrap(),
        fs::read(checkpoint.join("weights.safetensors")).unwrap()
    );
}

#[test]
fn a_check_on_one_batch_trains_on_that_batch() {
    let bench = Bench::new();
    let overrides = Overrides { learning_rate: Some(0.2), ..Overrides::default() };
    let options = TrainOptions {
        overfit_batch: Some(true),
        recipe: Some("best".into()),
        overrides,
        ..bench.options("model")
    };
    let Trained { estimator, splits, complete, .. } =
        run(&TrainOptions { length: None, ..options.clone() }).unwrap();
    let config = estimator.config();
    assert!(complete && splits.train.len() == 10 && config.run.steps == 200);
    let recipe = &config.recipe;
    assert!(recipe.augmentation.is_none() && recipe.normalise, "what keeps it from learning by heart is off");
    assert_eq!((recipe.label_smoothing, recipe.averaging, recipe.weight_decay), (0.0, 0.0, 0.0));
    assert!(!String::from_utf8(metrics(&bench, "model")).unwrap().contains("evaluated"));
    let loss = bench
        .open("model")
        .unwrap()
        .evaluate(&splits.train, &AtomicBool::new(false), &mut |_, _| {})
        .unwrap()
        .loss;
    assert!(loss < 0.1, "{loss}");
    let message =
        refused(&TrainOptions { overfit_batch: Some(false), ..TrainOptions::new(bench.path("model")) });
    assert!(message.contains("run.overfit_batch (saved true, asked false)"), "{message}");
    assert!(run(&TrainOptions::new(bench.path("model"))).unwrap().complete, "what is left out is as it was");
}

#[test]
fn a_run_starts_from_another_and_goes_on_without_it() {
    let bench = Bench::new();
    run(&bench.options("base")).unwrap();
    let from = |name: &str| TrainOptions {
        init_from: Some(bench.path("base")),
        overrides: Overrides { learning_rate: Some(0.0), weight_decay: Some(0.0), ..Overrides::default() },
        ..bench.options(name)
    };
    // Without a learning rate the weights stay what they were at the start.
    run(&from("same")).unwrap();
    let weights = "ckpt-000000015/weights.safetensors";
    assert_eq!(weights_of(&bench, "same", weights), weights_of(&bench, "base", weights));

    let other = TrainOptions { init_from: Some(bench.path("same")), ..from("same") };
    assert!(refused(&other).contains("run.init_from (saved"), "another start");

    // Killed before its first checkpoint, it starts from there again; but from nothing else.
    let killed = train(&from("killed"), &Regression::make, &mut [&mut kill_at(3)], &AtomicBool::new(false));
    assert!(killed.is_err() && checkpoints(&bench.path("killed")).is_empty());
    fs::rename(bench.path("base"), bench.path("hidden")).unwrap();
    run(&TrainOptions { seed: Some(5), ..bench.options("base") }).unwrap();
    let message = refused(&TrainOptions::new(bench.path("killed")));
    assert!(message.contains("is no longer the one that the run of"), "{message}");
    fs::remove_dir_all(bench.path("base")).unwrap();
    fs::rename(bench.path("hidden"), bench.path("base")).unwrap();
    run(&TrainOptions::new(bench.path("killed"))).unwrap();
    assert_eq!(weights_of(&bench, "killed", weights), weights_of(&bench, "base", weights));

    // Once there is a checkpoint, nobody asks for it any more.
    fs::remove_dir_all(bench.path("base")).unwrap();
    run(&TrainOptions::new(bench.path("same"))).unwrap();
}

#[test]
fn a_network_of_which_nothing_fits_is_refused() {
    let bench = Bench::new();
    run(&bench.options("base")).unwrap();
    // The only layer is the last one, and these are other classes.
    let options = TrainOptions {
        data: Some(Source::Mnist),
        init_from: Some(bench.path("base")),
        limit: Some(100),
        ..bench.options("other")
    };
    let message = refused(&options);
    assert!(message.contains("no layer of") && message.contains("give another --init-from"), "{message}");
    assert!(!bench.path("other").exists());
}

#[test]
fn what_a_run_was_told_cannot_change() {
    let bench = Bench::new();
    run(&TrainOptions { stop_at: Some(2), ..bench.options("model") }).unwrap();
    let freeze = TrainOptions { freeze: Some(Freeze::Layers(1)), ..TrainOptions::new(bench.path("model")) };
    assert!(refused(&freeze).contains("run.freeze (saved 0, asked 1)"));
    let normalise = Overrides { normalise: Some(true), ..Overrides::default() };
    let normalise = TrainOptions { overrides: normalise, ..TrainOptions::new(bench.path("model")) };
    let message = refused(&normalise);
    assert!(message.contains("options: recipe.normalise (saved false, asked true);"), "{message}");
    let limit = TrainOptions { limit: Some(20), ..TrainOptions::new(bench.path("model")) };
    assert!(refused(&limit).contains("data.limit (saved none, asked 20)"), "{}", refused(&limit));
}
