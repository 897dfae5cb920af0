//! Saving, finding, loading and pruning checkpoints.

mod common;

use common::*;
use std::fs;
use std::path::Path;
use std::process::Command;
use vgg_formats::{
    CheckpointError, CheckpointState, ErrorKind, FORMAT_VERSION, ModelDir, TensorSet, list, load_newest,
    lock, prune, remove, save, set_aside, sweep,
};

#[test]
fn every_bit_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_at(dir.path(), 55_000);
    assert!(path.ends_with("ckpt-000055000"));
    let newest = load_newest(&dir.path().into(), &network(), &TensorSet::ALL).unwrap().unwrap();
    assert!(newest.skipped.is_empty());
    assert_eq!(newest.checkpoint.path, path);
    assert_eq!(newest.checkpoint.state, state(55_000));
    for set in TensorSet::ALL {
        assert_eq!(bits(&newest.checkpoint, set), expected_bits(set));
    }
}

#[test]
fn a_checkpoint_has_the_weights_and_the_sets_that_it_was_given() {
    use TensorSet::{Average, Momentum, Weights};
    for (given, held) in [
        (&[][..], &[Weights][..]),
        (&[Momentum], &[Weights, Momentum]),
        (&[Average, Weights], &[Weights, Average]),
        (&[Average, Momentum], &[Weights, Momentum, Average]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = save(&dir.path().into(), &state(1), &network(), given, give).unwrap();
        let mut expected: Vec<_> = held.iter().map(|set| set.file_name()).collect();
        expected.extend(["MANIFEST", "state.json"]);
        expected.sort_unstable();
        assert_eq!(names(&path), expected);
        let checkpoint = load(&path).unwrap();
        for set in TensorSet::ALL {
            assert_eq!(checkpoint.has(set), held.contains(&set));
            if checkpoint.has(set) {
                assert_eq!(bits(&checkpoint, set), expected_bits(set));
                continue;
            }
            let error = checkpoint.read(set, |_, _| Ok::<(), std::fmt::Error>(())).unwrap_err();
            assert!(matches!(error, CheckpointError::NoSet { .. }), "{error}");
            assert!(error.to_string().contains(set.file_name()), "{error}");
        }
    }
}

#[test]
fn equal_input_gives_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(files(&save_at(one.path(), 7)), files(&save_at(two.path(), 7)));
}

#[test]
fn the_safetensors_crate_reads_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(save_at(dir.path(), 1).join("weights.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("classifier.0.weight").unwrap();
    assert_eq!(weight.shape(), [3, 2]);
    let expected: Vec<u8> =
        (0..6).flat_map(|position| value(TensorSet::Weights, 2, position).to_le_bytes()).collect();
    assert_eq!(weight.data(), expected);
}

#[test]
fn sha256sum_checks_the_manifest() {
    let version = Command::new("sha256sum").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU coreutils")) {
        eprintln!("SKIPPED: this machine has no GNU sha256sum");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = save_at(dir.path(), 1);
    let check = || {
        Command::new("sha256sum").args(["--strict", "-c", "MANIFEST"]).current_dir(&path).output().unwrap()
    };
    let output = check();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(": OK").count(), 4);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(path.join("weights.safetensors"), "other").unwrap();
    assert!(!check().status.success());
}

#[test]
fn a_model_directory_that_is_not_there_has_no_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert!(list(&(&absent).into()).unwrap().is_empty());
    assert!(load_newest(&(&absent).into(), &network(), &TensorSet::ALL).unwrap().is_none());
    assert!(!absent.exists());
}

#[test]
fn list_sorts_by_step_and_ignores_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = ["ckpt-000000009", "ckpt-000000010", "ckpt-999999999", "ckpt-1000000000"];
    let others = ["ckpt-10", "ckpt-0000000010", "ckpt-+00000010", "ckpt-00000001x", ".tmp-ckpt-000000011"];
    for name in wanted.iter().rev().chain(&others) {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("ckpt-000000012"), "a file").unwrap();
    let found = list(&dir.path().into()).unwrap();
    assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [9, 10, 999_999_999, 1_000_000_000]);
    assert!(found.iter().zip(wanted).all(|((_, path), name)| path.ends_with(name)));
}

#[test]
fn a_damaged_newest_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let good = save_at(dir.path(), 100);
    let torn = save_at(dir.path(), 200);
    let gone = save_at(dir.path(), 300);
    fs::write(torn.join("optimizer.safetensors"), "").unwrap();
    fs::remove_file(gone.join("MANIFEST")).unwrap();
    let newest = load_newest(&dir.path().into(), &network(), &TensorSet::ALL).unwrap().unwrap();
    assert_eq!(newest.checkpoint.path, good);
    let skipped: Vec<_> = newest.skipped.iter().map(|(path, _)| path).collect();
    assert_eq!(skipped, [&gone, &torn]);
    assert!(newest.skipped[0].1.to_string().contains("MANIFEST"));
    assert!(newest.skipped[1].1.to_string().contains("optimizer.safetensors"));
}

