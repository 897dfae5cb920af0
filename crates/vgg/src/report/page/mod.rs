//! The page: sections of HTML, each made by a module of its own from the numbers of a [`Report`].

mod classes;
mod confidence;
mod html;
mod pictures;
mod plot;
mod png;
mod sources;
mod training;

use super::{Occasion, Report};
use html::{Percent, count, counted, duration, name, text};
use std::path::Path;
use vgg_data::Split;
use vgg_train::evaluate::accuracy_interval;

/// Colours, sizes and letters.
const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let accuracy = Percent(share_right(report));
    let title = format!(
        "{} on {} ({}): {accuracy}",
        name(&report.config.network.name),
        data_name(report),
        split_word(report.split)
    );
    let sections = [
        training::section(report),
        classes::sections(report),
        pictures::mistakes(report),
        confidence::section(report),
        pictures::filters(report),
        sources::sections(report),
    ];
    // The policy lets nothing but this file's own styles and pictures be loaded.
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}<main>\n{}</main>\n{}</body>\n</html>\n",
        header(report),
        sections.concat(),
        footer(report),
    )
}

fn share_right(report: &Report) -> f64 {
    report.scores.right() as f64 / report.scores.pictures().max(1) as f64
}

/// `test`, `validation` or `training`, as it is said of pictures.
fn split_word(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

/// What the data on the page are called.
fn data_name(report: &Report) -> String {
    last_part(&report.data_name)
}

/// What the data of the run are called, and how few of them are used.
fn trained_with(report: &Report) -> String {
    let source = last_part(&report.config.data.source);
    match report.config.data.limit {
        None => source,
        Some(limit) => format!("{source} (at most {} of each split)", counted(limit, "picture")),
    }
}

/// Of a folder's path the last part.
fn last_part(raw: &str) -> String {
    Path::new(raw).file_name().map_or_else(|| name(raw), |last| name(&last.to_string_lossy()))
}

/// A class's name.
fn class_name(report: &Report, class: usize) -> String {
    report.config.data.class_names.get(class).map_or_else(|| class.to_string(), |raw| name(raw))
}

/// The result, and what is to be known of it at a glance.
fn header(report: &Report) -> String {
    let scores = &report.scores;
    let (pictures, right) = (scores.pictures(), scores.right());
    let [low, high] = accuracy_interval(right, pictures);
    format!(
        "<header>\n<p class=\"kicker\">{network}{trained} on {data}</p>\n\
         <h1><span class=\"figure\">{accuracy}</span> of {pictures} {split} pictures told right</h1>\n\
         <p class=\"lead\">95\u{a0}% interval {:.2} to {} · {} · loss {:.4}</p>\n\
         <p class=\"trust\">{}</p>\n<dl class=\"facts\">\n{}</dl>\n</header>\n",
        100.0 * low,
        Percent(high),
        counted(pictures - right, "mistake"),
        scores.loss(),
        sources::looked_at(report),
        facts(report),
        network = name(&report.config.network.name),
        trained = match report.is_data_of_the_run {
            true => String::new(),
            false => format!(", trained with {},", trained_with(report)),
        },
        data = data_name(report),
        accuracy = Percent(share_right(report)),
        pictures = count(pictures),
        split = split_word(report.split),
    )
}

fn facts(report: &Report) -> String {
    let network = &report.config.network;
    let parts = (name(&network.name), name(&network.head), count(report.parameters), count(network.classes));
    let rows = [
        ("Network", format!("{}, head {}: {} parameters, {} classes", parts.0, parts.1, parts.2, parts.3)),
        ("Pictures", pictures_told(report)),
        ("Recipe", recipe(report)),
        ("Time of training", time(report)),
        ("Evaluated on", machine(report)),
        ("Written", format!("{}, by vgg {}", report.written, env!("CARGO_PKG_VERSION"))),
    ];
    rows.map(|(term, fact)| format!("<div><dt>{term}</dt><dd>{fact}</dd></div>\n")).concat()
}

fn pictures_told(report: &Report) -> String {
    let shape = report.config.network.input;
    if !report.is_data_of_the_run {
        let (pictures, split) = (count(report.scores.pictures()), split_word(report.split));
        return format!("{shape}; {pictures} {split} pictures of {}", name(&report.data_name));
    }
    let [train, validation, test] = report.sizes.map(count);
    format!("{shape}; {train} for training, {validation} for validation, {test} for the test")
}

fn recipe(report: &Report) -> String {
    let run = &report.config.run;
    let (used, made, all) =
        (report.global_step, report.course.last_step.max(report.global_step), count(run.steps as usize));
    let steps = match (count(used as usize), count(made as usize)) {
        (used_words, made_words) if used < made => {
            format!("the network of step {used_words}, of {made_words} that were made and {all} asked for")
        }
        _ if used == run.steps => format!("{all} steps"),
        (used_words, _) => format!("{used_words} of {all} steps"),
    };
    let (name, pictures) = (name(&report.config.recipe.name), counted(run.batch_size, "picture"));
    format!("{name}; {steps}; {pictures} a step, seed {}", run.seed)
}

/// Of the steps alone, as their file has it.
fn time(report: &Report) -> String {
    let total = report.course.total();
    if total.steps == 0 {
        return "not recorded".to_owned();
    }
    let per_second = total.examples as f64 / total.seconds.max(1e-9);
    let steps = count(total.steps as usize);
    format!("{} for {steps} steps, {} pictures a second", duration(total.seconds), count(per_second as usize))
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let trained = match report.occasion {
        Occasion::EndOfTraining => "; training had just ended there",
        Occasion::Later => "",
    };
    format!(
        "{}; {}; kernels {} {}, {}{trained}",
        name(machine.processor.as_deref().unwrap_or("processor unknown")),
        name(&machine.system),
        name(&machine.tier),
        name(&machine.precision),
        counted(machine.threads, "thread")
    )
}

fn footer(report: &Report) -> String {
    format!("<footer>vgg {} · {}</footer>\n", env!("CARGO_PKG_VERSION"), text(&report.written.to_string()))
}

#[cfg(test)]
mod tests;
