//! Curves of loss, accuracy and learning rate over the steps.

use super::html::{Percent, count, counted, small};
use super::plot::{Axis, Plot, Scale, number, percent, whole};
use crate::report::Report;
use crate::report::course::{Course, Point, Validation};

/// Most evaluations that get a dot of their own.
const MOST_DOTS: usize = 120;

pub(super) fn section(report: &Report) -> String {
    let course = &report.course;
    let bad = match course.bad_lines {
        0 => String::new(),
        lines => format!(
            "<p class=\"note\">{} of metrics.jsonl could not be read and left out.</p>\n",
            counted(lines as usize, "line")
        ),
    };
    if course.points.is_empty() && course.validations.is_empty() {
        return format!(
            "<section id=\"training\">\n<h2>Training</h2>\n<p>There is no record of it: metrics.jsonl in the model \
             directory is missing or empty.</p>\n{bad}</section>\n"
        );
    }
    format!(
        "<section id=\"training\">\n<h2>Training</h2>\n{}{bad}{}<div class=\"pair\">\n{}{}</div>\n</section>\n",
        summary(course),
        loss(course),
        accuracy(course),
        learning_rate(course)
    )
}

/// What the curves say, in words.
fn summary(course: &Course) -> String {
    let best = course.validations.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy));
    match best {
        None => "<p>The validation pictures were not evaluated on the way.</p>\n".to_owned(),
        Some(best) => format!(
            "<p>The {} validation pictures were evaluated {}; the best was {} after step {}.</p>\n",
            count(best.examples as usize),
            match course.validations.len() {
                1 => "once".to_owned(),
                times => format!("{} times", count(times)),
            },
            Percent(best.accuracy),
            count(best.step as usize)
        ),
    }
}

/// The axis of steps.
fn steps(course: &Course) -> Axis {
    Axis { scale: Scale::Linear, low: 0.0, high: course.last_step.max(1) as f64, label: whole }
}

/// The step that stands for a point: the last of those it is made of.
fn step(course: &Course, place: usize) -> f64 {
    (((place as u64 + 1).saturating_mul(course.steps_per_point)).min(course.last_step)) as f64
}

fn smooth(course: &Course, value: impl Fn(&Point) -> f64) -> Vec<Option<(f64, f64)>> {
    let values = course.smoothed(value).into_iter().enumerate();
    values.map(|(place, value)| value.map(|value| (step(course, place), value))).collect()
}

/// Validations with one number of each, thinned to a bounded number of them; the last stays.
fn validations(course: &Course, value: impl Fn(&Validation) -> f64) -> Vec<(f64, f64)> {
    let every = course.validations.len().div_ceil(MOST_DOTS).max(1);
    let mut points: Vec<_> = course.validations.rchunks(every).filter_map(<[Validation]>::last).collect();
    points.reverse();
    points.into_iter().map(|validation| (validation.step as f64, value(validation))).collect()
}

fn loss(course: &Course) -> String {
    let smoothed = smooth(course, |point| point.loss);
    let validated = validations(course, |validation| validation.loss);
    let shown =
        || smoothed.iter().flatten().chain(&validated).map(|point| point.1).filter(|loss| *loss > 0.0);
    let (low, high) =
        shown().fold((f64::INFINITY, 0.0_f64), |(low, high), loss| (low.min(loss), high.max(loss)));
    if high == 0.0 {
        return String::new();
    }
    let y = if high / low > 8.0 {
        Axis { scale: Scale::Log, low: low / 1.5, high: high * 1.25, label: number }
    } else {
        Axis { scale: Scale::Linear, low: 0.0, high: high * 1.1, label: number }
    };
    let mut plot = Plot::new(steps(course), y);
    if course.steps_per_point == 1 {
        let raw = course.points.iter().enumerate();
        plot.line(
            "raw",
            raw.map(|(place, point)| (point.steps > 0).then(|| (step(course, place), point.loss))),
        );
    } else {
        let found = course.points.iter().enumerate().filter(|(_, point)| point.steps > 0);
        let range: Vec<_> =
            found.map(|(place, point)| (step(course, place), point.least, point.most)).collect();
        plot.band("range", &range);
    }
    plot.line("smooth", smoothed.iter().copied());
    plot.line("validation", validated.iter().copied().map(Some));
    plot.dots("validation-dot", validated.iter().copied());
    let last = smoothed.iter().flatten().last().map_or(0.0, |point| point.1);
    let (class, raw) = match course.steps_per_point {
        1 => ("raw", "each step".to_owned()),
        steps => ("range", format!("smallest to largest of {} steps", count(steps as usize))),
    };
    let description = format!(
        "Loss over {} steps: {} at first, {} at the end, smoothed.",
        count(course.last_step as usize),
        small(smoothed.iter().flatten().next().map_or(0.0, |point| point.1)),
        small(last)
    );
    let keys = [("smooth", "training, smoothed"), (class, raw.as_str()), ("validation", "validation")];
    figure("Loss", &keys[..if validated.is_empty() { 2 } else { 3 }], &plot.html("wide", &description))
}

