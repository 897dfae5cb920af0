//! Seeds of IDX files, gzip files, data folders and configurations.

use crate::Seeds;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use vgg_fuzz::Part;

pub(crate) fn add_to(seeds: &mut Seeds) {
    add_idx(seeds);
    add_gzip(seeds);
    add_folders(seeds);
    add_configs(seeds);
}

/// An IDX file whose values are of type `kind`; 8 is for unsigned bytes.
fn idx(kind: u8, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
    [&[0, 0, kind, (sizes.len() / 4) as u8], &sizes[..], values].concat()
}

fn add_idx(seeds: &mut Seeds) {
    let pictures = idx(8, &[3, 2, 4], &(0..24).collect::<Vec<u8>>());
    let cases = [
        ("empty", vec![]),
        ("pictures", pictures.clone()),
        ("labels", idx(8, &[5], &[0, 1, 2, 255, 9])),
        ("five-dimensions", idx(8, &[1, 2, 1, 2, 1], &[1, 2, 3, 4])),
        ("no-dimensions", idx(8, &[], &[1])),
        ("cut-in-magic", pictures[..3].to_vec()),
        ("cut-in-sizes", pictures[..11].to_vec()),
        ("cut-in-values", pictures[..30].to_vec()),
        ("trailing-byte", [&pictures[..], b"x"].concat()),
        ("floats", idx(13, &[1], &[0, 0, 0, 0])),
        ("wrong-magic", b"\x08\x03\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\x01".to_vec()),
        ("no-pictures", idx(8, &[0, 28, 28], &[])),
        ("no-rows", idx(8, &[2, 0, 28], &[])),
        ("most-labels", idx(8, &[u32::MAX], &[0; 12])),
        ("sizes-overflow-64-bits", idx(8, &[u32::MAX; 3], &[0; 4])),
        ("sizes-overflow-to-four", idx(8, &[1 << 31, 1 << 31, 4], &[0; 4])),
        ("text", b"label,pixel0,pixel1\n7,0,0\n".to_vec()),
        ("web-page", b"<!DOCTYPE html><title>404</title>".to_vec()),
    ];
    seeds.extend(cases.map(|(name, bytes)| ("idx", name.to_owned(), bytes)));
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// The first two bytes of a seed that is not itself gzip say how the target packs the others.
fn add_gzip(seeds: &mut Seeds) {
    let labels = idx(8, &[5], &[0, 1, 2, 255, 9]);
    let good = packed(&labels);
    let with_end = |place: usize| {
        let mut bytes = good.clone();
        let end = bytes.len();
        bytes[end - place] ^= 1;
        bytes
    };
    let bomb = |megabytes: u8, size: u32| [&[3, megabytes][..], &idx(8, &[size], &[])].concat();
    let cases = [
        ("labels", good.clone()),
        ("wrong-checksum", with_end(8)),
        ("wrong-length", with_end(1)),
        ("cut-in-header", good[..7].to_vec()),
        ("cut-in-data", good[..good.len() - 12].to_vec()),
        ("cut-in-checksum", good[..good.len() - 5].to_vec()),
        ("trailing-garbage", [&good[..], b"garbage"].concat()),
        ("two-members", [packed(&labels[..6]), packed(&labels[6..])].concat()),
        ("empty-member-between", [packed(&labels[..6]), packed(b""), packed(&labels[6..])].concat()),
        ("packed-twice", packed(&good)),
        ("reserved-flags", [&[0x1f, 0x8b, 8, 0xe0], &good[4..]].concat()),
        ("pack-pictures", [&[0, 0][..], &idx(8, &[2, 2, 2], &[9; 8])].concat()),
        ("pack-in-two-members", [&[1, 100][..], &labels].concat()),
        ("pack-and-flip", [&[2, 5][..], &labels].concat()),
        ("pack-with-a-name", [&[4, 9][..], b"../../x\xff\n", &labels].concat()),
        ("bomb-beyond-its-header", bomb(200, 10)),
        ("bomb-as-its-header-says", bomb(60, 60 << 20)),
        ("bomb-as-its-header-says-200", bomb(200, 200 << 20)),
        ("bomb-below-its-header", bomb(3, u32::MAX)),
    ];
    seeds.extend(cases.map(|(name, bytes)| ("gzip", name.to_owned(), bytes)));
}

/// Kinds of a part: 0 to 3 are the usual names, plus 4 with `.gz`; 15 a name of its own. Plus 64 is a
/// folder, 128 packed, 192 a link.
fn part(kind: u8, name: &[u8], bytes: &[u8]) -> Vec<u8> {
    Part { kind, name, bytes }.encode()
}

fn add_folders(seeds: &mut Seeds) {
    let files = |pictures: [u32; 2], labels: [&[u8]; 2], sides: [u32; 2]| {
        let images = [0, 1].map(|i| {
            let count = (pictures[i] * sides[i] * sides[i]) as usize;
            idx(8, &[pictures[i], sides[i], sides[i]], &vec![7; count])
        });
        let labels = labels.map(|labels| idx(8, &[labels.len() as u32], labels));
        [&images[0], &labels[0], &images[1], &labels[1]].map(|file| file.clone())
    };
    let folder = |files: [Vec<u8>; 4], kinds: [u8; 4]| {
        files.iter().zip(kinds).map(|(file, kind)| part(kind, b"", file)).collect::<Vec<_>>().concat()
    };
    let (plain, zeros) = ([0, 1, 2, 3], files([4, 2], [&[0, 1, 0, 1], &[1, 0]], [3, 3]));
    let own = |name: &[u8]| part(15, name, b"\x89PNG\r\n\x1a\n");
    let cases = [
        ("good", folder(zeros.clone(), plain)),
        ("packed", folder(zeros.clone(), [132, 133, 134, 135])),
        ("plain-named-gz", folder(zeros.clone(), [4, 5, 6, 7])),
        ("one-missing", folder(zeros.clone(), [0, 1, 2, 2])),
        ("labels-are-a-folder", [part(65, b"", b""), folder(zeros.clone(), plain)].concat()),
        (
            "labels-are-a-link-to-themselves",
            [part(193, b"", b"train-labels-idx1-ubyte"), folder(zeros, plain)].concat(),
        ),
        ("fewer-labels", folder(files([4, 2], [&[0, 1, 0], &[1, 0]], [3, 3]), plain)),
        ("label-255", folder(files([4, 2], [&[0, 1, 0, 255], &[1, 0]], [3, 3]), plain)),
        ("one-class", folder(files([4, 2], [&[0; 4], &[0; 2]], [3, 3]), plain)),
        ("one-picture", folder(files([1, 1], [&[1], &[0]], [3, 3]), plain)),
        ("two-sizes", folder(files([4, 2], [&[0, 1, 0, 1], &[1, 0]], [3, 2]), plain)),
        ("name-with-line-breaks", own(b"a\r\nb\x1b[2Jc.png")),
        ("name-not-unicode", own(b"\xff\xfe\xed\xa0\x80.jpg")),
        ("name-that-turns-around", own("gnp.\u{202e}exe.png".as_bytes())),
        ("name-of-255-bytes", own(&[b'n'; 255])),
        ("name-of-dots", own(b"..")),
        ("name-of-a-device", own(b"CON.png")),
        ("name-like-an-option", own(b"--help")),
        ("name-emoji", own("🙂\u{301}.png".as_bytes())),
        ("picture-is-a-folder", part(79, b"x.png", b"")),
        ("picture-is-a-dangling-link", part(207, b"x.png", b"nothing")),
        ("picture-is-a-link-to-itself", part(207, b"x.png", b"x.png")),
    ];
    seeds.extend(cases.map(|(name, bytes)| ("folder", name.to_owned(), bytes)));
    add_layouts(seeds);
}

/// Folders of IDX files as QMNIST and EMNIST are published.
fn add_layouts(seeds: &mut Seeds) {
    let own = |name: &str, bytes: &[u8]| part(15, name.as_bytes(), bytes);
    let pictures = |count: u32| idx(8, &[count, 2, 3], &vec![7; count as usize * 6]);
    // Each label is the first of a row of integers.
    let qmnist = |columns: u32, labels: [i32; 2]| {
        let values = labels.iter().flat_map(|&label| {
            (0..columns).flat_map(move |column| if column == 0 { label } else { 3 }.to_be_bytes())
        });
        let labels = idx(12, &[2, columns], &values.collect::<Vec<u8>>());
        ["train", "test"]
            .map(|part| {
                let images = own(&format!("qmnist-{part}-images-idx3-ubyte"), &pictures(2));
                [images, own(&format!("qmnist-{part}-labels-idx2-int"), &labels)].concat()
            })
            .concat()
    };
    let emnist = |mapping: &[u8]| {
        let parts = ["train", "test"].map(|part| {
            let images = own(&format!("emnist-letters-{part}-images-idx3-ubyte"), &pictures(2));
            [images, own(&format!("emnist-letters-{part}-labels-idx1-ubyte"), &idx(8, &[2], &[1, 2]))]
                .concat()
        });
        [&parts.concat(), &own("emnist-letters-mapping.txt", mapping)[..]].concat()
    };
    let cases = [
        ("qmnist", qmnist(8, [0, 1])),
        ("qmnist-of-one-column", qmnist(1, [1, 0])),
        ("qmnist-of-no-columns", qmnist(0, [1, 0])),
        ("qmnist-label-below-0", qmnist(8, [0, -1])),
        ("qmnist-label-above-255", qmnist(8, [0, i32::MAX])),
        ("emnist", emnist(b"1 65 97\n2 66 98\n")),
        ("emnist-mapping-lacks-a-class", emnist(b"1 65 97\n")),
        ("emnist-mapping-of-no-character", emnist(b"1 55296\n2 4294967295\n")),
        ("emnist-mapping-that-turns-around", emnist("1 8238 65\n2 10\n".as_bytes())),
        ("emnist-mapping-of-text", emnist(b"<html>\xff\n")),
    ];
    seeds.extend(cases.map(|(name, bytes)| ("folder", name.to_owned(), bytes)));
}

const GOOD_CONFIG: &str = r#"version = 2

[network]
name = "vgg13"
head = "tutorial"
classes = 2

[network.input]
height = 28
width = 28
channels = 1

[data]
source = "mnist"
fingerprint = "0123456701234567012345670123456701234567012345670123456701234567"
class_names = ["a", "\"b\"\n"]

[recipe]
name = "fast"
initialiser = "he-normal"
learning_rate = 0.01
schedule = "warm-up-linear"
warm_up = 0.2
momentum = 0.9
nesterov = true
weight_decay = 0.0005
label_smoothing = 0.0
class_weights = "none"
normalise = false
averaging = 0.0
averaging_interval = 10
early_stop = 0
plain_finish = 0.0

[recipe.augmentation]
shift = 0.0
rotation = 0.0
scale = 0.0
shear = 0.0
elastic = 0.0
flip = false

[run]
seed = 7
batch_size = 100
steps = 1100
precision = "f32"
freeze = 0
overfit_batch = false
"#;

fn add_configs(seeds: &mut Seeds) {
    let mut add = |name: &str, text: String| seeds.push(("config", name.to_owned(), text.into_bytes()));
    let changed = |from: &str, to: &str| {
        assert!(GOOD_CONFIG.contains(from), "{from}");
        GOOD_CONFIG.replace(from, to)
    };
    add("good", GOOD_CONFIG.to_owned());
    add("empty", String::new());
    add("byte-order-mark", format!("\u{feff}{GOOD_CONFIG}"));
    add("carriage-returns", GOOD_CONFIG.replace('\n', "\r\n"));
    add("misspelt-key", changed("learning_rate", "learing_rate"));
    add("key-twice", changed("seed = 7", "seed = 7\nseed = 8"));
    add("table-twice", format!("{GOOD_CONFIG}[run]\n"));
    for value in ["nan", "inf", "-1.0", "0.0", "1e30", "1e400", "1", "\"0.1\""] {
        add(
            &format!("rate-{}", value.trim_matches('"')),
            changed("learning_rate = 0.01", &format!("learning_rate = {value}")),
        );
    }
    add("momentum-1", changed("momentum = 0.9", "momentum = 1.0"));
    add("batch-0", changed("batch_size = 100", "batch_size = 0"));
    add("batch-huge", changed("batch_size = 100", "batch_size = 9223372036854775807"));
    add("steps-0", changed("steps = 1100", "steps = 0"));
    add("steps-huge", changed("steps = 1100", "steps = 9223372036854775807"));
    add("steps-too-long-a-number", changed("steps = 1100", "steps = 18446744073709551616"));
    add("seed-negative", changed("seed = 7", "seed = -1"));
    add("picture-2-to-the-27", changed("height = 28\nwidth = 28", "height = 134217728\nwidth = 134217728"));
    add("picture-2-to-the-32", changed("height = 28\nwidth = 28", "height = 4294967296\nwidth = 4294967296"));
    add(
        "picture-4096",
        changed("height = 28\nwidth = 28\nchannels = 1", "height = 4096\nwidth = 4096\nchannels = 64"),
    );
    add("picture-empty", changed("width = 28", "width = 0"));
    add("classes-100000", changed("classes = 2", "classes = 100000"));
    add("classes-huge", changed("classes = 2", "classes = 9223372036854775807"));
    add("unknown-network", changed("vgg13", &"v".repeat(3000)));
    add("key-with-controls", changed("seed = 7", "\"\\u001b[2J\\n\" = 7"));
    add("value-with-controls", changed("\"f32\"", "\"f\\u001b[2J\\r\\n\\u202e\""));
    add("long-key", changed("seed = 7", &format!("{} = 7", "k".repeat(5000))));
    add("long-type-error", changed("seed = 7", &format!("seed = \"{}\"", "s".repeat(5000))));
    add("deep-arrays", format!("x = {}", "[".repeat(4000)));
    add("deep-tables", format!("x = {}", "{a=".repeat(3000)));
    add("deep-keys", format!("{}a = 1", "a.".repeat(4000)));
    add("many-tables", (0..1500).map(|i| format!("[t{i}]\n")).collect());
    add("source-with-controls", changed("\"mnist\"", "\"a\\nb\\u0000\""));
    add("earlier-version", changed("version = 2", "version = 1"));
    add("later-version", changed("version = 2", "version = 3"));
}
