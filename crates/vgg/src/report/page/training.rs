//! Curves of loss, accuracy and learning rate over the steps.

use super::html::{Percent, count, counted, duration, small};
use super::plot::{Axis, Plot, Scale, number, percent, whole};
use super::trained_with;
use crate::report::Report;
use crate::report::course::{Course, Point, Validation};
use vgg_train::ClassWeights;
use vgg_train::evaluate::accuracy_interval;

/// Most evaluations that get a dot of their own.
const MOST_DOTS: usize = 120;

/// What the curve through the steps is.
const RUNNING_MEAN: &str = "training, running mean";

/// Most rows of the table of evaluations.
const MOST_ROWS: usize = 20;

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
        "<section id=\"training\">\n<h2>Training</h2>\n{}{bad}{}{}{}<div class=\"pair\">\n{}{}</div>\n{}</section>\n",
        summary(report),
        loss(report),
        losses_compared(report),
        plain_finish(report),
        accuracy(report),
        learning_rate(report),
        rises(course)
    )
}

/// What the curves say, in words.
fn summary(report: &Report) -> String {
    let course = &report.course;
    let whose = match report.is_data_of_the_run {
        true => String::new(),
        false => format!("The network was trained with {}. ", trained_with(report)),
    };
    let evaluated = match course.best_validation() {
        None => "The validation pictures were not evaluated on the way.".to_owned(),
        Some(best) => format!(
            "The {} validation pictures were evaluated {}; the best was {}{} after step {}.",
            count(best.examples as usize),
            match course.validations.len() {
                1 => "once".to_owned(),
                times => format!("{} times", count(times)),
            },
            Percent(best.accuracy),
            interval(best),
            count(best.step as usize)
        ),
    };
    format!("<p>{whose}{evaluated}{}</p>\n", ending(report))
}

/// The 95 % interval of an accuracy, in brackets; nothing where there were no pictures.
fn interval(validation: &Validation) -> String {
    if validation.examples == 0 {
        return String::new();
    }
    let right = (validation.accuracy.clamp(0.0, 1.0) * validation.examples as f64).round();
    let [low, high] = accuracy_interval(right as usize, validation.examples as usize);
    format!(" (95\u{a0}%: {:.2} to {:.2})", 100.0 * low, 100.0 * high)
}

/// In words, why the network on the page is not that of the last step, where it is not.
fn ending(report: &Report) -> String {
    let (course, patience) = (&report.course, report.config.recipe.early_stop);
    let [used, last, all] =
        [report.global_step, course.last_step, report.config.run.steps].map(|step| count(step as usize));
    let early = match course.ended_early(patience, report.config.run.steps) {
        true => format!(
            " <b>Training ended early, at step {last} of {all}</b>: validation accuracy had not risen for {}.",
            counted(patience as usize, "epoch")
        ),
        false => String::new(),
    };
    match is_of_an_earlier_step(report) {
        true => format!(
            "{early} The network of this page is that of step <b>{used}</b>, the upright line; {last} steps were made."
        ),
        false => early,
    }
}

fn is_of_an_earlier_step(report: &Report) -> bool {
    report.global_step < report.course.last_step
}

/// What keeps the two curves of the loss from being compared, where something does.
fn losses_compared(report: &Report) -> String {
    let (recipe, classes) = (&report.config.recipe, report.config.network.classes);
    let (smoothing, weighs) = (recipe.label_smoothing, recipe.class_weights == ClassWeights::Balanced);
    let smoothed = format!("with labels smoothed by {}", number(smoothing));
    let what = match (smoothing > 0.0, weighs) {
        (false, false) => return String::new(),
        (true, false) => format!(
            "{smoothed}, and so is never below {}",
            number(least_smoothed_loss(smoothing, classes as f64))
        ),
        (false, true) => "with weighted classes".to_owned(),
        (true, true) => format!("{smoothed} and weighted classes"),
    };
    format!(
        "<p class=\"after\">The loss of training is counted {what}; that of the validation pictures is without. Compare \
         the shapes of the two curves, not their heights.</p>\n"
    )
}

/// From which step on training saw its pictures unchanged, where the curves come to such a step.
fn plain_finish(report: &Report) -> String {
    let recipe = &report.config.recipe;
    let augmented = recipe.augmented_steps(report.config.run.steps);
    if recipe.augmentation.is_none() || augmented >= report.course.last_step {
        return String::new();
    }
    format!(
        "<p class=\"after\">After step {} the pictures of training were no longer changed by augmentation. They are \
         easier as they are: the loss of training may fall there, and its accuracy rise, for that reason alone.</p>\n",
        count(augmented as usize)
    )
}

/// The entropy of smoothed labels, which no network's loss is below.
fn least_smoothed_loss(smoothing: f64, classes: f64) -> f64 {
    let other = smoothing / classes;
    let right = 1.0 - smoothing + other;
    -right * right.ln() - (classes - 1.0) * other * other.ln()
}

