//! Seeds of checkpoints and their tensor files. The network is the small one of the target.

use crate::{Seeds, add};
use vgg_fuzz::Part;

/// The good header: name, shape, first and last byte of each tensor.
const TENSORS: [(&str, &str, usize, usize); 4] = [
    ("features.0.weight", "[2,1,3,3]", 0, 72),
    ("features.0.bias", "[2]", 72, 80),
    ("classifier.0.weight", "[3,2]", 80, 104),
    ("classifier.0.bias", "[3]", 104, 116),
];

pub(crate) fn add_to(seeds: &mut Seeds) {
    add_states(seeds);
    add_manifests(seeds);
    add_headers(seeds);
    add_tensor_files(seeds);
}

fn entry(name: &str, dtype: &str, shape: &str, start: impl ToString, end: impl ToString) -> String {
    let (start, end) = (start.to_string(), end.to_string());
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn header(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

fn good_entries() -> Vec<String> {
    TENSORS.iter().map(|(name, shape, start, end)| entry(name, "F32", shape, start, end)).collect()
}

/// One part in a checkpoint; `mode` 0 has the MANIFEST made right, 1 leaves it.
fn one(mode: u8, kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[mode][..], &Part { kind, name: b"", bytes }.encode()].concat()
}

fn add_states(seeds: &mut Seeds) {
    let good = r#"{"format_version":1,"network":{"name":"small","head":"none","input":{"height":2,"width":2,"channels":1},"classes":3},"global_step":42,"seed":7,"run":{"batch_size":"100"}}"#;
    let changed = |from: &str, to: &str| good.replace(from, to);
    let cases = [
        ("good", good.to_owned()),
        ("empty", String::new()),
        ("later-version", changed(":1,\"network", ":2,\"network")),
        ("version-too-large", changed(":1,\"network", ":4294967296,\"network")),
        ("other-step", changed("42", "43")),
        ("step-negative", changed("42", "-1")),
        ("step-a-float", changed("42", "42.0")),
        ("unknown-key", changed("\"seed\"", "\"sead\"")),
        ("long-unknown-key", changed("\"seed\":7", &format!("\"seed\":7,\"{}\":1", "k".repeat(5000)))),
        ("key-twice", changed("\"seed\":7", "\"seed\":7,\"seed\":8")),
        ("other-network", changed("small", "vgg13")),
        ("long-network", changed("small", &"n".repeat(5000))),
        ("network-with-controls", changed("small", "\\u001b[2J\\n\\u202e")),
        (
            "picture-2-to-the-63",
            changed(
                "\"height\":2,\"width\":2",
                "\"height\":9223372036854775808,\"width\":9223372036854775808",
            ),
        ),
        ("run-with-controls", changed("100", "\\u0000\\n")),
        ("deep", format!("{}1{}", "[".repeat(4000), "]".repeat(4000))),
        ("deep-in-run", changed("\"100\"", &"{\"a\":".repeat(2000))),
        ("surrogate", changed("small", "\\ud800")),
    ];
    for (name, text) in cases {
        add(seeds, "checkpoint", format!("state-{name}"), one(0, 0, text.as_bytes()));
    }
    add(seeds, "checkpoint", "state-without-its-hash", one(1, 0, good.as_bytes()));
    add(seeds, "checkpoint", "state-missing", one(0, 8, b""));
    add(seeds, "checkpoint", "state-not-text", one(0, 0, &[0xff; 20]));
}

fn add_manifests(seeds: &mut Seeds) {
    let hash = "0".repeat(64);
    let cases = [
        ("empty", String::new()),
        ("one-line", format!("{hash}  state.json\n")),
        ("elsewhere", format!("{hash}  ../state.json\n# 1 files, SHA-256 of the lines above: {hash}\n")),
        ("absolute", format!("{hash}  /etc/passwd\n")),
        ("short-hash", "00  state.json\n".to_owned()),
        ("no-hash", "state.json\n".to_owned()),
        ("listed-twice", format!("{hash}  state.json\n{hash}  state.json\n")),
        ("long", format!("{hash}  {}\n", "n".repeat(10_000))),
        ("carriage-returns", format!("{hash}  state.json\r\n")),
    ];
    for (name, text) in cases {
        add(seeds, "checkpoint", format!("manifest-{name}"), one(1, 3, text.as_bytes()));
    }
    add(seeds, "checkpoint", "manifest-missing", one(1, 11, b""));
    add(seeds, "checkpoint", "weights-missing", one(0, 9, b""));
    add(seeds, "checkpoint", "momentum-missing", one(0, 10, b""));
    add(seeds, "checkpoint", "momentum-empty", one(0, 2, b""));
    let more = Part { kind: 7, name: b"more.txt", bytes: b"more" }.encode();
    add(seeds, "checkpoint", "another-file-listed", [&[0][..], &more].concat());
}

/// Headers, to which the target adds their length and the values.
fn add_headers(seeds: &mut Seeds) {
    let with = |index: usize, changed: String| {
        let mut entries = good_entries();
        entries[index] = changed;
        header(&entries)
    };
    let more = |added: String| header(&[good_entries(), vec![added]].concat());
    let (name, bias) = (TENSORS[0].0, TENSORS[3].0);
    let overflow = "[4194305,4194305,211106198978564]";
    let cases = [
        ("good", header(&good_entries())),
        ("padded", format!("{}     ", header(&good_entries()))),
        ("metadata", more(r#""__metadata__":{"format":"pt"}"#.to_owned())),
        ("metadata-not-text", more(r#""__metadata__":{"a":[1]}"#.to_owned())),
        ("nothing", "{}".to_owned()),
        ("fewer-tensors", header(&good_entries()[..3])),
        ("one-more-tensor", more(entry("more", "F32", "[0]", 116, 116))),
        ("name-twice", more(good_entries()[3].clone())),
        ("name-twice-other-place", more(entry(bias, "F32", "[3]", 0, 12))),
        ("overlapping", with(1, entry(TENSORS[1].0, "F32", "[2]", 64, 72))),
        ("hole", with(3, entry(bias, "F32", "[3]", 108, 120))),
        ("beyond-the-end", with(3, entry(bias, "F32", "[3]", 1040, 1052))),
        ("backwards", with(3, entry(bias, "F32", "[3]", 116, 104))),
        ("negative", with(3, entry(bias, "F32", "[3]", -12, 0))),
        ("offset-overflow", with(3, entry(bias, "F32", "[3]", u64::MAX, u64::MAX))),
        ("shape-overflow", with(0, entry(name, "F32", overflow, 0, 72))),
        ("shape-2-to-the-60", with(0, entry(name, "F32", "[1152921504606846976]", 0, 72))),
        ("shape-of-zeros", with(0, entry(name, "F32", "[0,18446744073709551615]", 0, 72))),
        ("shape-endless", with(0, entry(name, "F32", &format!("[{}1]", "1,".repeat(4000)), 0, 72))),
        ("other-shape", with(0, entry(name, "F32", "[2,9]", 0, 72))),
        ("other-type", with(0, entry(name, "I32", "[2,1,3,3]", 0, 72))),
        ("half-the-bits", with(0, entry(name, "BF16", "[2,1,3,3]", 0, 36))),
        ("unknown-type", with(0, entry(name, "F33", "[2,1,3,3]", 0, 72))),
        ("four-bits", with(0, entry(name, "F4", "[2,1,3,3]", 0, 9))),
        ("swapped", header(&[1, 0, 3, 2].map(|index| good_entries()[index].clone()))),
        ("name-with-controls", with(3, entry("\\u001b[2J\\n\\u202e", "F32", "[3]", 104, 116))),
        ("name-endless", with(3, entry(&"n".repeat(6000), "F32", "[3]", 104, 116))),
        ("deep", format!("{{\"a\":{}", "[".repeat(8000))),
        ("not-closed", header(&good_entries())[..200].to_owned()),
        (
            "many-tensors",
            header(&(0..180).map(|i| entry(&format!("t{i}"), "F32", "[0]", 0, 0)).collect::<Vec<_>>()),
        ),
        ("float-offsets", with(3, entry(bias, "F32", "[3]", "104.0", "116.0"))),
        ("number-of-400-digits", with(3, entry(bias, "F32", &format!("[{}]", "9".repeat(400)), 104, 116))),
    ];
    for (name, text) in cases {
        add(seeds, "safetensors", format!("header-{name}"), text);
    }
}

fn add_tensor_files(seeds: &mut Seeds) {
    let file =
        |length: u64, header: &[u8], values: &[u8]| [&length.to_le_bytes()[..], header, values].concat();
    let good = header(&good_entries()).into_bytes();
    let length = good.len() as u64;
    let mut nan = vec![0; 116];
    nan[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let cases = [
        ("good", file(length, &good, &[0; 116])),
        ("empty", vec![]),
        ("only-a-length", file(2, b"", b"")),
        ("header-of-100-mb", file(100_000_000, &good, &[0; 116])),
        ("header-of-2-to-the-64", file(u64::MAX, &good, &[0; 116])),
        ("header-one-byte-longer", file(length + 1, &good, &[0; 116])),
        ("header-one-byte-shorter", file(length - 1, &good, &[0; 116])),
        ("header-not-text", file(length, &vec![0xff; good.len()], &[0; 116])),
        ("header-in-an-array", file(length, &[b"[", &good[1..]].concat(), &[0; 116])),
        ("one-value-less", file(length, &good, &[0; 112])),
        ("one-value-more", file(length, &good, &[0; 120])),
        ("not-a-number", file(length, &good, &nan)),
        ("infinite", file(length, &good, &[f32::INFINITY.to_le_bytes().to_vec(), vec![0; 112]].concat())),
        ("archive", b"PK\x03\x04archive/data.pkl".to_vec()),
    ];
    for (name, bytes) in cases {
        add(seeds, "safetensors", format!("file-{name}"), bytes);
    }
}
