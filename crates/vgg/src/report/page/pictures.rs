//! The worst mistakes with their pictures, and the filters of the first layer.

use super::html::{Percent, count, counted};
use super::{class_name, png, split_word};
use crate::report::scores::Answer;
use crate::report::{Picture, Report};

/// Most filters that are shown.
const MOST_FILTERS: usize = 128;

pub(super) fn mistakes(report: &Report) -> String {
    let wrong = report.scores.pictures() - report.scores.right();
    let shown = report.worst.len();
    let (title, words) = match wrong {
        0 => (
            "The closest calls",
            "No picture was told wrong. These are the ones it was least sure of.".to_owned(),
        ),
        _ if wrong <= shown => {
            ("The mistakes", format!("All {}, the surest ones first.", counted(wrong, "mistake")))
        }
        _ => (
            "The worst mistakes",
            format!(
                "The {shown} with the largest loss, of {}: where the network was most sure of something else.",
                count(wrong)
            ),
        ),
    };
    let cards: String = report.worst.iter().map(|(answer, picture)| card(report, answer, picture)).collect();
    format!(
        "<section id=\"mistakes\">\n<h2>{title}</h2>\n<p>{words} The numbers count the {} pictures from 0.</p>\n\
         <ol class=\"cards\">\n{cards}</ol>\n</section>\n",
        split_word(report.split)
    )
}

fn card(report: &Report, answer: &Answer, picture: &Picture) -> String {
    let label = class_name(report, answer.label);
    let guess = |&(class, probability): &(usize, f64)| {
        let is_right = if class == answer.label { " class=\"right\"" } else { "" };
        format!(
            "<li{is_right} style=\"--v:{probability:.3}\"><span>{}</span> <span>{:.1}</span></li>",
            class_name(report, class),
            Percent(probability)
        )
    };
    let taken_for = answer.guesses.first().map_or(answer.label, |guess| guess.0);
    let verdict = if taken_for == answer.label {
        format!("<b>{label}</b>")
    } else {
        format!("<b>{label}</b> taken for <b>{}</b>", class_name(report, taken_for))
    };
    format!(
        "<li>{}<div><p class=\"verdict\">{verdict}</p><ol class=\"guesses\">{}</ol>\
         <p class=\"note\">No.\u{a0}{} · loss\u{a0}{:.2}</p></div></li>\n",
        shown(picture, &format!("Picture {} of the class {label}", answer.index), "picture"),
        answer.guesses.iter().map(guess).collect::<String>(),
        answer.index,
        answer.loss
    )
}

/// A picture as an element of the page.
fn shown(picture: &Picture, words: &str, class: &str) -> String {
    // Few pixels are seen as squares, as the network sees them; many are smoothed.
    let pixelated = if picture.height.max(picture.width) <= 64 { " pixels" } else { "" };
    format!("<img class=\"{class}{pixelated}\" src=\"{}\" alt=\"{words}\">", png::address(picture))
}

pub(super) fn filters(report: &Report) -> String {
    let filters = &report.filters;
    if filters.count == 0 {
        return String::new();
    }
    let shown_count = filters.count.min(MOST_FILTERS);
    let images: String = (0..shown_count)
        .map(|index| shown(&png::filter(filters, index), &format!("Filter {index}"), "filter"))
        .collect();
    let colours = match filters.channels {
        3 => "Colours are those that raise the output; grey is zero.",
        _ => {
            "Orange weights raise the output where the picture is bright, blue ones lower it, white is zero."
        }
    };
    let which = if shown_count < filters.count {
        format!("The first {shown_count} of {}", filters.count)
    } else {
        format!("The {shown_count}")
    };
    format!(
        "<section id=\"filters\">\n<h2>What the first layer looks for</h2>\n<p>{which} windows of {0}×{0} pixels that it \
         lays over the picture. {colours} Each has its own scale.</p>\n<div class=\"filters\">{images}</div>\n</section>\n",
        filters.side
    )
}
