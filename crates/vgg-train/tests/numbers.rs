//! Evaluation and prediction against numbers computed by hand.

mod support;

use std::sync::atomic::AtomicBool;
use support::Regression;
use vgg_arch::{Network, Shape};
use vgg_data::Dataset;
use vgg_engine::{Engine, EngineOptions, Precision, State};
use vgg_train::evaluate::evaluate;
use vgg_train::predict::predict;

/// Two pixels, two classes; the logits are `(ln 3 · first, scale · second)`.
fn engine(scale: f32) -> Regression {
    let network = Network::new("vgg11", "paper", Shape::new(1, 2, 1), 2).unwrap();
    let options = EngineOptions {
        batch_size: 2,
        threads: 1,
        precision: Precision::F32,
        training: false,
        gradients: false,
        momentum: false,
        ..EngineOptions::default()
    };
    let mut engine = Regression::new(&network, &options);
    engine.write(State::Weight, 0, &[3.0_f32.ln(), 0.0, 0.0, scale]).unwrap();
    engine
}

fn names() -> Vec<String> {
    vec!["cat".into(), "dog".into()]
}

/// Bright first pixels give the probabilities 3/4 and 1/4, dark ones 1/2 and 1/2.
#[test]
fn accuracy_and_loss_are_those_of_the_definition() {
    let images = vec![255, 0, 255, 0, 0, 0];
    let data = Dataset::new(images, vec![0, 1, 0], [1, 2, 1], names()).unwrap();
    let evaluation = evaluate(&mut engine(0.0), &data, 8, &AtomicBool::new(false), &mut |_, _| {}).unwrap();
    assert_eq!((evaluation.accuracy, evaluation.examples, evaluation.global_step), (2.0 / 3.0, 3, 8));
    let expected = -(0.75_f64.ln() + 0.25_f64.ln() + 0.5_f64.ln()) / 3.0;
    // ln 3 has been rounded to f32, by less than 2⁻²⁴ of its 1.1.
    assert!((evaluation.loss - expected).abs() < 1e-7, "{} {expected}", evaluation.loss);
}

/// Pictures of some of the classes are enough; of more classes than the network has they are not.
#[test]
fn data_need_not_show_every_class() {
    let data = |classes| {
        let names = (0..classes).map(|class: u8| class.to_string()).collect();
        Dataset::new(vec![255, 0], vec![0], [1, 2, 1], names).unwrap()
    };
    let stop = AtomicBool::new(false);
    let check = |data| evaluate(&mut engine(0.0), &data, 8, &stop, &mut |_, _| {});
    assert_eq!(check(data(1)).unwrap().accuracy, 1.0);
    let error = check(data(3)).unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("in 3 classes, but the network takes"), "{error}");
}

/// With logits 0 and 10,000 the exponential overflows even `f64`, unless it is taken with care.
#[test]
fn large_logits_do_not_overflow() {
    let data = Dataset::new(vec![0, 255, 0, 255], vec![0, 1], [1, 2, 1], names()).unwrap();
    let evaluation = evaluate(&mut engine(1e4), &data, 0, &AtomicBool::new(false), &mut |_, _| {}).unwrap();
    assert_eq!((evaluation.loss, evaluation.accuracy), (5_000.0, 0.5));
    let predictions = predict(&mut engine(1e4), &names(), &[0, 255]).unwrap();
    assert_eq!(predictions[0].probabilities, [0.0, 1.0]);
}

#[test]
fn logits_that_are_no_numbers_are_refused() {
    let data = Dataset::new(vec![0, 255], vec![0], [1, 2, 1], names()).unwrap();
    let mut engine = engine(f32::NAN);
    let error = evaluate(&mut engine, &data, 0, &AtomicBool::new(false), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.exit_code(), 76);
    assert_eq!(predict(&mut engine, &names(), &[0, 255]).unwrap_err().exit_code(), 65);
}

#[test]
fn predictions_have_class_name_and_probabilities() {
    let predictions = predict(&mut engine(9.0), &names(), &[255, 0, 0, 255, 0, 0]).unwrap();
    let classes: Vec<_> = predictions.iter().map(|p| (p.class, p.class_name.as_str())).collect();
    // Equal logits: the first class.
    assert_eq!(classes, [(0, "cat"), (1, "dog"), (0, "cat")]);
    assert!((predictions[0].probabilities[0] - 0.75).abs() < 1e-7);
    for prediction in &predictions {
        assert!((prediction.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    assert!(predict(&mut engine(9.0), &names(), &[]).unwrap().is_empty());
    assert_eq!(predict(&mut engine(9.0), &names(), &[1, 2, 3]).unwrap_err().exit_code(), 65);
}