fn accuracy(course: &Course) -> String {
    let smoothed = smooth(course, |point| point.accuracy);
    let validated = validations(course, |validation| validation.accuracy);
    // On this scale, all right would be infinitely far away; with n pictures, half of one wrong is not.
    let pictures = course.validations.iter().map(|validation| validation.examples).max().unwrap_or(0);
    let batch = course.total().examples as f64 / course.total().steps.max(1) as f64;
    let most = 1.0 - 0.5 / (pictures as f64).max(10.0 * batch).max(10.0);
    let all = || smoothed.iter().flatten().chain(&validated).map(|point| point.1);
    let high = all().fold(0.5_f64, f64::max);
    let low = all().fold(1.0_f64, f64::min).min(0.9);
    let high = (1.0 - (1.0 - high) / 1.3).min(most);
    let y = Axis { scale: Scale::Accuracy, low: (low - 0.05).max(0.0), high, label: percent };
    let mut plot = Plot::new(steps(course), y);
    plot.line("smooth", smoothed.iter().copied());
    plot.line("validation", validated.iter().copied().map(Some));
    plot.dots("validation-dot", validated.iter().copied());
    let last = |points: &mut dyn Iterator<Item = f64>| {
        points.last().map_or_else(|| "unknown".to_owned(), |share| Percent(share).to_string())
    };
    let description = format!(
        "Accuracy over the steps. At the end: training {}, validation {}.",
        last(&mut smoothed.iter().flatten().map(|point| point.1)),
        last(&mut validated.iter().map(|point| point.1))
    );
    let keys = [("smooth", "training, smoothed"), ("validation", "validation")];
    figure("Accuracy", &keys[..if validated.is_empty() { 1 } else { 2 }], &plot.html("half", &description))
}

fn learning_rate(course: &Course) -> String {
    let rate = |point: &Point| point.learning_rate / point.steps as f64;
    let high = course.points.iter().filter(|point| point.steps > 0).map(rate).fold(0.0, f64::max);
    if high == 0.0 {
        return String::new();
    }
    let y = Axis { scale: Scale::Linear, low: 0.0, high: high * 1.1, label: number };
    let mut plot = Plot::new(steps(course), y);
    let points = course.points.iter().enumerate();
    plot.line(
        "rate",
        points.map(|(place, point)| (point.steps > 0).then(|| (step(course, place), rate(point)))),
    );
    let description = format!("Learning rate over the steps; the largest is {}.", small(high));
    figure("Learning rate", &[], &plot.html("half", &description))
}

/// A drawing with its title and the meaning of its lines.
pub(super) fn figure(title: &str, keys: &[(&str, &str)], drawing: &str) -> String {
    let keys: String =
        keys.iter().map(|(class, meaning)| format!("<span class=\"key {class}\">{meaning}</span>")).collect();
    format!("<figure>\n<figcaption><b>{title}</b>{keys}</figcaption>\n{drawing}</figure>\n")
}