#[test]
fn damage_counts_in_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_at(dir.path(), 100);
    fs::write(path.join("optimizer.safetensors"), "").unwrap();
    let load = |sets: &[TensorSet]| load_newest(&dir.path().into(), &network(), sets);
    assert_eq!(load(&[TensorSet::Weights, TensorSet::Average]).unwrap().unwrap().checkpoint.path, path);
    for sets in [&[TensorSet::Momentum] as &[_], &TensorSet::ALL] {
        assert!(matches!(load(sets), Err(CheckpointError::NoneIntact { .. })));
    }
    fs::write(path.join("state.json"), "{}").unwrap();
    assert!(load(&[]).is_err());
}

#[test]
fn damaged_checkpoints_alone_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for step in [1, 2] {
        fs::remove_file(save_at(dir.path(), step).join("weights.safetensors")).unwrap();
    }
    let error = load_newest(&dir.path().into(), &network(), &TensorSet::ALL).unwrap_err();
    assert!(matches!(error, CheckpointError::NoneIntact { count: 2, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::BadData);
    assert!(error.to_string().contains("ckpt-000000002"), "{error}");
}

#[test]
fn a_checkpoint_of_another_network_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    save_at(dir.path(), 1);
    let mut other = network();
    other.head = "paper".to_owned();
    let error = load_newest(&dir.path().into(), &other, &TensorSet::ALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadData);
    let message = error.to_string();
    assert!(message.contains("small with head none for 2×2×1 and 3 classes"), "{message}");
    assert!(message.contains("small with head paper"), "{message}");
    let error = save(&dir.path().into(), &state(2), &other, &TensorSet::ALL, give).unwrap_err();
    assert!(matches!(error, CheckpointError::OtherNetwork { .. }), "{error}");
}

#[test]
fn a_later_format_is_refused_and_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    save_at(dir.path(), 1);
    let later = CheckpointState { format_version: FORMAT_VERSION + 1, ..state(2) };
    save(&dir.path().into(), &later, &network(), &TensorSet::ALL, give).unwrap();
    let error = load_newest(&dir.path().into(), &network(), &TensorSet::ALL).unwrap_err();
    assert!(matches!(error, CheckpointError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn values_that_are_not_finite_are_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    save_at(dir.path(), 1);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let spoil = |set, parameter, values: &mut [f32]| {
            give(set, parameter, values)?;
            if set == TensorSet::Momentum && parameter == 2 {
                values[5] = bad;
            }
            Ok::<(), std::convert::Infallible>(())
        };
        let error = save(&dir.path().into(), &state(2), &network(), &TensorSet::ALL, spoil).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Diverged);
        let message = error.to_string();
        assert!(message.contains("optimizer.safetensors, value 5 of classifier.0.weight"), "{message}");
        assert_eq!(names(dir.path()), ["ckpt-000000001"]);
    }
}

#[test]
fn an_error_of_the_caller_comes_back_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        save(&dir.path().into(), &state(1), &network(), &TensorSet::ALL, |_, _, _| Err(std::fmt::Error))
            .unwrap_err();
    assert!(matches!(error, CheckpointError::Values { .. }), "{error}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn prune_keeps_the_newest_five() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (1..=8).map(|step| save_at(dir.path(), step)).collect();
    assert_eq!(prune(&dir.path().into(), 5, None).unwrap(), paths[..3]);
    assert_eq!(prune(&dir.path().into(), 5, None).unwrap(), [] as [&Path; 0]);
    assert_eq!(names(dir.path()), (4..=8).map(|step| format!("ckpt-{step:09}")).collect::<Vec<_>>());
    prune(&dir.path().into(), 0, None).unwrap();
    assert_eq!(names(dir.path()), ["ckpt-000000008"], "one is always kept");
}

#[test]
fn prune_spares_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (1..=6).map(|step| save_at(dir.path(), step)).collect();
    let deleted = [1, 3].map(|step: usize| paths[step - 1].clone());
    assert_eq!(prune(&dir.path().into(), 3, Some(2)).unwrap(), deleted);
    assert_eq!(names(dir.path()), [2, 4, 5, 6].map(|step| format!("ckpt-{step:09}")));
    // It counts as any other when it is among the newest.
    assert_eq!(prune(&dir.path().into(), 2, Some(6)).unwrap(), [paths[1].clone(), paths[3].clone()]);
}

