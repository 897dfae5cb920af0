//! A short training leaves the same bits with any number of threads, in every run, in one step or in
//! two calls, and they are the bits whose SHA-256 is in `golden/hashes.txt`.
//!
//! There is one hash for each way to round, not for each tier: `f32` is fused from AVX2 on, and bf16
//! is converted to `f32` below AVX-512 BF16. These belong to this project and hold on every processor.
//! The two instructions that multiply bf16 belong to their manufacturer. The kernels' own tests compare
//! them with its definition; the hashes of these are Intel's, and other processors only print theirs.
//!
//! `VGG_WRITE_GOLDEN_HASHES=1 cargo test -p vgg-engine --test golden_hashes` writes the hashes that this
//! processor finds into the file and leaves the others. A change of them says that every run of the past
//! ends in other bits now: it belongs into the change log.

mod support;

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use support::{PRECISIONS, RULE, engine_without_gradients, pictures};
use vgg_arch::{Initialiser, Layer, Network, Shape};
use vgg_engine::plan::Operation;
use vgg_engine::{Dropout, Engine, EngineOptions, Kernels, Plan, Precision, State, Tier, cpu_engine_with};
use vgg_kernels::contraction::Algorithm;

/// Two whole groups of pictures and a part of one.
const BATCH: usize = 37;

const STEPS: u64 = 10;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hashes.txt");

/// What the file begins with.
const HEAD: &str = "\
# SHA-256 of weights and momentum after the training in ../golden_hashes.rs, one for each way to round.
# How to write it anew is said there.
";

/// Every kind of layer, of few channels: odd sides, channels that fill no block, convolutions that
/// pay for Winograd's algorithm and some that do not.
fn network() -> Network {
    let convolution = |out_channels, kernel| Layer::Convolution { out_channels, kernel };
    let layers = vec![
        convolution(16, 3),
        convolution(24, 3),
        Layer::LocalResponseNormalisation,
        Layer::MaxPool,
        convolution(40, 3),
        convolution(33, 1),
        Layer::MaxPool,
        convolution(40, 3),
        Layer::MaxPool,
        convolution(48, 3),
        Layer::Dense { outputs: 70, relu: true },
        Layer::Dropout { rate: 0.4 },
        Layer::Dense { outputs: 10, relu: false },
    ];
    Network { name: "golden".into(), head: "test".into(), input: Shape::new(14, 13, 1), classes: 10, layers }
}

/// How a step is made.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// By [`Engine::train_step`] without memory for gradients: updates inside the backward pass.
    Whole,
    /// By [`Engine::forward_backward`] and [`Engine::update`].
    Apart,
}

/// The SHA-256 of the weights and the momentum that a training leaves.
fn hash_of_training(kernels: Kernels, precision: Precision, threads: usize, step: Step) -> String {
    let network = network();
    let mut engine = match step {
        Step::Whole => engine_without_gradients(&network, kernels, precision, BATCH, threads),
        Step::Apart => support::engine(&network, kernels, precision, BATCH, threads),
    };
    engine.initialise(Initialiser::HeNormal, 4);
    for number in 0..STEPS {
        let (images, labels) = pictures(&network, if number == 2 { 3 } else { BATCH }, number as u32);
        let dropout = Dropout { seed: 5, step: number };
        let outcome = match step {
            Step::Whole => engine.train_step(&images, &labels, dropout, &RULE).unwrap(),
            Step::Apart => {
                let outcome = engine.forward_backward(&images, &labels, dropout).unwrap();
                engine.update(&RULE).unwrap();
                outcome
            }
        };
        assert!(outcome.loss.is_finite(), "loss {} in step {number}", outcome.loss);
    }
    hash_of(engine.as_ref())
}

/// The SHA-256 of all weights, then all momentum, in the plain order of the parameters, as
/// little-endian `f32`.
fn hash_of(engine: &dyn Engine) -> String {
    let mut hash = Sha256::new();
    for state in [State::Weight, State::Momentum] {
        for value in support::bits(engine, state) {
            hash.update(value.to_le_bytes());
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// The name in the file of the way to round.
fn rounding(precision: Precision, tier: Tier) -> &'static str {
    match (precision, tier) {
        (Precision::F32, Tier::Portable) => "f32-portable",
        (Precision::F32, _) => "f32-fused",
        (_, Tier::Amx) => "bf16-amx",
        (_, Tier::Avx512Bf16) => "bf16-avx512-bf16",
        (_, Tier::Portable | Tier::Avx2 | Tier::Avx512) => "bf16-converted",
    }
}

/// Who made the processor, as the system says; empty where it does not.
fn vendor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("vendor_id"));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, vendor)| vendor.trim()).to_owned()
}

