//! The page as a whole, for runs of every kind. `VGG_PAGES=FOLDER cargo test -p vgg --lib report` leaves the
//! pages in an existing folder, to be looked at.

use crate::report::course::{Course, Point, Validation};
use crate::report::origin::{Machine, Moment};
use crate::report::page::html::count;
use crate::report::scores::Scores;
use crate::report::{Filters, Occasion, Picture, Report, origin};
use std::path::{Path, PathBuf};
use std::process::Command;
use vgg_arch::{Purpose, Random, Shape};
use vgg_data::{Augmentation, Split};
use vgg_train::config::NetworkConfig;

/// Largest page.
const MOST_BYTES: usize = 2_000_000;

/// What a class may be called.
const HOSTILE: &str = "</table><script>alert(\"1\")</script>&amp;'\u{202e}\n";

/// A made-up report: `pictures` pictures of `shape` in `classes` classes, of which every `wrong_every`th is
/// told wrong.
fn report(classes: usize, shape: [usize; 3], pictures: usize, wrong_every: usize) -> Report {
    let mut config = origin::tests::config();
    let [height, width, channels] = shape;
    config.network = NetworkConfig { classes, input: Shape::new(height, width, channels), ..config.network };
    config.data.class_names = (0..classes).map(|class| class.to_string()).collect();
    let random = Random::new(1, Purpose::Augmentation, 0);
    let uniform = |position: u64| (random.bits(position) % 1_000_000) as f32 / 1e6;
    let mut scores = Scores::new(classes);
    for index in 0..pictures {
        let label = index % classes;
        let mut logits: Vec<f32> =
            (0..classes).map(|class| uniform((index * classes + class) as u64)).collect();
        let said = if index % wrong_every == wrong_every - 1 { (label * 7 + 1) % classes } else { label };
        logits[said] += 1.5 + 6.0 * uniform((pictures * classes + index) as u64);
        scores.add(index, label, &logits);
    }
    let answers = if scores.mistakes().is_empty() { scores.doubts() } else { scores.mistakes() };
    let size = height * width * channels;
    let pixels = |index: usize| (0..size).map(|at| random.bits((index * size + at) as u64) as u8).collect();
    let picture = |index| Picture { height, width, channels, pixels: pixels(index) };
    let worst = answers.iter().map(|answer| (answer.clone(), picture(answer.index))).collect();
    let weights = (0..64 * channels * 9).map(|position| uniform(position as u64) - 0.5).collect();
    Report {
        config_text: "version = 1\n".into(),
        parameters: 32_393_410,
        global_step: 1_100,
        split: Split::Test,
        occasion: Occasion::EndOfTraining,
        data_name: "mnist".into(),
        is_data_of_the_run: true,
        sizes: [55_000, 5_000, pictures],
        scores,
        worst,
        course: course(&uniform),
        filters: Filters { count: 64, channels, side: 3, weights },
        machine: Machine {
            processor: Some("Some Processor".into()),
            system: "linux, x86_64".into(),
            tier: "avx512".into(),
            precision: "f32".into(),
            threads: 2,
        },
        written: Moment::now(),
        command: origin::command(&config),
        config,
    }
}

/// Curves of points of 8 steps.
fn course(uniform: &dyn Fn(u64) -> f32) -> Course {
    let point = |number: u64| {
        let loss = 2.3 * (-(number as f64) / 40.0).exp() + 0.02 + 0.1 * f64::from(uniform(number));
        Point {
            steps: 8,
            loss: 8.0 * loss,
            least: 0.5 * loss,
            most: 1.6 * loss,
            learning_rate: 8e-5 * (137 - number) as f64,
            accuracy: 8.0 * (1.0 - 0.3 * loss),
            examples: 800,
            seconds: 0.7,
        }
    };
    let validation = |epoch: u64| {
        let wrong = 0.05 / epoch as f64;
        Validation {
            step: 110 * epoch,
            accuracy: 1.0 - wrong,
            loss: 3.0 * wrong,
            examples: 5_000,
            seconds_since_start: Some(12.0 * epoch as f64),
        }
    };
    Course {
        points: (0..137).map(point).collect(),
        last_step: 1_096,
        steps_per_point: 8,
        steps_per_epoch: Some(110),
        validations: (1..=9).map(validation).collect(),
        bad_lines: 1,
    }
}

