//! What the number rests on, and how to get it again.

use super::html::{count, counted, name, text};
use super::{data_name, split_word, trained_with};
use crate::report::{Occasion, Report};
use vgg_data::Split;

/// In one sentence, how the pictures were looked at.
pub(super) fn looked_at(report: &Report) -> String {
    if !report.is_data_of_the_run {
        return format!(
            "These are not the data of the run: it was trained with {}. This says how the network does on the {} \
             pictures of {}.",
            trained_with(report),
            split_word(report.split),
            data_name(report)
        );
    }
    let words = match (report.split, report.occasion) {
        (Split::Test, Occasion::EndOfTraining) => {
            "The test pictures were scored once by training, when it had ended; nothing was chosen by them."
        }
        (Split::Test, Occasion::Later) => {
            "The test pictures were scored for this report, and perhaps before; this run chose nothing by them."
        }
        (Split::Validation, _) => {
            "Validation pictures are looked at during training and to choose by: this is no final result."
        }
        (Split::Train, _) => {
            "The network has learned from these very pictures: this says how well it remembers."
        }
    };
    words.to_owned()
}

pub(super) fn sections(report: &Report) -> String {
    format!("{}{}", splits(report), repeat(report))
}

/// What was learned, watched and judged on which pictures.
fn splits(report: &Report) -> String {
    let rows = if report.is_data_of_the_run { own_splits(report) } else { other_data(report) };
    let row = |(split, pictures, use_of_them): &(String, Option<usize>, String)| {
        let pictures = pictures.map_or_else(|| "–".to_owned(), |pictures| count(pictures).to_string());
        format!(
            "<tr><th scope=\"row\">{split}</th><td>{pictures}</td><td class=\"word\">{use_of_them}</td></tr>\n"
        )
    };
    format!(
        "<section id=\"splits\">\n<h2>Which pictures decided what</h2>\n<table class=\"splits\">\n<thead><tr>\
         <th scope=\"col\">Split</th><th scope=\"col\">Pictures</th><th scope=\"col\" class=\"word\">What they are for</th></tr>\
         </thead>\n<tbody>\n{}</tbody>\n</table>\n</section>\n",
        rows.iter().map(row).collect::<String>()
    )
}

/// Each split of the run's own data: what it is called, how many pictures it has if that is known, and what
/// they did.
fn own_splits(report: &Report) -> Vec<(String, Option<usize>, String)> {
    let [train, validation, test] = report.sizes.map(Some);
    let watched = match report.config.recipe.early_stop {
        0 => "Looked at after every epoch, to be shown here. Nothing in this run was chosen by them."
            .to_owned(),
        epochs => format!(
            "After every epoch. Training ends when their accuracy has not risen for {}: so they chose when to end, and which checkpoint is used.",
            counted(epochs as usize, "epoch")
        ),
    };
    let judged = match (report.split, report.occasion) {
        (Split::Test, Occasion::EndOfTraining) => {
            "Scored once by training, at the end, by the finished network. Nothing was chosen by them. Evaluations that \
             were asked for apart from it are not recorded."
        }
        (Split::Test, Occasion::Later) => {
            "Scored for this report. How often that was done before is not recorded: settings that were chosen after \
             looking at such scores need fresh pictures for an honest number."
        }
        _ => "Not looked at for this report.",
    };
    vec![
        ("Training".into(), train, "The weights, and all constants, come from these.".into()),
        ("Validation".into(), validation, watched),
        ("Test".into(), test, judged.into()),
    ]
}

/// The same where the pictures on the page are of other data.
fn other_data(report: &Report) -> Vec<(String, Option<usize>, String)> {
    let (trained_with, split) = (trained_with(report), split_word(report.split));
    let trained = "All splits of the run: the weights, and all that was chosen, come from these. None of them is looked at \
                   on this page, but for the evaluations under \u{201c}Training\u{201d}.";
    let told = "Scored for this report. They decided nothing. Whether some of them are in the data of the run, too, was \
                not looked into.";
    vec![
        (trained_with, None, trained.into()),
        (format!("{}, {split}", data_name(report)), Some(report.scores.pictures()), told.into()),
    ]
}

fn repeat(report: &Report) -> String {
    let config = &report.config;
    format!(
        "<section id=\"repeat\">\n<h2>How to get it again</h2>\n\
         <p>{}</p>\n<pre><code>{}</code></pre>\n<dl class=\"facts\">\n\
         <div><dt>Seed</dt><dd>{}</dd></div>\n<div><dt>Program</dt><dd>vgg {}, which wrote this page</dd></div>\n\
         <div><dt>Data</dt><dd>{}</dd></div>\n\
         <div class=\"whole\"><dt>Fingerprint of the data</dt><dd><code>{}</code></dd></div>\n</dl>\n\
         <details>\n<summary>config.toml: everything that this run is</summary>\n<pre><code>{}</code></pre>\n</details>\n\
         </section>\n",
        same_bits(report),
        text(&report.command),
        config.run.seed,
        env!("CARGO_PKG_VERSION"),
        name(&config.data.source),
        name_of_hash(&config.data.fingerprint),
        text(&report.config_text)
    )
}

/// What it takes for the command to give the same bits. Kernels that round alike do.
fn same_bits(report: &Report) -> String {
    let start = match &report.config.run.init_from {
        Some(_) => ", the same network to start from",
        None => "",
    };
    let kernels = match report.config.run.precision.as_str() {
        "bf16" => {
            "In bf16, each kind of kernels rounds in its own way: it takes a processor with the same ones."
        }
        _ => "In f32, kernels for AVX2 and AVX-512 give the same ones; the portable kernels round otherwise.",
    };
    format!(
        "With the same pictures{start} and the same version of the program, this computes the same bits, with any number \
         of threads. {kernels}"
    )
}

/// A hash with places where a line may be broken.
fn name_of_hash(hash: &str) -> String {
    let characters: Vec<char> = hash.chars().take(128).collect();
    let parts: Vec<String> =
        characters.chunks(8).map(|part| text(&part.iter().collect::<String>())).collect();
    parts.join("<wbr>")
}
