//! What a run can be told besides its recipe's numbers: to use a mean of the weights, to check itself
//! on one batch; what does nothing, and what cannot be.

mod support;

use std::fs;
use std::sync::atomic::AtomicBool;
use support::{Bench, Regression, SIDE, checkpoints, contents, hear, without_seconds};
use vgg_data::{SeededSplit, Source};
use vgg_train::{AugmentationOverrides, Freeze, Length, Overrides, TrainError, TrainOptions, Trained, train};

fn metrics(bench: &Bench, name: &str) -> Vec<u8> {
    without_seconds(&fs::read(bench.path(name).join("metrics.jsonl")).unwrap())
}

fn run(options: &TrainOptions) -> Result<Trained, TrainError> {
    train(options, &Regression::make, &mut [], &AtomicBool::new(false))
}

/// The notes and warnings of a run that succeeds.
fn said_of(options: &TrainOptions) -> Vec<String> {
    let (said, trained) = hear(options, &Regression::make);
    trained.unwrap();
    said
}

fn refused(options: &TrainOptions) -> String {
    run(options).err().expect("an error was expected").to_string()
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
    let metrics = fs::read_to_string(bench.path("model/metrics.jsonl")).unwrap();
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
fn what_a_run_was_told_cannot_change() {
    let bench = Bench::new();
    run(&TrainOptions { stop_at: Some(2), ..bench.options("model") }).unwrap();
    let freeze = TrainOptions { freeze: Some(Freeze::Layers(1)), ..TrainOptions::new(bench.path("model")) };
    assert!(refused(&freeze).contains("run.freeze (saved 0, asked 1)"));
    let normalise = Overrides { normalise: Some(false), ..Overrides::default() };
    let normalise = TrainOptions { overrides: normalise, ..TrainOptions::new(bench.path("model")) };
    let message = refused(&normalise);
    assert!(message.contains("options: recipe.normalise (saved true, asked false);"), "{message}");
    let limit = TrainOptions { limit: Some(20), ..TrainOptions::new(bench.path("model")) };
    assert!(refused(&limit).contains("data.limit (saved none, asked 20)"), "{}", refused(&limit));
}

/// The check in the program's own place gives way to the next one; a training never does.
#[test]
fn a_check_gives_way_to_another_one_and_nothing_else_does() {
    let bench = Bench::new();
    let check = |rate, steps| TrainOptions {
        overfit_batch: Some(true),
        replace_check: true,
        overrides: Overrides { learning_rate: Some(rate), ..Overrides::default() },
        length: Some(Length::Steps(steps)),
        ..bench.options("check")
    };
    run(&check(0.1, 20)).unwrap();
    let kept = TrainOptions { replace_check: false, ..check(0.2, 10) };
    assert!(refused(&kept).contains("recipe.learning_rate (saved 0.1, asked 0.2)"), "{}", refused(&kept));

    // What cannot begin takes nothing away.
    let before = contents(&bench.path("check"));
    let epochs = TrainOptions { length: Some(Length::Epochs(2)), ..check(0.2, 10) };
    assert!(refused(&epochs).contains("has no epochs, only steps on the same pictures; give --steps"));
    assert_eq!(contents(&bench.path("check")), before);

    for (rate, steps) in [(0.2, 10), (0.2, 10)] {
        let (said, trained) = hear(&check(rate, steps), &Regression::make);
        assert_eq!(trained.unwrap().global_step, steps);
        assert!(said[0].contains("gives way to this one"), "{said:?}");
        assert_eq!(checkpoints(&bench.path("check")), ["ckpt-000000010"]);
    }
    run(&TrainOptions { replace_check: false, model_dir: bench.path("fresh").into(), ..check(0.2, 10) })
        .unwrap();
    let same = |name: &str| {
        let mut files = contents(&bench.path(name));
        files.iter_mut().for_each(|(_, bytes)| *bytes = without_seconds(bytes));
        files.retain(|(name, _)| name != ".lock" && !name.contains("tfevents"));
        files
    };
    assert_eq!(same("check"), same("fresh"), "as if there had been none before");
    let event_files =
        contents(&bench.path("check")).iter().filter(|(name, _)| name.contains("tfevents")).count();
    assert_eq!(event_files, 1);

    run(&bench.options("model")).unwrap();
    let before = contents(&bench.path("model"));
    let message = refused(&TrainOptions { model_dir: bench.path("model").into(), ..check(0.2, 10) });
    assert!(message.contains("run.overfit_batch (saved false, asked true)"), "{message}");
    assert_eq!(contents(&bench.path("model")), before);
}

#[test]
fn options_without_effect_are_told_of() {
    let bench = Bench::new();
    let notes = |name: &str, patience, split| {
        let overrides = Overrides { early_stop: Some(patience), ..Overrides::default() };
        said_of(&TrainOptions { overrides, split, ..bench.options(name) })
    };
    // Two epochs and a half: the second can be the one that brings nothing new, the third is never complete.
    assert_eq!(notes("in-time", 1, None), [""; 0]);
    let [late] = &notes("late", 2, None)[..] else { panic!("one note was expected") };
    assert!(late.contains("after 2 epochs without a better one cannot end this run of 3"), "{late}");
    let [split] = &notes("split", 0, Some(SeededSplit::default()))[..] else {
        panic!("one note was expected")
    };
    assert!(split.contains("data.split has no effect"), "{split}");
}

#[test]
fn a_plain_finish_that_is_asked_for_without_augmentation_is_told_of() {
    let bench = Bench::new();
    let notes = |name: &str, recipe: &str, overrides| {
        let recipe = Some(recipe.to_owned());
        said_of(&TrainOptions { recipe, overrides, ..bench.options(name) })
    };
    let asked = || Overrides { plain_finish: Some(0.5), ..Overrides::default() };
    assert_eq!(notes("augmented", "fast", asked()), [""; 0]);
    let [plain] = &notes("plain", "tutorial", asked())[..] else { panic!("one note was expected") };
    assert!(plain.contains("recipe.plain_finish has no effect"), "{plain}");
    // The share is the recipe's: nobody asked.
    let none = AugmentationOverrides {
        shift: Some(0.0),
        rotation: Some(0.0),
        scale: Some(0.0),
        shear: Some(0.0),
        elastic: Some(0.0),
        ..AugmentationOverrides::default()
    };
    assert_eq!(notes("best", "best", Overrides { augmentation: none, ..Overrides::default() }), [""; 0]);
}

/// The names of thousands of classes may make a configuration too long to be read again.
#[test]
fn a_configuration_that_could_not_be_read_again_is_refused_at_the_start() {
    let bench = Bench::new();
    let picture = vgg_data::png(std::path::Path::new("a"), &[0; SIDE * SIDE], SIDE, SIDE, 1).unwrap();
    for class in 0..4_400 {
        let name = format!("{class:0>240}");
        for split in ["train", "val", "test"].iter().take(if class < 2 { 3 } else { 1 }) {
            let folder = bench.path("many").join(split).join(&name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("a.png"), &picture).unwrap();
        }
    }
    let options = TrainOptions { data: Some(Source::Folder(bench.path("many"))), ..bench.options("model") };
    let error = run(&options).err().expect("an error was expected");
    assert_eq!(error.exit_code(), 65);
    let message = error.to_string();
    assert!(message.starts_with("config.toml would have 1"), "{message}");
    assert!(
        message.contains("with the names of 4400 classes, but at most 1048576 are read again"),
        "{message}"
    );
    assert!(!bench.path("model").exists());
}
