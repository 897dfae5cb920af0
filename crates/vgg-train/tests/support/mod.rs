//! A small engine with real weights, a small data folder, and listeners, for the estimator's tests.

#![allow(dead_code)] // Each test program uses a part.

pub(crate) mod event_reader;
pub(crate) mod simulated;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use vgg_arch::random::{Purpose, Random};
use vgg_arch::{Initialiser, Layer, Network};
use vgg_data::Source;
use vgg_engine::{Dropout, Engine, EngineError, EngineInfo, EngineOptions, Outcome, State, UpdateRule};
use vgg_formats::ModelDir;
use vgg_train::{
    EngineFactory, Estimator, Event, Length, Listener, OpenOptions, Overrides, Schedule, TrainError,
    TrainOptions, Trained,
};

pub(crate) const SIDE: usize = 4;
pub(crate) const CLASSES: usize = 3;

/// Where the runs on a simulated file system are kept.
pub(crate) const MODEL: &str = "/runs/of/mine";

/// Softmax regression with dropout of half the pixels, in place of whatever network is asked for.
pub(crate) struct Regression {
    network: Network,
    options: EngineOptions,
    /// Weight, momentum, gradient and average of the weight matrix and the bias.
    states: [[Vec<f32>; 2]; 4],
    /// Step whose loss is no number.
    pub(crate) bad_loss: Option<u64>,
    /// Step whose update breaks the weights.
    pub(crate) bad_update: Option<u64>,
    /// Step whose update finds that it broke the weights.
    pub(crate) overflow: Option<u64>,
    /// How many pictures of a batch it tells right after the update of a step, whatever its weights are.
    pub(crate) right: Option<fn(u64) -> usize>,
    step: u64,
}

impl Regression {
    pub(crate) fn new(network: &Network, options: &EngineOptions) -> Self {
        let layers = vec![Layer::Dense { outputs: network.classes, relu: false }];
        let network = Network { layers, ..network.clone() };
        let sizes = [network.classes * network.input.len(), network.classes];
        let states = [(); 4].map(|()| sizes.map(|size| vec![0.0; size]));
        Self {
            network,
            options: options.clone(),
            states,
            bad_loss: None,
            bad_update: None,
            overflow: None,
            right: None,
            step: 0,
        }
    }

    /// One for [`vgg_train::train`] and [`vgg_train::Estimator::open`].
    pub(crate) fn make(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(Self::new(network, options)))
    }

    fn logits(&self, pixels: &[f32]) -> Vec<f32> {
        let [weight, bias] = &self.states[0];
        let products = |row: &[f32]| row.iter().zip(pixels).map(|(w, x)| w * x).sum::<f32>();
        weight.chunks_exact(pixels.len()).zip(bias).map(|(row, bias)| products(row) + bias).collect()
    }
}

fn brightest_row(picture: &[u8]) -> usize {
    let light = |row: &[u8]| row.iter().map(|&pixel| u32::from(pixel)).sum::<u32>();
    let rows: Vec<u32> = picture.chunks_exact(SIDE).map(light).collect();
    (0..CLASSES).max_by_key(|&row| rows[row]).unwrap()
}

/// The real engine with a convolutional network that is quickly trained, in place of the one asked for.
pub(crate) fn make_small(network: &Network, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    make_with_channels(8, network, options)
}

/// The same with so many channels of its convolution.
pub(crate) fn make_with_channels(
    out_channels: usize,
    network: &Network,
    options: &EngineOptions,
) -> Result<Box<dyn Engine>, EngineError> {
    let layers = vec![
        Layer::Convolution { out_channels, kernel: 3 },
        Layer::MaxPool,
        Layer::Dense { outputs: 32, relu: true },
        Layer::Dropout { rate: 0.4 },
        Layer::Dense { outputs: network.classes, relu: false },
    ];
    vgg_engine::cpu_engine(&Network { layers, ..network.clone() }, options)
}

