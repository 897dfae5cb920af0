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
    let title = format!("{} on {}: {accuracy}", name(&report.config.network.name), data_name(report));
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

/// What the data are called: of a folder the last part, as the whole path stands at the end of the page.
fn data_name(report: &Report) -> String {
    let path = Path::new(&report.data_name);
    path.file_name().map_or_else(|| name(&report.data_name), |last| name(&last.to_string_lossy()))
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
        "<header>\n<p class=\"kicker\">{network} on {data}</p>\n\
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
        data = data_name(report),
        accuracy = Percent(share_right(report)),
        pictures = count(pictures),
        split = split_word(report.split),
    )
}

fn facts(report: &Report) -> String {
    let (network, [train, validation, test]) = (&report.config.network, report.sizes.map(count));
    let rows = [
        (
            "Network",
            format!(
                "{}, head {}: {} parameters",
                name(&network.name),
                name(&network.head),
                count(report.parameters)
            ),
        ),
        (
            "Pictures",
            format!(
                "{}, {}; {train} for training, {validation} for validation, {test} for the test",
                network.input,
                format_args!("{} classes", count(network.classes))
            ),
        ),
        ("Recipe", recipe(report)),
        ("Time of training", time(report)),
        (
            match report.occasion {
                Occasion::EndOfTraining => "Machine",
                Occasion::Later => "Machine of this report",
            },
            machine(report),
        ),
        ("Written", format!("{}, by vgg {}", report.written, env!("CARGO_PKG_VERSION"))),
    ];
    rows.map(|(term, fact)| format!("<div><dt>{term}</dt><dd>{fact}</dd></div>\n")).concat()
}

fn recipe(report: &Report) -> String {
    let run = &report.config.run;
    let (done, all) = (count(report.global_step as usize), count(run.steps as usize));
    let steps = if report.global_step == run.steps { format!("{all}") } else { format!("{done} of {all}") };
    let (name, pictures) = (name(&report.config.recipe.name), counted(run.batch_size, "picture"));
    format!("{name}; {steps} steps of {pictures}, seed {}", run.seed)
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
    format!(
        "{}; {}; kernels {} {}, {}",
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
