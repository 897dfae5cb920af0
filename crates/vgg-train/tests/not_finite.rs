//! A number that is infinite or no number appears in any tensor after any step: training ends with
//! exit code 76 at the next loss that is not finite, or at the next checkpoint, and no checkpoint
//! ever holds such a number.

mod support;

use std::sync::atomic::AtomicBool;
use support::{checkpoints, write_data};
use vgg_arch::{Initialiser, Layer, Network};
use vgg_data::Source;
use vgg_engine::{
    Dropout, Engine, EngineError, EngineInfo, EngineOptions, Outcome, Precision, State, UpdateRule,
};
use vgg_formats::{ModelDir, TensorSet};
use vgg_train::{Length, TrainError, TrainOptions, train};

const STEPS: u64 = 9;

/// Where and when a number goes bad.
#[derive(Clone, Copy, Debug)]
struct Injection {
    state: State,
    parameter: usize,
    value: f32,
    step: u64,
}

/// The real engine, with one number changed after one step.
struct Injected {
    engine: Box<dyn Engine>,
    injection: Option<Injection>,
}

fn network(of: &Network) -> Network {
    let layers = vec![
        Layer::Convolution { out_channels: 8, kernel: 3 },
        Layer::MaxPool,
        Layer::Dense { outputs: of.classes, relu: false },
    ];
    Network { layers, ..of.clone() }
}

impl Engine for Injected {
    fn network(&self) -> &Network {
        self.engine.network()
    }
    fn info(&self) -> EngineInfo {
        self.engine.info()
    }
    fn initialise(&mut self, initialiser: Initialiser, seed: u64) {
        self.engine.initialise(initialiser, seed);
    }
    fn forward(&mut self, images: &[u8], logits: &mut [f32]) -> Result<(), EngineError> {
        self.engine.forward(images, logits)
    }
    fn forward_backward(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
    ) -> Result<Outcome, EngineError> {
        self.engine.forward_backward(images, labels, dropout)
    }
    fn update(&mut self, rule: &UpdateRule) -> Result<(), EngineError> {
        self.engine.update(rule)
    }
    fn train_step(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: &UpdateRule,
    ) -> Result<Outcome, EngineError> {
        let outcome = self.engine.train_step(images, labels, dropout, rule)?;
        if let Some(Injection { state, parameter, value, step }) = self.injection
            && dropout.step == step
        {
            let mut values = vec![0.0; self.engine.network().parameters()[parameter].len()];
            self.engine.read(state, parameter, &mut values)?;
            let last = values.len() - 1;
            values[last] = value;
            self.engine.write(state, parameter, &values)?;
        }
        Ok(outcome)
    }
    fn average(&mut self, share: f32) -> Result<(), EngineError> {
        self.engine.average(share)
    }
    fn swap_average(&mut self) -> Result<(), EngineError> {
        self.engine.swap_average()
    }
    fn read(&self, state: State, parameter: usize, values: &mut [f32]) -> Result<(), EngineError> {
        self.engine.read(state, parameter, values)
    }
    fn write(&mut self, state: State, parameter: usize, values: &[f32]) -> Result<(), EngineError> {
        self.engine.write(state, parameter, values)
    }
}

#[test]
fn no_checkpoint_holds_a_number_that_is_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    write_data(&folder.path().join("data"), 1);
    let mut cases = 0;
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |injection: Option<Injection>| {
            let name = format!("{precision:?}-{injection:?}");
            let options = TrainOptions {
                data: Some(Source::Folder(folder.path().join("data"))),
                batch_size: Some(10),
                length: Some(Length::Steps(STEPS)),
                precision: Some(precision),
                threads: 1,
                save_every: Some(2),
                ..TrainOptions::new(folder.path().join(&name))
            };
            let make = |of: &Network, options: &EngineOptions| {
                let engine = vgg_engine::cpu_engine(&network(of), options)?;
                Ok(Box::new(Injected { engine, injection }) as Box<dyn Engine>)
            };
            let result = train(&options, &make, &mut [], &AtomicBool::new(false)).map(drop);
            (name, result)
        };
        assert!(run(None).1.is_ok());
        for state in [State::Weight, State::Momentum] {
            for parameter in 0..4 {
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for step in [0, 3, 4, STEPS - 1] {
                        let injection = Injection { state, parameter, value, step };
                        let (name, result) = run(Some(injection));
                        check(&folder.path().join(&name).into(), injection, result);
                        cases += 1;
                    }
                }
            }
        }
    }
    println!("numbers that are not finite: {cases} cases, none in a checkpoint");
}

/// The run diverged, and what it left holds good numbers of steps before the injection only.
fn check(model_dir: &ModelDir, injection: Injection, result: Result<(), TrainError>) {
    let error = result.expect_err(&format!("{injection:?} was not noticed"));
    assert_eq!(error.exit_code(), 76, "{injection:?}: {error}");
    let TrainError::Diverged { step, .. } = error else { panic!("{error}") };
    // A bad momentum spoils the weights one step later; a checkpoint is due every other step.
    assert!((injection.step + 1..=injection.step + 3).contains(&step), "{injection:?}: found at step {step}");
    let names = if model_dir.path().exists() { checkpoints(model_dir.path()) } else { Vec::new() };
    for name in names {
        let saved: u64 = name.strip_prefix("ckpt-").unwrap().parse().unwrap();
        assert!(saved <= injection.step, "{injection:?}: {name} was saved");
        let path = model_dir.path().join(&name);
        let network = network(&Network::new("vgg13", "tutorial", vgg_arch::Shape::new(4, 4, 1), 3).unwrap());
        let checkpoint = vgg_formats::load(model_dir, &path, &network, &TensorSet::ALL).unwrap();
        for set in [TensorSet::Weights, TensorSet::Momentum] {
            let finite = |_: usize, values: &[f32]| {
                assert!(values.iter().all(|value| value.is_finite()), "{injection:?}: {name}");
                Ok::<(), std::convert::Infallible>(())
            };
            checkpoint.read(set, finite).unwrap();
        }
    }
}