/// Trains; gives what was said on the way, notes and warnings, and what came of it.
pub(crate) fn hear(
    options: &TrainOptions,
    make_engine: EngineFactory<'_>,
) -> (Vec<String>, Result<Trained, TrainError>) {
    let mut said = Vec::new();
    let mut listener = Tell(|event: &Event<'_>| {
        match event {
            Event::Note(text) => said.push(format!("note: {text}")),
            Event::Warning(text) => said.push(format!("warning: {text}")),
            _ => {}
        }
        Ok(())
    });
    let trained = vgg_train::train(options, make_engine, &mut [&mut listener], &AtomicBool::new(false));
    (said, trained)
}

fn index(state: State) -> usize {
    match state {
        State::Weight => 0,
        State::Momentum => 1,
        State::Gradient => 2,
        State::Average => 3,
    }
}

impl Engine for Regression {
    fn network(&self) -> &Network {
        &self.network
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            tier: "portable".into(),
            precision: "f32".into(),
            threads: 1,
            batch_size: self.options.batch_size,
            arena_bytes: 0,
        }
    }

    fn initialise(&mut self, _: Initialiser, seed: u64) {
        let random = Random::new(seed, Purpose::Initialisation, 0);
        for (position, value) in self.states[0][0].iter_mut().enumerate() {
            *value = 0.1 * random.normals(position as u64)[0];
        }
        self.states[3] = self.states[0].clone();
    }

    fn forward(&mut self, images: &[u8], logits: &mut [f32]) -> Result<(), EngineError> {
        let pictures = images.chunks_exact(self.network.input.len());
        for (position, (picture, logits)) in
            pictures.zip(logits.chunks_exact_mut(self.network.classes)).enumerate()
        {
            if let Some(right) = self.right {
                let class = brightest_row(picture) + usize::from(position >= right(self.step));
                logits.fill(0.0);
                logits[class % CLASSES] = 1.0;
                continue;
            }
            let pixels: Vec<f32> = picture.iter().map(|&byte| f32::from(byte) / 255.0).collect();
            logits.copy_from_slice(&self.logits(&pixels));
        }
        Ok(())
    }

    fn forward_backward(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
    ) -> Result<Outcome, EngineError> {
        let size = self.network.input.len();
        let random = Random::new(dropout.seed, Purpose::Dropout, dropout.step);
        self.step = dropout.step;
        self.states[2].iter_mut().for_each(|gradient| gradient.fill(0.0));
        let (mut loss, mut correct) = (0.0, 0);
        for (picture, &label) in labels.iter().enumerate() {
            let pixels: Vec<f32> = (picture * size..(picture + 1) * size)
                .map(|at| f32::from(images[at]) / 127.5 * (random.bits(at as u64) & 1) as f32)
                .collect();
            let logits = self.logits(&pixels);
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            loss += (sum.ln() + largest - logits[label as usize]) / labels.len() as f32;
            correct += usize::from(logits[label as usize] == largest);
            for (class, logit) in logits.iter().enumerate() {
                let target = f32::from(class as u32 == label);
                let error = ((logit - largest).exp() / sum - target) / labels.len() as f32;
                self.states[2][1][class] += error;
                for (gradient, x) in self.states[2][0][class * size..].iter_mut().zip(&pixels) {
                    *gradient += error * x;
                }
            }
        }
        let loss = if self.bad_loss == Some(dropout.step) { f32::NAN } else { loss };
        Ok(Outcome { loss, correct })
    }

    fn train_step(
        &mut self,
        images: &[u8],
        labels: &[u32],
        dropout: Dropout,
        rule: &UpdateRule,
    ) -> Result<Outcome, EngineError> {
        let outcome = self.forward_backward(images, labels, dropout)?;
        if outcome.loss.is_finite() {
            self.update(rule)?;
        }
        Ok(outcome)
    }

    fn update(&mut self, rule: &UpdateRule) -> Result<(), EngineError> {
        let [weights, momenta, gradients, _] = &mut self.states;
        for parameter in 0..2 {
            let decay = if parameter == 0 { rule.weight_decay } else { 0.0 };
            for (position, w) in weights[parameter].iter_mut().enumerate() {
                let (v, g) = (&mut momenta[parameter][position], gradients[parameter][position] + decay * *w);
                *v = rule.momentum * *v + g;
                *w -= rule.learning_rate * if rule.nesterov { g + rule.momentum * *v } else { *v };
            }
        }
        if self.bad_update == Some(self.step) {
            weights[0][1] = f32::INFINITY;
        }
        if self.overflow == Some(self.step) { Err(EngineError::Diverged) } else { Ok(()) }
    }

    fn average(&mut self, share: f32) -> Result<(), EngineError> {
        let [weights, _, _, averages] = &mut self.states;
        for (average, weight) in averages.iter_mut().flatten().zip(weights.iter().flatten()) {
            *average += share * (weight - *average);
        }
        Ok(())
    }

    fn swap_average(&mut self) -> Result<(), EngineError> {
        self.states.swap(index(State::Weight), index(State::Average));
        Ok(())
    }

    fn read(&self, state: State, parameter: usize, values: &mut [f32]) -> Result<(), EngineError> {
        values.copy_from_slice(&self.states[index(state)][parameter]);
        Ok(())
    }

    fn write(&mut self, state: State, parameter: usize, values: &[f32]) -> Result<(), EngineError> {
        self.states[index(state)][parameter].copy_from_slice(values);
        Ok(())
    }
}

