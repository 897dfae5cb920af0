//! Stopping and resuming with the real engine: a small convolutional network with dropout, stopped
//! twice in mid-epoch and gone on with on another number of threads, ends with the same bits.

mod support;

use std::sync::atomic::AtomicBool;
use support::{contents, write_data};
use vgg_arch::{Layer, Network};
use vgg_data::Source;
use vgg_engine::{Engine, EngineError, EngineOptions, Precision};
use vgg_train::{Ending, Length, TrainOptions, train};

/// The real engine with a network that is quickly trained, in place of the one asked for.
fn make(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    let layers = vec![
        Layer::Convolution { out_channels: 8, kernel: 3 },
        Layer::MaxPool,
        Layer::Dense { outputs: 32, relu: true },
        Layer::Dropout { rate: 0.4 },
        Layer::Dense { outputs: network.classes, relu: false },
    ];
    vgg_engine::cpu_engine(&Network { layers, ..network.clone() }, options)
}

#[test]
fn resuming_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_data(&data, 1);
    let recipes = ["tutorial", "fast"].into_iter();
    for (recipe, precision) in
        recipes.flat_map(|recipe| [Precision::F32, Precision::Bf16].map(|precision| (recipe, precision)))
    {
        let model_dir = |name: &str| folder.path().join(format!("{recipe}-{precision:?}-{name}"));
        let train_on = |name: &str, threads: usize, stop_at: Option<u64>| {
            let options = TrainOptions {
                data: Some(Source::Folder(data.clone())),
                recipe: Some(recipe.into()),
                batch_size: Some(10),
                length: Some(Length::Steps(20)),
                precision: Some(precision),
                threads,
                stop_at,
                ..TrainOptions::new(model_dir(name))
            };
            train(&options, &make, &mut [], &AtomicBool::new(false)).map(|trained| trained.ending).unwrap()
        };
        assert_eq!(train_on("whole", 1, None), Ending::Finished);
        assert_eq!(train_on("parts", 2, Some(7)), Ending::Stopped);
        assert_eq!(train_on("parts", 1, Some(13)), Ending::Stopped);
        assert_eq!(train_on("parts", 3, None), Ending::Finished);
        let last = |name| contents(&model_dir(name).join("ckpt-000000020"));
        assert_eq!(last("parts"), last("whole"), "{recipe} in {precision:?}");
    }
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
    };
    let mut engine = make(&network, &options).unwrap();
    engine.initialise(vgg_arch::Initialiser::HeNormal, 1);
    let images: Vec<u8> = (0..32).map(|pixel| pixel * 8).collect();
    let mut loss =
        |step| engine.forward_backward(&images, &[0, 2], vgg_engine::Dropout { seed: 1, step }).unwrap().loss;
    let (first, second) = (loss(0), loss(1));
    assert_ne!(first, second);
    assert_eq!(loss(0), first);
}
