//! The command line without training: help, listings, pictures, and every kind of bad argument.

mod common;

use common::{assert_error, command, json, run, stderr, text};
use std::fs;
use std::io::Read;
use std::process::Stdio;
use tempfile::tempdir;

const VERBS: [&str; 7] = ["train", "evaluate", "report", "predict", "bench", "info", "data"];

#[test]
fn help_lists_the_verbs_and_every_verb_has_examples() {
    let folder = tempdir().unwrap();
    let overview = text(folder.path(), &["--help"]);
    for verb in VERBS {
        assert!(overview.contains(&format!("\n  {verb}  ")), "{verb} in {overview}");
        let help = text(folder.path(), &[verb, "--help"]);
        assert!(help.contains(&format!("Examples:\n  vgg {verb}")), "{help}");
        assert!(help.contains("--json"), "{help}");
    }
}

#[test]
fn help_of_train_lists_networks_heads_and_recipes() {
    let folder = tempdir().unwrap();
    // Broken lines are joined again.
    let help = text(folder.path(), &["train", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains(&vgg::arch::presets::configuration_names()), "{help}");
    assert!(help.contains(&vgg::arch::presets::head_names()), "{help}");
    for recipe in vgg::train::RECIPES {
        assert!(help.contains(&format!("{}: {}", recipe.recipe.name, recipe.summary)), "{help}");
    }
    assert!(help.contains("auto, f32, bf16"), "{help}");
}

/// The table of settings has an option for each value, and people and programs can list the recipes.
#[test]
fn every_value_of_a_recipe_is_an_option_and_in_the_list() {
    let folder = tempdir().unwrap();
    let help = text(folder.path(), &["train", "--help"]);
    let listed = text(folder.path(), &["info", "--recipes"]);
    for setting in vgg::train::SETTINGS {
        assert!(help.contains(&format!("--{} <", setting.option())), "{help}");
        assert!(listed.contains(&format!("\n{} ", setting.key)), "{listed}");
    }
    assert!(help.contains("\nValues of the recipe"), "{help}");
    let report = json(&run(folder.path(), &["info", "--recipes", "--json"]));
    assert_eq!(report["default"], "fast");
    assert_eq!(report["recipes"][0]["name"], "tutorial");
    assert_eq!(report["recipes"][2]["augmentation"]["shift"], 2.0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn info_shows_the_totals() {
    let folder = tempdir().unwrap();
    let shown = text(folder.path(), &["info"]);
    assert!(shown.contains("32,393,410"), "{shown}");
    assert!(shown.contains("kernels: "), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    let arguments = ["info", "--json", "--arch", "D", "--head", "paper", "--height", "224", "--width", "224"];
    let report =
        json(&run(folder.path(), &[&arguments[..], &["--channels", "3", "--classes", "1000"]].concat()));
    assert_eq!(report["parameters"], 138_357_544);
    assert_eq!(report["nominal_flops"], 2 * 15_470_264_320_u64);
    assert_eq!(report["layers"][0]["output"], serde_json::json!([224, 224, 64]));
    assert!(report["memory"]["training_bytes"].as_u64() > report["memory"]["prediction_bytes"].as_u64());
}

/// The plan of a network that no machine can hold is still only a plan.
#[test]
fn info_of_a_huge_network_takes_no_memory() {
    let folder = tempdir().unwrap();
    let sizes = ["--height", "4096", "--width", "4096", "--channels", "64"];
    let report = json(&run(folder.path(), &[&["info", "--json"][..], &sizes].concat()));
    assert!(report["memory"]["training_bytes"].as_u64().unwrap() > 1 << 40, "{}", report["memory"]);
    assert_error(&run(folder.path(), &[&["bench", "train"][..], &sizes].concat()), 2, "smaller batch");
}

#[test]
fn data_stats_prints_the_five_shapes() {
    let folder = tempdir().unwrap();
    let shown = text(folder.path(), &["data", "stats"]);
    let shapes = [
        "train images (55000, 28, 28, 1)",
        "train labels (55000,)",
        "validation images (5000, 28, 28, 1)",
        "test images (10000, 28, 28, 1)",
        "test labels (10000,)",
    ];
    assert_eq!(shown.lines().take(5).collect::<Vec<_>>(), shapes);
    let report = json(&run(folder.path(), &["data", "stats", "--json"]));
    assert_eq!(report["shapes"]["test images"], serde_json::json!([10_000, 28, 28, 1]));
    assert_eq!(report["class_counts"]["test"][0], 980);
    assert!(text(folder.path(), &["data", "list"]).starts_with("mnist "));
}

#[test]
fn data_show_draws_picture_seven_and_writes_it() {
    let folder = tempdir().unwrap();
    let shown = text(folder.path(), &["data", "show", "--index", "7", "--png", "seven.png"]);
    assert!(shown.contains("@@"), "{shown}");
    assert!(shown.contains("\ny = 0\nwritten to seven.png\n"), "{shown}");
    let (pixels, note) = vgg::read_picture(&folder.path().join("seven.png"), 28, 28, 1).unwrap();
    let splits = vgg::open(&vgg::Source::Mnist, &vgg::DataOptions::default()).unwrap();
    assert_eq!(pixels, splits.train.image(7));
    assert_eq!(note, None);

    let report = json(&run(folder.path(), &["data", "show", "--split", "test", "--index", "0", "--json"]));
    assert_eq!((&report["label"], &report["split"]), (&7.into(), &"test".into()));
}

#[test]
fn data_show_refuses_what_is_not_there() {
    let folder = tempdir().unwrap();
    let show = |more: &[&str]| run(folder.path(), &[&["data", "show"], more].concat());
    assert_error(&show(&["--index", "55000"]), 2, "--index 0 to 54999");
    assert_error(&show(&["--index", "-1"]), 2, "");
    assert_error(&show(&["--index", "0", "--split", "exam"]), 2, "use train, validation or test");
    assert_error(&show(&["--index", "0", "--png", "no/such/folder/x.png"]), 73, "no/such/folder/x.png");
}

/// Every refused command leaves the folder as empty as it was.
#[test]
fn bad_arguments_of_train_create_nothing() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--arch", "vgg12"], 2, "choose one of vgg11 (A)"),
        (&["--head", "large"], 2, "choose one of tutorial, paper"),
        (&["--recipe", "slow"], 2, "choose one of tutorial, fast"),
        (&["--precision", "fp8"], 2, "choose one of auto, f32, bf16"),
        (&["--batch-size", "0"], 2, "batch size"),
        (&["--batch-size", "55001"], 2, "55000"),
        (&["--batch-size", "99999999999999999999"], 2, "--batch-size"),
        (&["--learning-rate", "NaN"], 2, "learning rate"),
        (&["--learning-rate", "inf"], 2, "learning rate"),
        (&["--learning-rate", "-0.1"], 2, "learning rate"),
        (&["--learning-rate=-inf"], 2, "learning rate"),
        (&["--learning-rate", "-inf"], 2, "the learning rate is -inf"),
        (&["--learning-rate", "1e300"], 2, "learning rate"),
        (&["--momentum", "1"], 2, "the momentum is 1, but must be at least 0 and below 1"),
        (&["--nesterov", "yes"], 2, "expected true or false"),
        (&["--schedule", "steps"], 2, "--schedule"),
        (&["--early-stop", "-1"], 2, "--early-stop"),
        (&["--augmentation-shift", "-1"], 2, "augmentation shift -1"),
        (&["--freeze", "all"], 2, "a number of layers, or features"),
        (&["--freeze", "14"], 2, "14 layers are frozen"),
        (&["--limit", "0"], 2, "--limit"),
        (&["--image-size", "big"], 2, "--image-size"),
        (&["--overfit-batch", "--early-stop", "3"], 2, "one batch has no validation accuracy"),
        (&["--init-from", "nowhere"], 65, "nowhere holds no trained network"),
        (&["--config", "none.toml"], 65, "none.toml cannot be used: there is no such file"),
        (&["--steps", "0"], 2, "steps"),
        (&["--epochs", "0"], 2, "steps"),
        (&["--steps", "5", "--epochs", "1"], 2, "--epochs"),
        (&["--threads", "many"], 2, "--threads"),
        (&["--save-every", "0"], 2, "--save-every"),
        (&["--stop-at", "0"], 2, "--stop-at"),
        (&["--seed", "-1"], 2, ""),
        (&["--colour"], 2, "--colour"),
        (&["--data", "no/such/folder"], 65, "no/such/folder: there is no such folder"),
        (&["--data", ""], 2, ""),
    ];
    let folder = tempdir().unwrap();
    for (arguments, code, part) in cases {
        let output = run(folder.path(), &[&["train", "--json"], *arguments].concat());
        assert_error(&output, *code, part);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments:?} created something");
    }
}

#[test]
fn a_model_directory_that_cannot_be_created_is_named() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let output = run(folder.path(), &["train", "--steps", "1", "--model-dir", "file/model"]);
    assert_error(&output, 73, "cannot create file: not a directory");
}