#[test]
fn prune_deletes_nothing_while_the_newest_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (1..=3).map(|step| save_at(dir.path(), step)).collect();
    let mut bytes = fs::read(paths[2].join("weights.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(paths[2].join("weights.safetensors"), bytes).unwrap();
    assert!(matches!(prune(&dir.path().into(), 1, None), Err(CheckpointError::Damaged { .. })));
    assert_eq!(names(dir.path()).len(), 3);
}

#[test]
fn what_is_set_aside_is_kept_and_neither_listed_nor_counted() {
    let dir = tempfile::tempdir().unwrap();
    save_at(dir.path(), 1);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let path = save_at(dir.path(), 2);
        fs::write(path.join("MANIFEST"), "").unwrap();
        kept.push(set_aside(&dir.path().into(), &path).unwrap());
    }
    assert_eq!(kept[0], dir.path().join("damaged-ckpt-000000002"));
    assert_eq!(list(&dir.path().into()).unwrap().len(), 1);
    assert!(prune(&dir.path().into(), 1, None).unwrap().is_empty());
    sweep(&dir.path().into()).unwrap();
    assert!(kept.iter().all(|path| path.join("weights.safetensors").exists()));
    assert!(kept[1] != kept[0] && kept[2] != kept[1]);
}

#[test]
fn one_checkpoint_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    (1..=3).for_each(|step| drop(save_at(dir.path(), step)));
    remove(&dir.path().into(), 2).unwrap();
    remove(&dir.path().into(), 7).unwrap();
    assert_eq!(names(dir.path()), ["ckpt-000000001", "ckpt-000000003"]);
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let model_dir = ModelDir::new(dir.path());
    model_dir.replace("file", b"old and long").unwrap();
    fs::write(dir.path().join("file.new"), "left by a dead process").unwrap();
    model_dir.replace("file", b"new").unwrap();
    assert_eq!(model_dir.read("file", 3).unwrap().unwrap(), b"new");
    assert_eq!(model_dir.read("other", 3).unwrap(), None);
    assert!(model_dir.read("file", 2).unwrap_err().to_string().contains("at most 2 bytes, found 3"));
    // A directory cannot be replaced by a file.
    fs::create_dir(dir.path().join("occupied")).unwrap();
    let error = model_dir.replace("occupied", b"new").unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("occupied"), "{error}");
    assert_eq!(names(dir.path()), ["file", "occupied"]);
    let error = ModelDir::new(dir.path().join("missing")).replace("file", b"new").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotCreate);
}

#[test]
fn leftovers_are_ignored_and_swept() {
    let dir = tempfile::tempdir().unwrap();
    save_at(dir.path(), 1);
    for name in [".tmp-ckpt-000000002", ".trash-ckpt-000000003"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("weights.safetensors"), "half").unwrap();
    }
    fs::write(dir.path().join("config.toml"), "").unwrap();
    assert_eq!(list(&dir.path().into()).unwrap().len(), 1);
    // A leftover of the same step is in nobody's way.
    save_at(dir.path(), 2);
    sweep(&dir.path().into()).unwrap();
    assert_eq!(names(dir.path()), ["ckpt-000000001", "ckpt-000000002", "config.toml"]);
}

#[cfg(unix)]
#[test]
fn links_are_removed_and_what_they_lead_to_stays() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(elsewhere.path().join("precious"), "").unwrap();
    for name in [".trash-ckpt-000000001", "ckpt-000000002"] {
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(name)).unwrap();
    }
    sweep(&dir.path().into()).unwrap();
    remove(&dir.path().into(), 2).unwrap();
    assert!(names(dir.path()).is_empty());
    assert_eq!(names(elsewhere.path()), ["precious"]);
}

#[test]
fn saving_a_step_again_replaces_a_damaged_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_at(dir.path(), 1);
    let original = files(&path);
    fs::write(path.join("MANIFEST"), "").unwrap();
    assert_eq!(save_at(dir.path(), 1), path);
    assert_eq!(files(&path), original);
    assert_eq!(save_at(dir.path(), 1), path);
    assert_eq!(files(&path), original);
    assert_eq!(names(dir.path()), ["ckpt-000000001"]);
}

#[test]
fn a_file_in_place_of_the_model_directory_cannot_be_created() {
    // Permissions would not stop an administrator; a file in the way stops everyone.
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("model");
    fs::write(&in_the_way, "").unwrap();
    for model_dir in [in_the_way.clone(), in_the_way.join("below")] {
        let error = save(&(&model_dir).into(), &state(1), &network(), &TensorSet::ALL, give).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotCreate, "{error}");
        assert!(error.to_string().contains(&in_the_way.display().to_string()), "{error}");
        assert_eq!(lock(&(&model_dir).into()).unwrap_err().kind(), ErrorKind::CannotCreate);
    }
}

#[test]
fn the_second_lock_names_the_holder_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let model_dir = ModelDir::new(dir.path().join("deep").join("model"));
    let mut guard = lock(&model_dir).unwrap();
    // Before the holder has written its number, the file is as it was.
    assert_eq!(fs::read(model_dir.path().join(".lock")).unwrap(), b"");
    assert!(matches!(lock(&model_dir), Err(CheckpointError::Locked { holder: None, .. })));
    guard.write_holder().unwrap();
    guard.write_holder().unwrap();
    let error = lock(&model_dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(
        matches!(error, CheckpointError::Locked { holder: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    drop(guard);
    lock(&model_dir).unwrap();
}
