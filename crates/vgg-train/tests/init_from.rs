//! Runs that start from the weights of another: what is taken over, what is not, and what is refused.

mod support;

use std::fs;
use std::sync::atomic::AtomicBool;
use support::{Bench, Regression, checkpoints, hear, kill_at, make_small, make_with_channels, write_data};
use vgg_arch::Network;
use vgg_data::Source;
use vgg_engine::EngineOptions;
use vgg_train::{Estimator, Freeze, OpenOptions, Overrides, TrainError, TrainOptions, Trained, train};

fn run(options: &TrainOptions) -> Result<Trained, TrainError> {
    train(options, &Regression::make, &mut [], &AtomicBool::new(false))
}

fn refused(options: &TrainOptions) -> String {
    run(options).err().expect("an error was expected").to_string()
}

fn weights_of(bench: &Bench, name: &str, file: &str) -> Vec<u8> {
    fs::read(bench.path(name).join(file)).unwrap()
}

#[test]
fn a_run_starts_from_another_and_goes_on_without_it() {
    let bench = Bench::new();
    // Without a mean of the weights, which would be what others start from.
    let plain = |name: &str| TrainOptions { recipe: Some("tutorial".into()), ..bench.options(name) };
    run(&plain("base")).unwrap();
    let from = |name: &str| TrainOptions {
        init_from: Some(bench.path("base")),
        overrides: Overrides { learning_rate: Some(0.0), ..Overrides::default() },
        ..plain(name)
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
    run(&TrainOptions { seed: Some(5), ..plain("base") }).unwrap();
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

/// Frozen layers know no other pixels. With a learning rate of 0 the network is that of the start, and must say
/// the same of every picture, though the pictures that it was to learn from are darker.
#[test]
fn pixels_are_normalised_as_those_of_the_start() {
    let bench = Bench::new();
    let normalise = Overrides { normalise: Some(true), ..Overrides::default() };
    let base = TrainOptions { overrides: normalise, ..bench.options("base") };
    let mut base = hear(&base, &make_small).1.unwrap();
    write_data(&bench.path("other"), 2);
    let options = TrainOptions {
        data: Some(Source::Folder(bench.path("other"))),
        init_from: Some(bench.path("base")),
        freeze: Some(Freeze::Layers(1)),
        overrides: Overrides { learning_rate: Some(0.0), weight_decay: Some(0.0), ..Overrides::default() },
        ..bench.options("tuned")
    };
    // Killed before its first checkpoint, it keeps them.
    let killed = train(&options, &make_small, &mut [&mut kill_at(3)], &AtomicBool::new(false));
    assert!(killed.is_err() && checkpoints(&bench.path("tuned")).is_empty());
    let mut tuned = hear(&options, &make_small).1.unwrap();
    let (ours, theirs) = (tuned.estimator.config(), base.estimator.config());
    assert!(ours.data.mean.is_some() && ours.data.fingerprint != theirs.data.fingerprint);
    assert_eq!(
        (&ours.data.mean, &ours.data.deviation),
        (&theirs.data.mean, &theirs.data.deviation),
        "those of the start"
    );
    let images = base.splits.test.images().to_vec();
    let expected = base.estimator.predict(&images).unwrap();
    assert_eq!(tuned.estimator.predict(&images).unwrap(), expected);
    let open = OpenOptions { model_dir: bench.path("tuned").into(), batch_size: 20, threads: 0 };
    let mut opened = Estimator::open(&open, &make_small).unwrap();
    assert_eq!(opened.predict(&images).unwrap(), expected);
}

/// Layers that are never trained must have learned something before.
#[test]
fn frozen_layers_without_weights_are_refused_by_name() {
    let bench = Bench::new();
    let freeze =
        |name: &str, layers| TrainOptions { freeze: Some(Freeze::Layers(layers)), ..bench.options(name) };
    let error = hear(&freeze("alone", 2), &make_small).1.err().expect("an error was expected");
    assert_eq!(error.exit_code(), 2);
    let expected = "the first 2 layers, from features.0 on, are frozen and would keep random weights; give a trained \
                    network with --init-from, or leave out --freeze";
    assert_eq!(error.to_string(), expected);

    hear(&bench.options("base"), &make_small).1.unwrap();
    // The last layer alone has the same shape.
    let wider = |network: &Network, options: &EngineOptions| {
        make_with_channels(if options.training { 16 } else { 8 }, network, options)
    };
    let from =
        |name: &str, layers| TrainOptions { init_from: Some(bench.path("base")), ..freeze(name, layers) };
    let error = hear(&from("wider", 1), &wider).1.err().expect("an error was expected");
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert!(message.starts_with("the first 1 layers are frozen, but "), "{message}");
    assert!(message.contains("has none that fits features.0 of them"), "{message}");
    assert!(!bench.path("alone").exists() && !bench.path("wider").exists());
    let (said, trained) = hear(&from("all-train", 0), &wider);
    assert!(trained.is_ok() && said[0].contains("of 1 of 3 layers"), "{said:?}");
    hear(&from("fits", 1), &make_small).1.unwrap();
}

#[test]
fn a_damaged_start_is_told_of() {
    let bench = Bench::new();
    for stop_at in [4, 9] {
        run(&TrainOptions { stop_at: Some(stop_at), ..bench.options("base") }).unwrap();
    }
    fs::write(bench.path("base/ckpt-000000009/MANIFEST"), "").unwrap();
    let (said, trained) = hear(
        &TrainOptions { init_from: Some(bench.path("base")), ..bench.options("model") },
        &Regression::make,
    );
    assert_eq!(trained.unwrap().estimator.config().run.init_from.as_ref().unwrap().step, 4);
    let [warning, _note] = &said[..] else { panic!("{said:?}") };
    assert!(warning.starts_with("warning: ") && warning.contains("ckpt-000000009/MANIFEST"), "{warning}");
    assert!(warning.contains(". Using step 4;"), "{warning}");
}