#[test]
fn without_a_trained_network_there_is_nothing_to_evaluate_or_predict() {
    let folder = tempdir().unwrap();
    assert_error(&run(folder.path(), &["evaluate"]), 65, "model holds no trained network");
    assert_error(&run(folder.path(), &["predict", "digit.png"]), 65, "model holds no trained network");
    assert_error(&run(folder.path(), &["predict"]), 2, "");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn bad_arguments_of_bench_are_usage_errors() {
    let folder = tempdir().unwrap();
    let bench = |more: &[&str]| run(folder.path(), &[&["bench", "predict"], more].concat());
    assert_error(&run(folder.path(), &["bench", "sleep"]), 2, "sleep");
    assert_error(&bench(&["--seconds", "NaN"]), 2, "above zero");
    assert_error(&bench(&["--batch-size", "0"]), 2, "whole number from 1");
    assert_error(&bench(&["--height", "0"]), 2, "height and width must be 1 to 4096");
    assert_error(&bench(&["--classes", "1"]), 2, "classes");
}

#[test]
fn bench_measures_a_small_network() {
    let folder = tempdir().unwrap();
    let small = ["--arch", "A", "--batch-size", "2", "--height", "8", "--width", "8", "--seconds", "0.01"];
    for task in ["train", "predict"] {
        let report = json(&run(folder.path(), &[&["bench", task, "--json"][..], &small].concat()));
        let time = &report["ms_per_step"];
        assert!(time["min"].as_f64() <= time["median"].as_f64(), "{report}");
        assert!(time["median"].as_f64() <= time["max"].as_f64(), "{report}");
        assert!(report["images_per_second"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["tier"].is_string() && report["threads"].is_u64(), "{report}");
        assert_eq!(report["peak_rss_bytes"].is_u64(), cfg!(target_os = "linux"), "{report}");
    }
}

#[test]
fn a_tier_that_does_not_exist_is_named() {
    let folder = tempdir().unwrap();
    let output = command(folder.path(), &["info"]).env("VGG_MAX_ISA", "mmx").output().unwrap();
    assert_error(&output, 2, "VGG_MAX_ISA=mmx");
    let output = command(folder.path(), &["info"]).env("VGG_MAX_ISA", "portable").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("kernels: portable"), "{}", stderr(&output));
}

/// A reader that closes the pipe early, such as `head`, has seen enough.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let folder = tempdir().unwrap();
    let mut child =
        command(folder.path(), &["info"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{message}");
    assert_eq!(message, "");
}
