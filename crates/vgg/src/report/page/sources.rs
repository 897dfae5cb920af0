//! What the number rests on, and how to get it again.

use super::html::{count, counted, name, text};
use crate::report::{Occasion, Report};
use vgg_data::Split;

/// In one sentence, how the pictures were looked at.
pub(super) fn looked_at(report: &Report) -> String {
    let words = match (report.split, report.occasion) {
        _ if !report.is_data_of_the_run => "These are not the data that the network was trained with.",
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
    let [train, validation, test] = report.sizes;
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
    let rows = [
        ("Training", train, "The weights, and all constants, come from these.".to_owned()),
        ("Validation", validation, watched),
        ("Test", test, judged.to_owned()),
    ];
    let row = |(split, pictures, use_of_them): &(&str, usize, String)| {
        format!(
            "<tr><th scope=\"row\">{split}</th><td>{}</td><td class=\"word\">{use_of_them}</td></tr>\n",
            count(*pictures)
        )
    };
    format!(
        "<section id=\"splits\">\n<h2>Which pictures decided what</h2>\n<table class=\"splits\">\n<thead><tr>\
         <th scope=\"col\">Split</th><th scope=\"col\">Pictures</th><th scope=\"col\" class=\"word\">What they are for</th></tr>\
         </thead>\n<tbody>\n{}</tbody>\n</table>\n</section>\n",
        rows.iter().map(row).collect::<String>()
    )
}

fn repeat(report: &Report) -> String {
    let config = &report.config;
    format!(
        "<section id=\"repeat\">\n<h2>How to get it again</h2>\n\
         <p>With the same pictures, the same version and the same precision, this computes the same bits, with any \
         number of threads{}:</p>\n<pre><code>{}</code></pre>\n<dl class=\"facts\">\n\
         <div><dt>Seed</dt><dd>{}</dd></div>\n<div><dt>Program</dt><dd>vgg {}</dd></div>\n\
         <div><dt>Data</dt><dd>{}</dd></div>\n\
         <div class=\"whole\"><dt>Fingerprint of the data</dt><dd><code>{}</code></dd></div>\n</dl>\n\
         <details>\n<summary>config.toml: everything that this run is</summary>\n<pre><code>{}</code></pre>\n</details>\n\
         </section>\n",
        if config.run.precision == "bf16" { ", on processors with the same instructions" } else { "" },
        text(&report.command),
        config.run.seed,
        env!("CARGO_PKG_VERSION"),
        name(&config.data.source),
        name_of_hash(&config.data.fingerprint),
        text(&report.config_text)
    )
}

/// A hash with places where a line may be broken.
fn name_of_hash(hash: &str) -> String {
    let characters: Vec<char> = hash.chars().take(128).collect();
    let parts: Vec<String> =
        characters.chunks(8).map(|part| text(&part.iter().collect::<String>())).collect();
    parts.join("<wbr>")
}
