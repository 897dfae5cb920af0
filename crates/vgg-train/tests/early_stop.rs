//! Runs that may end early: when they do, which checkpoint is the best, and that it is there.

mod support;

use std::fs;
use std::sync::atomic::AtomicBool;
use support::simulated::{FAULTS, Fault, Simulated};
use support::{Bench, Regression, Tell, checkpoints, contents, kill_at, without_seconds};
use vgg_arch::Network;
use vgg_engine::{Engine, EngineError, EngineOptions};
use vgg_formats::ModelDir;
use vgg_train::{
    Ending, Estimator, Event, Length, OpenOptions, Overrides, TrainError, TrainOptions, Trained, train,
};

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

fn run(options: &TrainOptions) -> Result<Trained, TrainError> {
    train(options, &Regression::make, &mut [], &AtomicBool::new(false))
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
    let newest_is_used = |cause: &str| {
        for estimator in [bench.open("model").unwrap(), run(&early(&bench, "model")).unwrap().estimator] {
            assert_eq!(estimator.global_step(), 18);
            let [warning] = estimator.warnings() else { panic!("{:?}", estimator.warnings()) };
            assert!(warning.contains(cause) && warning.ends_with(". Using step 18, the newest"), "{warning}");
        }
    };
    newest_is_used("the best checkpoint, of step 6, is not in");
    fs::create_dir(bench.path("model/ckpt-000000006")).unwrap();
    newest_is_used("ckpt-000000006");
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

/// Tells three pictures right after the first epoch, five after the second, and then fewer.
fn make_rising(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    let right = |step: u64| match step / 6 {
        0 => 3,
        1 => 5,
        _ => 1,
    };
    let mut engine = Regression::new(network, options);
    engine.right = Some(right);
    Ok(Box::new(engine))
}

/// A run of ten epochs that may end after three without a better one.
fn rising(bench: &Bench, model_dir: ModelDir) -> TrainOptions {
    TrainOptions {
        model_dir,
        overrides: Overrides { early_stop: Some(3), ..Overrides::default() },
        length: Some(Length::Epochs(10)),
        save_every: Some(2),
        ..bench.options("model")
    }
}

/// The disk is full when the second epoch ends, the best of all. Its network is lost; that of the first epoch is
/// not, however many checkpoints come after it, and the run ends when it would have ended.
#[test]
fn the_best_checkpoint_stays_until_a_better_one_is_there() {
    let bench = Bench::new();
    for stop_at in [None, Some(15)] {
        let storage = Simulated::new();
        let options = rising(&bench, storage.model_dir());
        let full = Fault::Error { at: 0, number: FAULTS[0].1, lasts: true };
        let mut listener = Tell(|event: &Event<'_>| {
            match event {
                Event::Step(step) if step.global_step == 12 => drop(storage.clone().with(full)),
                Event::Step(step) if step.global_step == 13 => drop(storage.clone().with(Fault::Never)),
                _ => {}
            }
            Ok(())
        });
        let first = TrainOptions { stop_at, ..options.clone() };
        let mut trained = train(&first, &make_rising, &mut [&mut listener], &AtomicBool::new(false))
            .map_err(|e| e.to_string());
        if stop_at.is_some() {
            assert_eq!(trained.unwrap().ending, Ending::Stopped);
            trained =
                train(&options, &make_rising, &mut [], &AtomicBool::new(false)).map_err(|e| e.to_string());
        }
        let trained = trained.unwrap();
        assert_eq!((trained.ending, trained.global_step), (Ending::EndedEarly, 30));
        assert_eq!((trained.estimator.global_step(), trained.estimator.warnings()), (6, &[][..]));
        let steps: Vec<u64> =
            vgg_formats::list(&storage.model_dir()).unwrap().iter().map(|found| found.0).collect();
        assert_eq!(steps, [6, 22, 24, 26, 28, 30]);
        let opened = open(storage.model_dir());
        assert_eq!((opened.global_step(), opened.warnings()), (6, &[][..]));
    }
}

/// When the best checkpoint diverges and is taken back, the one before it is there.
#[test]
fn the_best_checkpoint_outlasts_a_better_one_that_diverges() {
    let bench = Bench::new();
    let make = |network: &Network, options: &EngineOptions| {
        let right: fn(u64) -> usize = |step| if step == 29 { 5 } else { 3 };
        let mut engine = Regression::new(network, options);
        (engine.right, engine.bad_loss) = (Some(right), Some(30));
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    let mut options = rising(&bench, ModelDir::new(bench.path("model")));
    options.overrides.early_stop = Some(9);
    let error =
        train(&options, &make, &mut [], &AtomicBool::new(false)).err().expect("an error was expected");
    assert_eq!(error.exit_code(), 76, "{error}");
    let kept = [6, 22, 24, 26, 28].map(|step| format!("ckpt-{step:09}"));
    assert_eq!(checkpoints(&bench.path("model")), kept);
    let opened = bench.open("model").unwrap();
    assert_eq!((opened.global_step(), opened.warnings()), (6, &[][..]));
}

fn open(model_dir: ModelDir) -> Estimator {
    Estimator::open(&OpenOptions { model_dir, batch_size: 7, threads: 0 }, &Regression::make).unwrap()
}