/// When the validation accuracy first reached its values.
fn rises(course: &Course) -> String {
    let rises = course.rises();
    if rises.is_empty() {
        return String::new();
    }
    let has_times = course.has_times_of_one_start();
    let row = |rise: &Validation| {
        let time = rise.seconds_since_start.filter(|_| has_times);
        let time = time.map_or_else(String::new, |seconds| format!("<td>{}</td>", duration(seconds)));
        let step = count(rise.step as usize);
        format!(
            "<tr><th scope=\"row\">{:.2}</th><td>{step}</td>{time}<td>{}</td></tr>\n",
            Percent(rise.accuracy),
            small(rise.loss)
        )
    };
    let (head, words) = match has_times {
        true => (
            "<th scope=\"col\">after</th>",
            "; times since training was asked for, with reading data and evaluations",
        ),
        false => ("", ""),
    };
    let which = if rises.len() > MOST_ROWS { "Some of the times that it rose" } else { "Each time it rose" };
    format!(
        "<details>\n<summary>When validation accuracy first reached its values</summary>\n<table class=\"rises\">\n\
         <caption>{which}{words}</caption>\n<thead><tr><th scope=\"col\">Accuracy</th>\
         <th scope=\"col\">at step</th>{head}<th scope=\"col\">Loss</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n\
         </details>\n",
        thinned(&rises, MOST_ROWS).map(row).collect::<String>()
    )
}

/// About evenly chosen ones, at most so many of them; the last stays.
fn thinned(validations: &[Validation], most: usize) -> impl Iterator<Item = &Validation> {
    let every = validations.len().div_ceil(most).max(1);
    validations.iter().skip((validations.len() + every - 1) % every).step_by(every)
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

/// Validations with one number of each.
fn validations(course: &Course, value: impl Fn(&Validation) -> f64) -> Vec<(f64, f64)> {
    let shown = thinned(&course.validations, MOST_DOTS);
    shown.map(|validation| (validation.step as f64, value(validation))).collect()
}

/// A plot over the steps, with an upright line at the network of the page where training went on after it.
fn over_steps(report: &Report, y: Axis) -> Plot {
    let mut plot = Plot::new(steps(&report.course), y);
    if is_of_an_earlier_step(report) {
        plot.line("used", [y.low, y.high].map(|end| Some((report.global_step as f64, end))));
    }
    plot
}

/// What the lines of a plot over the steps mean.
fn keys<'a>(report: &Report, validated: bool, lines: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let validation = validated.then_some(("validation", "validation"));
    let used = is_of_an_earlier_step(report).then_some(("used", "the network of this page"));
    lines.iter().copied().chain(validation).chain(used).collect()
}

fn loss(report: &Report) -> String {
    let course = &report.course;
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
    let mut plot = over_steps(report, y);
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
        "Loss over {} steps: {} at first, {} at the end, as a running mean.",
        count(course.last_step as usize),
        small(smoothed.iter().flatten().next().map_or(0.0, |point| point.1)),
        small(last)
    );
    let training = match report.config.recipe.label_smoothing > 0.0 {
        true => "training (smoothed labels), running mean",
        false => RUNNING_MEAN,
    };
    let keys = keys(report, !validated.is_empty(), &[("smooth", training), (class, raw.as_str())]);
    figure("Loss", &keys, &plot.html("wide", &description))
}

fn accuracy(report: &Report) -> String {
    let course = &report.course;
    let smoothed = smooth(course, |point| point.accuracy);
    let validated = validations(course, |validation| validation.accuracy);
    // On this scale, all right would be infinitely far away; with n pictures, half of one wrong is not.
    let pictures = course.validations.iter().map(|validation| validation.examples).max().unwrap_or(0);
    let batch = course.total().examples as f64 / course.total().steps.max(1) as f64;
    let most = 1.0 - 0.5 / (pictures as f64).max(10.0 * batch).max(10.0);
    let all = || smoothed.iter().flatten().chain(&validated).map(|point| point.1);
    let high = all().fold(0.5_f64, f64::max);
    let low = all().fold(1.0_f64, f64::min).min(0.9);
    // Where little is told right, shares are laid evenly: the other scale has hardly a tick there.
    let (scale, high) = match high < 0.8 {
        true => (Scale::Linear, all().fold(0.05_f64, f64::max) * 1.1),
        false => (Scale::Accuracy, (1.0 - (1.0 - high) / 1.3).min(most)),
    };
    let y = Axis { scale, low: (low - 0.05).max(0.0), high, label: percent };
    let mut plot = over_steps(report, y);
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
    let keys = keys(report, !validated.is_empty(), &[("smooth", RUNNING_MEAN)]);
    figure("Accuracy", &keys, &plot.html("half", &description))
}

fn learning_rate(report: &Report) -> String {
    let course = &report.course;
    let rate = |point: &Point| point.learning_rate / point.steps as f64;
    let high = course.points.iter().filter(|point| point.steps > 0).map(rate).fold(0.0, f64::max);
    if high == 0.0 {
        return String::new();
    }
    let y = Axis { scale: Scale::Linear, low: 0.0, high: high * 1.1, label: number };
    let mut plot = over_steps(report, y);
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
