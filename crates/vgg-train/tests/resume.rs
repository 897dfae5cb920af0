//! Stopping and resuming with the real engine: a small convolutional network with dropout, stopped
//! at any step and gone on with on another number of threads, ends with the same bits.

mod support;

use std::sync::atomic::AtomicBool;
use support::event_reader::{Point, points};
use support::{contents, make_small, without_seconds, write_data};
use tempfile::TempDir;
use vgg_arch::Network;
use vgg_data::Source;
use vgg_engine::{EngineOptions, Precision};
use vgg_train::{AugmentationOverrides, ClassWeights, Ending, Length, Overrides, TrainOptions, train};

/// What a run leaves that must not depend on how it came there: the last checkpoint with weights
/// and momentum, the metrics without what depends on time, and the values in the event files.
type Outcome = (Vec<(String, Vec<u8>)>, Vec<u8>, Vec<Point>);

/// A run of fifty steps with an evaluation after every sixth, and the ways to make it.
struct Fifty {
    folder: TempDir,
    recipe: &'static str,
    overrides: Overrides,
    precision: Precision,
}

impl Fifty {
    fn new(recipe: &'static str, precision: Precision) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), 1);
        Self { folder, recipe, overrides: all_in_use(recipe), precision }
    }

    /// Trains with so many threads until each of the steps in turn, always from what is on disk.
    fn train(&self, name: &str, parts: &[(usize, u64)]) -> Outcome {
        let model_dir = self.folder.path().join(name);
        for &(threads, stop_at) in parts {
            let options = TrainOptions {
                data: Some(Source::Folder(self.folder.path().join("data"))),
                recipe: Some(self.recipe.into()),
                overrides: self.overrides.clone(),
                batch_size: Some(10),
                length: Some(Length::Steps(STEPS)),
                precision: Some(self.precision),
                threads,
                stop_at: Some(stop_at),
                ..TrainOptions::new(&model_dir)
            };
            let trained = train(&options, &make_small, &mut [], &AtomicBool::new(false)).unwrap();
            assert_eq!(trained.ending, if stop_at < STEPS { Ending::Stopped } else { Ending::Finished });
            assert_eq!(trained.global_step, stop_at);
        }
        let metrics = std::fs::read(model_dir.join("metrics.jsonl")).unwrap();
        let files = contents(&model_dir).into_iter().map(|(path, bytes)| (path.into(), bytes));
        let shown = points(&files.collect::<Vec<_>>());
        (contents(&model_dir.join("ckpt-000000050")), without_seconds(&metrics), shown)
    }
}

const STEPS: u64 = 50;

/// What the recipe `best` does not use by itself: means at many steps, classes that count as much as each
/// other, and an early stop that never comes; and more steps with pictures as they are than it has.
fn all_in_use(recipe: &str) -> Overrides {
    if recipe != "best" {
        return Overrides::default();
    }
    Overrides {
        averaging: Some(0.2),
        averaging_interval: Some(3),
        class_weights: Some(ClassWeights::Balanced),
        early_stop: Some(100),
        plain_finish: Some(0.3),
        augmentation: AugmentationOverrides { flip: Some(true), ..AugmentationOverrides::default() },
        ..Overrides::default()
    }
}

/// Stopped at every step, in mid-epoch or not, and gone on with another number of threads; and once
/// more on the way to the end.
#[test]
fn resuming_at_any_step_changes_no_bit() {
    for (recipe, precision) in [
        ("fast", Precision::F32),
        ("fast", Precision::Bf16),
        ("tutorial", Precision::F32),
        ("best", Precision::F32),
        ("best", Precision::Bf16),
    ] {
        let fifty = Fifty::new(recipe, precision);
        let whole = fifty.train("whole", &[(1, STEPS)]);
        let momentum = whole.0.iter().any(|(name, _)| name == "optimizer.safetensors");
        assert_eq!(momentum, recipe != "tutorial");
        let average = whole.0.iter().any(|(name, _)| name == "average.safetensors");
        assert_eq!(average, recipe != "tutorial");
        assert_eq!(whole.1.split(|&byte| byte == b'\n').count(), 50 + 9, "steps and evaluations");
        for step in 1..STEPS {
            let again = step + (STEPS - step) / 2;
            let parts = [(2, step), (1, again.max(step + 1).min(STEPS)), (3, STEPS)];
            let parts = if parts[1].1 == STEPS { &parts[..2] } else { &parts[..] };
            let outcome = fifty.train(&step.to_string(), parts);
            assert_eq!(outcome, whole, "{recipe} in {precision:?}, stopped at {step} and {again}");
        }
    }
}

/// The first 35 of the fifty steps see the same pictures as without a plain finish, and the next one others.
#[test]
fn pictures_are_plain_from_the_step_on_that_was_asked_for() {
    let metrics = |plain_finish| {
        let mut fifty = Fifty::new("best", Precision::F32);
        fifty.overrides.plain_finish = Some(plain_finish);
        String::from_utf8(fifty.train("run", &[(1, STEPS)]).1).unwrap()
    };
    let (with, without) = (metrics(0.3), metrics(0.0));
    let (first, _) = with.lines().zip(without.lines()).find(|(with, without)| with != without).unwrap();
    assert!(first.contains("\"global_step\":36,"), "{first}");
}

/// Dropout must be at work for the test above to mean anything: two steps with the same weights and
/// pictures then lose differently.
#[test]
fn dropout_is_on_and_a_function_of_the_step() {
    let network = Network::new("vgg11", "paper", vgg_arch::Shape::new(4, 4, 1), 3).unwrap();
    let options = EngineOptions {
        batch_size: 2,
        threads: 1,
        precision: Precision::F32,
        training: true,
        gradients: true,
        momentum: false,
        ..EngineOptions::default()
    };
    let mut engine = make_small(&network, &options).unwrap();
    engine.initialise(vgg_arch::Initialiser::HeNormal, 1);
    let images: Vec<u8> = (0..32).map(|pixel| pixel * 8).collect();
    let mut loss =
        |step| engine.forward_backward(&images, &[0, 2], vgg_engine::Dropout { seed: 1, step }).unwrap().loss;
    let (first, second) = (loss(0), loss(1));
    assert_ne!(first, second);
    assert_eq!(loss(0), first);
}