/// A folder of 60 training pictures (6 of them for validation: six steps of ten, the last of four,
/// make an epoch) and 20 for the test. A picture's class is its brightest row, more or less.
pub(crate) fn write_data(folder: &Path, seed: u64) {
    fs::create_dir_all(folder).unwrap();
    for (stream, (prefix, count)) in [("train", 60), ("t10k", 20)].into_iter().enumerate() {
        let random = Random::new(seed, Purpose::Augmentation, stream as u64);
        let labels: Vec<u8> = (0..count).map(|picture| (picture % CLASSES) as u8).collect();
        let pixel = |at: usize| {
            let bright = at % (SIDE * SIDE) / SIDE == usize::from(labels[at / (SIDE * SIDE)]);
            (random.bits(at as u64) % 128) as u8 + if bright { 100 } else { 0 }
        };
        let images: Vec<u8> = (0..count * SIDE * SIDE).map(pixel).collect();
        write_idx(&folder.join(format!("{prefix}-images-idx3-ubyte")), &[count, SIDE, SIDE], &images);
        write_idx(&folder.join(format!("{prefix}-labels-idx1-ubyte")), &[count], &labels);
    }
}

fn write_idx(path: &Path, sizes: &[usize], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
    bytes.extend(values);
    fs::write(path, bytes).unwrap();
}

/// Twelve steps of ten pictures, two epochs, saved every second: the last save deletes an old
/// checkpoint. Its checkpoints hold all that a checkpoint can. An early stop never comes; accuracy rises from
/// epoch to epoch, so that the second one is the best whatever became of the first one's checkpoint.
pub(crate) fn small_run(data: &Path, model_dir: ModelDir) -> TrainOptions {
    let overrides = Overrides {
        schedule: Some(Schedule::WarmUpLinear),
        warm_up: Some(0.2),
        momentum: Some(0.9),
        nesterov: Some(true),
        averaging: Some(0.9),
        learning_rate: Some(0.1),
        averaging_interval: Some(2),
        early_stop: Some(100),
        ..Overrides::default()
    };
    TrainOptions {
        recipe: Some("tutorial".into()),
        overrides,
        data: Some(Source::Folder(data.to_owned())),
        batch_size: Some(10),
        length: Some(Length::Steps(12)),
        save_every: Some(2),
        ..TrainOptions::new(model_dir)
    }
}