/// The hashes of the file, by name.
fn golden_hashes() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(FILE).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').expect("a name and a hash"))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

/// Prints straight to standard error, which a test harness does not keep to itself.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[test]
fn a_training_leaves_the_golden_bits_with_any_number_of_threads() {
    Tier::choose().expect("the tier that VGG_REQUIRE_ISA names");
    let write = std::env::var_os("VGG_WRITE_GOLDEN_HASHES").is_some();
    let mut golden = golden_hashes();
    let vendor = vendor();
    for tier in Tier::ALL {
        let Some(kernels) = Kernels::for_tier(tier) else {
            say(format_args!("golden hashes: SKIPPED {tier}, which this processor does not have"));
            continue;
        };
        for precision in PRECISIONS {
            let found = the_one_hash(kernels, precision);
            let name = rounding(precision, tier);
            let own_instructions = precision == Precision::Bf16 && tier.multiplies_bf16();
            if own_instructions && vendor != "GenuineIntel" {
                say(format_args!("golden hashes: NO GOLDEN HASH for {name} on {vendor:?}; found {found}"));
            } else if write && golden.get(name) != Some(&found) {
                say(format_args!("golden hashes: {name} is now {found}"));
                golden.insert(name.to_owned(), found);
            } else {
                let expected = golden.get(name).map_or("no hash", String::as_str);
                assert_eq!(
                    found, expected,
                    "{name} on {tier}; see the head of this test for what that means"
                );
                say(format_args!("golden hashes: {name} on {tier}: {found}"));
            }
        }
    }
    if write {
        let lines: String = golden.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect();
        std::fs::write(FILE, format!("{HEAD}{lines}")).unwrap();
    }
}

/// The hash that every way to train leaves. The most threads come twice, where a race would show.
fn the_one_hash(kernels: Kernels, precision: Precision) -> String {
    let ways = [
        (1, Step::Apart),
        (2, Step::Whole),
        (3, Step::Apart),
        (4, Step::Whole),
        (7, Step::Apart),
        (8, Step::Whole),
        (16, Step::Apart),
        (16, Step::Whole),
        (16, Step::Whole),
    ];
    let one = hash_of_training(kernels, precision, 1, Step::Whole);
    for (threads, step) in ways {
        let found = hash_of_training(kernels, precision, threads, step);
        assert_eq!(found, one, "{step:?} with {threads} threads in {precision:?} on {}", kernels.tier());
    }
    one
}

/// What the hashes cover: in `f32` both algorithms for 3×3 convolutions.
#[test]
fn the_network_has_both_algorithms() {
    let options = EngineOptions {
        batch_size: BATCH,
        threads: 1,
        precision: Precision::F32,
        training: true,
        gradients: false,
        momentum: true,
        ..EngineOptions::default()
    };
    let plan = Plan::new(&network(), &options, Tier::Portable).unwrap();
    let algorithms: Vec<Algorithm> = plan
        .nodes
        .iter()
        .filter_map(|node| match node.operation {
            Operation::Contraction { contraction, .. } => Some(contraction.algorithm()),
            _ => None,
        })
        .collect();
    use Algorithm::{Direct, Winograd};
    assert_eq!(algorithms, [Direct, Winograd, Winograd, Direct, Direct, Direct, Direct, Direct]);
}

/// A hash that any bit changes: one more step leaves another.
#[test]
fn the_hash_sees_a_single_bit() {
    let network = network();
    let mut engine = cpu_engine_with(
        &network,
        &EngineOptions {
            batch_size: 1,
            threads: 1,
            precision: Precision::F32,
            training: true,
            gradients: false,
            momentum: true,
            ..EngineOptions::default()
        },
        Kernels::choose().unwrap(),
    )
    .unwrap();
    engine.initialise(Initialiser::HeNormal, 4);
    let before = hash_of(engine.as_ref());
    for (state, parameter) in [(State::Weight, 0), (State::Momentum, network.parameters().len() - 1)] {
        let mut values = vec![0.0; network.parameters()[parameter].len()];
        engine.read(state, parameter, &mut values).unwrap();
        let kept = values.clone();
        let last = values.last_mut().unwrap();
        *last = f32::from_bits(last.to_bits() ^ 1);
        engine.write(state, parameter, &values).unwrap();
        assert_ne!(hash_of(engine.as_ref()), before, "{state:?}");
        engine.write(state, parameter, &kept).unwrap();
        assert_eq!(hash_of(engine.as_ref()), before, "{state:?}");
    }
}
