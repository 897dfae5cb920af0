//! Numbers that are not finite are noticed in the step that makes them, also where the loss is finite and
//! would stay so.

mod support;

use support::{PRECISIONS, engine, engine_without_gradients, pictures};
use vgg_arch::{Layer, Network, Shape};
use vgg_engine::{Dropout, Engine, EngineError, Kernels, Precision, State, UpdateRule};

const RULE: UpdateRule = UpdateRule { learning_rate: 0.01, weight_decay: 0.0, ..support::RULE };
const DROPOUT: Dropout = Dropout { seed: 1, step: 0 };
const PICTURES: usize = 5;

/// A network of which only the layer in the middle, a convolution or a dense layer, is of interest.
fn network(middle: Layer) -> Network {
    let layers = vec![
        Layer::Convolution { out_channels: 16, kernel: 3 },
        middle,
        Layer::MaxPool,
        Layer::Dense { outputs: 3, relu: false },
    ];
    Network { name: "test".into(), head: "test".into(), input: Shape::new(4, 4, 1), classes: 3, layers }
}

/// The first layer makes values of some 10²⁰, the second brings them to 10⁻¹⁰, and the last one takes the
/// first class to `last` times as much. Its gradient comes back through the second layer, whose own
/// gradient is `last` times 10²⁰.
fn set(engine: &mut dyn Engine, last: f32) {
    let parameters = engine.network().parameters();
    for (index, value) in [(0, 1e20), (1, 0.0), (2, 1e-30), (3, 0.0), (5, 0.0)] {
        engine.write(State::Weight, index, &vec![value; parameters[index].len()]).unwrap();
    }
    let mut weights = vec![0.0; parameters[4].len()];
    let first_class = weights.len() / 3;
    weights[..first_class].fill(last);
    engine.write(State::Weight, 4, &weights).unwrap();
}

fn non_finite(engine: &dyn Engine) -> usize {
    support::bits(engine, State::Weight).into_iter().filter(|&bits| !f32::from_bits(bits).is_finite()).count()
}

/// Calls `judge` for every format, tier and kind of layer.
fn everywhere(judge: impl Fn(&Network, Kernels, Precision)) {
    for middle in [
        Layer::Convolution { out_channels: 20, kernel: 3 },
        Layer::Convolution { out_channels: 40, kernel: 1 },
    ] {
        for kernels in Kernels::available() {
            PRECISIONS.into_iter().for_each(|precision| judge(&network(middle.clone()), kernels, precision));
        }
    }
}

#[test]
fn a_gradient_that_overflows_is_noticed_in_its_step() {
    everywhere(|network, kernels, precision| {
        let (images, _) = pictures(network, PICTURES, 1);
        let mut engines = [
            engine(network, kernels, precision, PICTURES, 2),
            engine_without_gradients(network, kernels, precision, PICTURES, 3),
        ];
        let mut apart = engine(network, kernels, precision, PICTURES, 1);
        set(apart.as_mut(), 1e30);
        let outcome = apart.forward_backward(&images, &[1; PICTURES], DROPOUT).unwrap();
        assert!(outcome.loss.is_finite(), "the loss shows nothing: {outcome:?}");
        assert_eq!(non_finite(apart.as_ref()), 0);
        assert!(matches!(apart.update(&RULE), Err(EngineError::Diverged)), "{precision:?}");
        assert!(non_finite(apart.as_ref()) > 0);
        for engine in &mut engines {
            set(engine.as_mut(), 1e30);
            let result = engine.train_step(&images, &[1; PICTURES], DROPOUT, &RULE);
            assert!(matches!(result, Err(EngineError::Diverged)), "{result:?} in {precision:?}");
            assert!(non_finite(engine.as_ref()) > 0);
        }
        // Why the next loss is too late: units whose weights are −∞ are off, and it is finite.
        let next = apart.forward_backward(&images, &[1; PICTURES], DROPOUT).unwrap();
        assert!(next.loss.is_finite(), "{next:?}");
    });
}

/// The same with weights that make large gradients, but finite ones.
#[test]
fn a_large_gradient_is_none_that_overflows() {
    everywhere(|network, kernels, precision| {
        let (images, _) = pictures(network, PICTURES, 1);
        let mut engine = engine_without_gradients(network, kernels, precision, PICTURES, 2);
        set(engine.as_mut(), 1e10);
        let outcome = engine.train_step(&images, &[1; PICTURES], DROPOUT, &RULE).unwrap();
        assert!(outcome.loss.is_finite());
        assert_eq!(non_finite(engine.as_ref()), 0);
    });
}
