//! Evaluation and prediction against numbers computed by hand.

mod support;

use std::sync::atomic::AtomicBool;
use support::Regression;
use vgg_arch::{Network, Shape};
use vgg_data::Dataset;
use vgg_engine::{Engine, EngineOptions, Precision, State};
use vgg_train::Views;
use vgg_train::evaluate::{accuracy_interval, evaluate, evaluate_each};
use vgg_train::predict::{predict, predict_views};

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

/// Of the nine looks at a picture of one row, six see nothing, one sees it, and two see one pixel moved into the
/// other's place or nothing.
#[test]
fn shifted_views_give_the_mean_of_the_probabilities() {
    let images = vec![255, 0, 0, 255];
    let data = Dataset::new(images.clone(), vec![0, 1], [1, 2, 1], names()).unwrap();
    let predict = |scale: f32| predict_views(&mut engine(scale), &names(), Views::Shifted, &images).unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    let found = predict(0.0);
    close(found[0].probabilities[0], (0.75 + 8.0 * 0.5) / 9.0);
    close(found[1].probabilities[0], (0.75 + 8.0 * 0.5) / 9.0);
    let sure = predict(1e4);
    close(sure[0].probabilities[1], (0.25 + 1.0 + 7.0 * 0.5) / 9.0);
    assert_eq!((found[1].class, sure[1].class), (0, 1));

    let stop = AtomicBool::new(false);
    let evaluation =
        evaluate_each(&mut engine(1e4), &data, Views::Shifted, 3, &stop, &mut |_, _| (), &mut |_, _| ())
            .unwrap();
    let right = [1.0 - sure[0].probabilities[1], sure[1].probabilities[1]];
    close(evaluation.loss, -right.map(f64::ln).iter().sum::<f64>() / 2.0);
    assert_eq!((evaluation.accuracy, evaluation.examples), (0.5, 2));
    let mut unsound = engine(f32::NAN);
    let refused =
        evaluate_each(&mut unsound, &data, Views::Shifted, 3, &stop, &mut |_, _| (), &mut |_, _| ());
    assert_eq!(refused.unwrap_err().exit_code(), 76);
}

/// Values from the formula in decimal arithmetic of 40 digits.
#[test]
fn intervals_are_wilsons() {
    let shown = |correct, examples| accuracy_interval(correct, examples).map(|end| format!("{end:.6}"));
    assert_eq!(shown(9930, 10_000), ["0.991166", "0.994455"]);
    assert_eq!(shown(10_000, 10_000), ["0.999616", "1.000000"]);
    assert_eq!(shown(0, 1), ["0.000000", "0.793451"]);
    assert_eq!(shown(1, 2), ["0.094531", "0.905469"]);
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
