//! Damage by chance and by intent: whatever the bytes, loading reports it and never panics.

mod common;

use common::*;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Puts `bytes` in place of a file and writes a manifest that fits, as a forger would.
fn forge(checkpoint: &Path, name: &str, bytes: &[u8]) {
    fs::write(checkpoint.join(name), bytes).unwrap();
    let lines: String = files(checkpoint)
        .iter()
        .filter(|(name, _)| *name != "MANIFEST")
        .map(|(name, bytes)| format!("{:x}  {name}\n", Sha256::digest(bytes)))
        .collect();
    write_manifest(checkpoint, &lines);
}

fn write_manifest(checkpoint: &Path, lines: &str) {
    let (count, hash) = (lines.lines().count(), Sha256::digest(lines.as_bytes()));
    let text = format!("{lines}# {count} files, SHA-256 of the lines above: {hash:x}\n");
    fs::write(checkpoint.join("MANIFEST"), text).unwrap();
}

fn saved() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = save_at(dir.path(), 42);
    (dir, path)
}

#[test]
fn every_flipped_bit_is_detected() {
    let (_dir, path) = saved();
    for (name, original) in files(&path) {
        // In place: file systems take long to truncate and write a file anew.
        let mut file = File::options().write(true).open(path.join(&name)).unwrap();
        let mut put = |position: usize, byte: u8| {
            file.seek(SeekFrom::Start(position as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for (position, &byte) in original.iter().enumerate() {
            for bit in 0..8 {
                put(position, byte ^ 1 << bit);
                assert_damaged(&path, &format!("bit {bit} of byte {position} of {name}"));
            }
            put(position, byte);
        }
    }
    load(&path).unwrap();
}

#[test]
fn every_truncation_and_every_missing_file_is_detected() {
    let (_dir, path) = saved();
    for (name, original) in files(&path) {
        let file = File::options().write(true).open(path.join(&name)).unwrap();
        for length in (0..original.len()).rev() {
            file.set_len(length as u64).unwrap();
            assert_damaged(&path, &format!("{name} cut to {length} bytes"));
        }
        fs::write(path.join(&name), [&original[..], b"\n"].concat()).unwrap();
        assert_damaged(&path, &format!("{name} with a byte more"));
        fs::write(path.join(&name), vec![0; original.len()]).unwrap();
        assert_damaged(&path, &format!("{name} full of zeros"));
        fs::remove_file(path.join(&name)).unwrap();
        assert_damaged(&path, &format!("{name} missing"));
        fs::create_dir(path.join(&name)).unwrap();
        assert_damaged(&path, &format!("{name} a directory"));
        fs::remove_dir(path.join(&name)).unwrap();
        fs::write(path.join(&name), original).unwrap();
    }
}

#[test]
fn swapped_files_are_detected() {
    let (_dir, path) = saved();
    let weights = path.join("weights.safetensors");
    for other in ["optimizer.safetensors", "average.safetensors"] {
        let swap = || {
            let (other, aside) = (path.join(other), path.join("aside"));
            for (from, to) in [(&weights, &aside), (&other, &weights), (&aside, &other)] {
                fs::rename(from, to).unwrap();
            }
        };
        swap();
        assert_damaged(&path, &format!("weights and {other} swapped"));
        swap();
        load(&path).unwrap();
    }
}

#[test]
fn a_renamed_directory_does_not_become_the_newest() {
    let (dir, path) = saved();
    let renamed = dir.path().join("ckpt-000000043");
    fs::rename(path, &renamed).unwrap();
    assert!(assert_damaged(&renamed, "renamed").contains("step 42"));
}

/// A safetensors file with the small network's weights and another header.
fn with_header(original: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let length = u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
    let header = change(String::from_utf8(original[8..8 + length].to_vec()).unwrap());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &original[8 + length..]].concat()
}

#[test]
fn forged_headers_are_refused() {
    let (_dir, path) = saved();
    let original = fs::read(path.join("weights.safetensors")).unwrap();
    let replacements: &[(&str, &str, &str)] = &[
        ("features.0.bias", "features.0.bios", "expected a tensor features.0.bias"),
        ("\"shape\":[3,2]", "\"shape\":[2,3]", "expected classifier.0.weight as F32 [3, 2]"),
        ("\"shape\":[3,2]", "\"shape\":[6]", "found F32 [6]"),
        ("\"F32\",\"shape\":[3,2]", "\"I32\",\"shape\":[3,2]", "found I32"),
        ("[3,2]", "[4194305,4194305,211106198978564]", "overflow"),
        ("[3,2]", "[-3,-2]", "invalid"),
        ("\"data_offsets\":[0,", "\"data_offsets\":[4,", "offset"),
        ("\"data_offsets\":[0,", "\"data_offsets\":[18446744073709551615,", "offset"),
        ("{\"features", "[\"features", "invalid"),
        (
            "{\"features",
            "{\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"features",
            "the network does not have",
        ),
    ];
    for (from, to, expected) in replacements {
        let forged = with_header(&original, |header| {
            assert!(header.contains(from), "{header}");
            header.replacen(from, to, 1)
        });
        forge(&path, "weights.safetensors", &forged);
        let message = assert_damaged(&path, to);
        assert!(message.contains(expected) && message.contains("weights.safetensors"), "{message}");
    }
    forge(&path, "weights.safetensors", &with_header(&original, |header| header));
    load(&path).unwrap();
}

#[test]
fn header_lengths_beyond_the_file_are_refused_before_memory_is_taken() {
    let (_dir, path) = saved();
    let mut bytes = fs::read(path.join("weights.safetensors")).unwrap();
    let length = bytes.len() as u64;
    for claim in [length - 7, length, 16 << 20, (16 << 20) + 1, 1 << 40, u64::MAX - 7, u64::MAX] {
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        forge(&path, "weights.safetensors", &bytes);
        let message = assert_damaged(&path, "header length");
        assert!(message.contains(&format!("claims {claim} bytes")), "{message}");
    }
    forge(&path, "weights.safetensors", b"short");
    assert_damaged(&path, "no header at all");
}

#[test]
fn other_orders_of_tensors_can_be_read() {
    let (_dir, path) = saved();
    let tensors = network().parameters().into_iter().enumerate().map(|(position, parameter)| {
        let mut values = vec![0.0; parameter.len()];
        give(vgg_formats::TensorSet::Weights, position, &mut values).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (parameter.name, parameter.shape, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.as_str(), view.unwrap())
    });
    // The safetensors crate sorts by name.
    forge(&path, "weights.safetensors", &safetensors::serialize(views, None).unwrap());
    let checkpoint = load(&path).unwrap();
    let set = vgg_formats::TensorSet::Weights;
    assert_eq!(bits(&checkpoint, set), expected_bits(set));
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let (_dir, path) = saved();
    let mut bytes = fs::read(path.join("weights.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    forge(&path, "weights.safetensors", &bytes);
    let message = assert_damaged(&path, "NaN");
    assert!(message.contains("value 2 of classifier.0.bias is NaN"), "{message}");
}

#[test]
fn forged_states_are_refused() {
    let (_dir, path) = saved();
    let original = String::from_utf8(fs::read(path.join("state.json")).unwrap()).unwrap();
    for (from, to) in [("42", "-42"), ("42", "43"), ("42", "null"), ("\"seed\"", "\"sead\""), ("{", "")] {
        assert!(original.contains(from));
        forge(&path, "state.json", original.replacen(from, to, 1).as_bytes());
        let message = assert_damaged(&path, to);
        assert!(message.contains("state.json"), "{message}");
    }
    forge(&path, "state.json", &vec![b' '; (1 << 22) + 1]);
    assert!(assert_damaged(&path, "long").contains("at most 4194304 bytes"));
}

#[test]
fn manifests_that_name_other_places_are_refused() {
    let (_dir, path) = saved();
    let hash = "0".repeat(64);
    for name in ["../state.json", "/etc/passwd", "a/b", "", ".hidden", "a b"] {
        write_manifest(&path, &format!("{hash}  {name}\n"));
        assert!(assert_damaged(&path, name).contains("MANIFEST"));
    }
    write_manifest(&path, "");
    assert!(assert_damaged(&path, "no files").contains("state.json"));
}

/// What a file says is cited in messages; it must not speak to the terminal, or fill it.
#[test]
fn messages_that_cite_a_file_are_one_short_line() {
    let names = ["\\u001b[2J\\r\\n\\u202e".to_owned(), "n".repeat(100_000)];
    for name in names {
        let (_dir, path) = saved();
        let state = fs::read_to_string(path.join("state.json")).unwrap();
        let mut messages = Vec::new();
        for changed in [
            state.replace("small", &name),
            state.replace("batch_size\": \"100\"", &format!("a\": [\"{name}\"]")),
        ] {
            assert_ne!(changed, state);
            forge(&path, "state.json", changed.as_bytes());
            messages.push(load(&path).unwrap_err().to_string());
        }
        forge(&path, "state.json", state.as_bytes());
        let weights = fs::read(path.join("weights.safetensors")).unwrap();
        let length = u64::from_le_bytes(*weights.first_chunk().unwrap()) as usize;
        let header = std::str::from_utf8(&weights[8..8 + length]).unwrap();
        let header = header.replace("classifier.0.bias", &name);
        let changed =
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &weights[8 + length..]].concat();
        forge(&path, "weights.safetensors", &changed);
        messages.push(load(&path).unwrap_err().to_string());
        for message in messages {
            assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'), "{message:?}");
            assert!(message.len() < 2_000, "{message}");
        }
    }
}