/// Reports of every kind by name.
fn all() -> Vec<(&'static str, Report)> {
    let mut hostile = report(3, [28, 28, 1], 60, 3);
    hostile.config.data.class_names = vec![HOSTILE.into(), "b".repeat(10_000), "sea snail".into()];
    hostile.config.network.name = HOSTILE.into();
    hostile.config.data.source = HOSTILE.into();
    hostile.config.data.fingerprint = HOSTILE.into();
    hostile.config_text = HOSTILE.into();
    hostile.data_name = HOSTILE.into();
    hostile.command = HOSTILE.into();
    hostile.machine.processor = Some(HOSTILE.into());
    let mut photos = report(10, [32, 32, 3], 2_000, 9);
    photos.config.data.class_names =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
            .map(String::from)
            .to_vec();
    let unrecorded = Report {
        course: Course { steps_per_point: 1, ..Course::default() },
        occasion: Occasion::Later,
        split: Split::Validation,
        is_data_of_the_run: false,
        ..report(2, [8, 5, 1], 4, usize::MAX)
    };
    let mut early = report(10, [28, 28, 1], 10_000, 91);
    (early.config.recipe.early_stop, early.config.recipe.label_smoothing) = (2, 0.1);
    (early.config.run.steps, early.global_step) = (5_500, 770);
    for validation in &mut early.course.validations[7..] {
        validation.accuracy = 0.9;
    }
    vec![
        ("ended-early", early),
        ("digits", report(10, [28, 28, 1], 10_000, 91)),
        ("two-classes-none-wrong", report(2, [28, 28, 1], 500, usize::MAX)),
        ("letters", report(26, [28, 28, 1], 5_000, 12)),
        ("47-classes", report(47, [28, 28, 1], 4_000, 12)),
        ("photos", photos),
        ("1000-classes-of-large-photos", report(1_000, [224, 224, 3], 3_000, 3)),
        ("hostile", hostile),
        ("unrecorded", unrecorded),
    ]
}

/// Elements that have no end.
const VOID: [&str; 5] = ["!DOCTYPE", "meta", "img", "wbr", "br"];