/// What was heard of a run.
#[derive(Default)]
pub(crate) struct Course {
    /// The step from which it began or went on.
    pub(crate) began: Option<u64>,
    /// The step of the last checkpoint that was said to be saved.
    pub(crate) saved: Option<u64>,
    pub(crate) warnings: Vec<String>,
}

/// Makes a [`small_run`] on a simulated file system.
pub(crate) fn run_on(storage: &simulated::Simulated, data: &Path) -> (Course, Result<(), TrainError>) {
    let mut course = Course::default();
    let mut listener = Tell(|event: &Event<'_>| {
        match event {
            Event::Started(run) | Event::Resumed(run) => course.began = Some(run.global_step),
            Event::Saved { global_step, .. } => course.saved = Some(*global_step),
            Event::Warning(warning) => course.warnings.push((*warning).to_owned()),
            _ => {}
        }
        Ok(())
    });
    let options = small_run(data, storage.model_dir());
    let trained =
        vgg_train::train(&options, &Regression::make, &mut [&mut listener], &AtomicBool::new(false));
    (course, trained.map(drop))
}

/// What a finished [`small_run`] leaves on a simulated file system and must not depend on what
/// befell it: the last checkpoint, and the metrics without what depends on time.
pub(crate) fn outcome(storage: &simulated::Simulated) -> Vec<(PathBuf, Vec<u8>)> {
    let files = storage.contents(Path::new(MODEL)).into_iter();
    let files =
        files.filter(|(path, _)| path.starts_with("ckpt-000000012") || path.ends_with("metrics.jsonl"));
    files.map(|(path, bytes)| (path, without_seconds(&bytes))).collect()
}

/// The lines of a file without what depends on time.
pub(crate) fn without_seconds(bytes: &[u8]) -> Vec<u8> {
    let Ok(text) = str::from_utf8(bytes) else { return bytes.to_vec() };
    let lines = text.lines().map(|line| line.split(",\"seconds").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

/// Every file below a folder with its bytes, in order of names.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name().into_string().unwrap())).unwrap();
        if path.is_dir() {
            files
                .extend(contents(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Names of the checkpoints in a model directory.
pub(crate) fn checkpoints(model_dir: &Path) -> Vec<String> {
    let steps = vgg_formats::list(&model_dir.into()).unwrap();
    steps.iter().map(|(_, path)| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// A listener made of a function.
pub(crate) struct Tell<F>(pub(crate) F);

impl<F: FnMut(&Event<'_>) -> Result<(), TrainError>> Listener for Tell<F> {
    fn notice(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        (self.0)(event)
    }
}

/// A listener that kills the run as it has made `step` steps, before anything more is written.
pub(crate) fn kill_at(step: u64) -> impl Listener {
    Tell(move |event: &Event<'_>| match event {
        Event::Step(report) if report.global_step == step => Err(TrainError::Usage("killed".into())),
        _ => Ok(()),
    })
}

/// A listener that asks the run to stop as it has made `step` steps.
pub(crate) fn stop_at<'a>(step: u64, stop: &'a AtomicBool) -> impl Listener + 'a {
    Tell(move |event: &Event<'_>| {
        if let Event::Step(report) = event {
            stop.store(report.global_step == step, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// A folder with data, and room for model directories.
pub(crate) struct Bench(TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_data(&folder.path().join("data"), 1);
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Fifteen steps of ten pictures: two epochs and a half.
    pub(crate) fn options(&self, name: &str) -> TrainOptions {
        TrainOptions {
            data: Some(Source::Folder(self.path("data"))),
            batch_size: Some(10),
            length: Some(Length::Steps(15)),
            ..TrainOptions::new(self.path(name))
        }
    }

    pub(crate) fn open(&self, name: &str) -> Result<Estimator, TrainError> {
        let options = OpenOptions { model_dir: self.path(name).into(), batch_size: 7, threads: 0 };
        Estimator::open(&options, &Regression::make)
    }
}