/// Checks that every element ends, in the right order, and that nothing but tags has angle brackets.
fn check_balance(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find(['<', '>']) {
        assert!(rest[start..].starts_with('<'), "a stray > before {:.60}", &rest[start..]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "a tag in a tag: {tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before {:.60}", &rest[end..]);
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
        if name == "style" && !tag.starts_with('/') {
            rest = &rest[rest.find("</style>").expect("the style ends")..];
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn every_page_is_whole_bounded_and_alone() {
    for (name, report) in all() {
        let page = report.page();
        if let Some(folder) = std::env::var_os("VGG_PAGES") {
            std::fs::write(Path::new(&folder).join(format!("{name}.html")), &page).unwrap();
        }
        println!("{name}: {} bytes", page.len());
        check_balance(&page);
        assert!(page.len() < MOST_BYTES, "{name}: {} bytes", page.len());
        // Without the pictures, in whose letters anything may occur.
        let mut parts = page.split("data:image/png;base64,");
        let head = parts.next().unwrap_or_default().to_owned();
        let words = parts.fold(head, |words, part| words + part.trim_start_matches(|c| c != '"'));
        for part in ["<script", "<link", "http://", "https://", "@import", "url(", "NaN", "inf ", "inf\u{a0}"]
        {
            assert!(!words.contains(part), "{name}: {part}");
        }
        for image in page.split("<img ").skip(1) {
            let tag = image.split('>').next().unwrap();
            assert!(
                tag.contains(" src=\"data:image/png;base64,") && tag.contains(" alt=\""),
                "{name}: {tag:.200}"
            );
        }
    }
}

#[test]
fn the_page_says_what_there_is() {
    let page = report(10, [28, 28, 1], 10_000, 100).page();
    for part in [
        "<span class=\"figure\">99.00\u{a0}%</span> of 10,000 test pictures",
        "95\u{a0}% interval 98.79 to 99.18\u{a0}%",
        "100 mistakes",
        "scored once by training, when it had ended",
        "The 24 with the largest loss, of 100",
        "1 line of metrics.jsonl could not be read",
        "vgg train --steps 1100 --precision f32 --model-dir again",
        "<h2>What the first layer looks for</h2>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("class=\"filter pixels\"").count(), 64);
    let later = Report { occasion: Occasion::Later, ..report(2, [28, 28, 1], 500, usize::MAX) }.page();
    for part in [
        "scored for this report, and perhaps before",
        "Every picture was taken for what it is",
        "The closest calls",
    ] {
        assert!(later.contains(part), "{part}");
    }
    let unrecorded = all().pop().unwrap().1.page();
    assert!(unrecorded.contains("There is no record of it") && unrecorded.contains("These are not the data"));
}

#[test]
fn a_run_that_ended_early_says_so_and_shows_all_of_it() {
    let early = all().remove(0).1;
    let page = early.page();
    for part in [
        "<b>Training ended early, at step 1,096 of 5,500</b>: validation accuracy had not risen for 2 epochs.",
        "that of step <b>770</b>, the upright line; 1,096 steps were made.",
        "the network of step 770, of 1,096 that were made and 5,500 asked for",
        "training (smoothed labels), running mean",
        "smoothed by 0.1, and so is never below 0.5;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("class=\"used\"").count(), 3, "an upright line in each plot");
    let mut whole = report(10, [28, 28, 1], 500, 9);
    whole.config.recipe.label_smoothing = 0.0;
    let whole = whole.page();
    for part in ["ended early", "class=\"used\"", "smoothed labels", "not their heights"] {
        assert!(!whole.contains(part), "{part}");
    }
}

#[test]
fn low_accuracies_have_ticks() {
    let mut poor = report(10, [28, 28, 1], 500, 9);
    poor.course.points.iter_mut().for_each(|point| point.accuracy = 8.0 * 0.2);
    poor.course.validations.iter_mut().for_each(|validation| validation.accuracy = 0.25);
    let page = poor.page();
    for tick in [">20\u{a0}%</span>", ">25\u{a0}%</span>"] {
        assert!(page.contains(tick), "{tick}");
    }
}

#[test]
fn weighted_classes_are_named_beside_the_loss() {
    let mut weighted = report(10, [28, 28, 1], 500, 9);
    weighted.config.recipe.label_smoothing = 0.0;
    weighted.config.recipe.class_weights = vgg_train::ClassWeights::Balanced;
    assert!(weighted.page().contains("counted with weighted classes; that of the validation"));
    weighted.config.recipe.label_smoothing = 0.05;
    assert!(weighted.page().contains("counted with labels smoothed by 0.05 and weighted classes; that of"));
}

#[test]
fn the_end_of_augmentation_is_named_once_it_is_past() {
    let mut bent = report(10, [28, 28, 1], 500, 9);
    let steps = bent.config.run.steps;
    bent.course.last_step = steps / 5 * 4 + 1;
    bent.config.recipe.plain_finish = 0.2;
    bent.config.recipe.augmentation = Augmentation::DIGITS;
    let words =
        format!("After step {} the pictures of training were no longer", count((steps / 5 * 4) as usize));
    assert!(bent.page().contains(&words), "{words}");
    bent.course.last_step -= 1;
    assert!(!bent.page().contains("no longer changed"));
    bent.course.last_step = steps;
    bent.config.recipe.plain_finish = 0.0;
    assert!(!bent.page().contains("no longer changed"));
    bent.config.recipe.plain_finish = 0.2;
    bent.config.recipe.augmentation = Augmentation::NONE;
    assert!(!bent.page().contains("no longer changed"));
}

#[test]
fn the_first_time_of_each_accuracy_is_told_where_it_is_known() {
    let mut timed = report(10, [28, 28, 1], 500, 9);
    let row = "<th scope=\"row\">97.50\u{a0}%</th><td>220</td><td>24\u{a0}s</td><td>0.0750</td>";
    assert!(timed.page().contains(row), "{row}");
    // The steps took longer than the times say: those of a start anew.
    timed.course.points[0].seconds = 600.0;
    let page = timed.page();
    assert!(!page.contains(row) && page.contains("<td>220</td><td>0.0750</td>"));
}

#[test]
fn other_data_are_named_and_not_taken_for_those_of_the_run() {
    let other =
        Report { is_data_of_the_run: false, data_name: "/data/shapes".into(), ..report(3, [8, 8, 1], 60, 3) };
    let page = other.page();
    for part in [
        "vgg13, trained with mnist, on shapes",
        "it was trained with mnist. This says how the network does on the test pictures of shapes.",
        "60 test pictures of /data/shapes",
        "The network was trained with mnist.",
        "<th scope=\"row\">shapes, test</th><td>60</td>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for part in ["55,000", "for training", "scored once"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn each_split_has_a_page_of_its_own() {
    let name = |split, is_data_of_the_run| {
        let report = Report { split, is_data_of_the_run, ..report(2, [8, 5, 1], 4, usize::MAX) };
        let folder = tempfile::tempdir().unwrap();
        let path = report.write(&folder.path().into()).unwrap();
        assert!(path.exists());
        path.file_name().unwrap().to_string_lossy().into_owned()
    };
    assert_eq!(name(Split::Test, true), "report.html");
    assert_eq!(name(Split::Validation, true), "report-validation.html");
    assert_eq!(name(Split::Train, true), "report-train.html");
    assert_eq!(name(Split::Test, false), "report-other-data.html");
    assert_eq!(name(Split::Validation, false), "report-other-data-validation.html");
}

#[test]
fn what_gives_the_same_bits_depends_on_the_format() {
    let mut run = report(2, [8, 5, 1], 4, usize::MAX);
    assert!(run.page().contains("AVX2 and AVX-512 give the same ones; the portable kernels round otherwise"));
    run.config.run.precision = "bf16".into();
    assert!(run.page().contains("In bf16, each kind of kernels rounds in its own way"));
}

/// Chromium, if it is installed.
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

/// What Chromium makes of a page: the elements, after its scripts have run.
fn elements(chromium: &str, folder: &Path, page: &Path) -> String {
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=5000", "--window-size=1280,900", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("Chromium starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy of the page is asked for its width inside frames of that of a telephone and of a table's screen.
#[test]
fn no_page_is_wider_than_its_window() {
    let Some(chromium) = chromium() else {
        println!("SKIPPED: no Chromium is installed, so no page was rendered");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut frames = String::new();
    let reports = all();
    for (name, report) in &reports {
        let ask = format!(
            "<script>onload=()=>parent.postMessage('{name} '+innerWidth+' '+document.documentElement.scrollWidth,'*')</script></body>"
        );
        let page = report.page().replacen("http-equiv", "data-was", 1).replacen("</body>", &ask, 1);
        let path: PathBuf = folder.path().join(format!("{name}.html"));
        std::fs::write(&path, page).unwrap();
        for width in [360, 1280] {
            frames += &format!(
                "<iframe src=\"{name}.html\" style=\"width:{width}px;height:800px;border:0\"></iframe>"
            );
        }
    }
    let listen = "<script>onmessage=e=>document.body.append('['+e.data+']')</script>";
    let all_frames = folder.path().join("frames.html");
    std::fs::write(&all_frames, format!("<!DOCTYPE html><body>{listen}{frames}</body>")).unwrap();
    let found = elements(chromium, folder.path(), &all_frames);
    for (name, _) in &reports {
        for width in [360, 1280] {
            let beginning = format!("[{name} {width} ");
            let (_, rest) = found.split_once(&beginning).unwrap_or_else(|| panic!("{beginning} in {found}"));
            let needed: usize = rest.split(']').next().unwrap().parse().unwrap();
            assert!(needed <= width, "{name} in a window of {width} takes {needed}");
        }
    }
}
