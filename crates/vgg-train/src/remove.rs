//! What is removed again: the traces of a run that could not begin, the checkpoint that diverged, and a
//! check that gives way to another.

use crate::config::CONFIG_FILE;
use crate::error::TrainError;
use crate::metrics::METRICS_FILE;
use crate::tensorboard;
use std::path::PathBuf;
use vgg_formats::{CheckpointError, ModelDir};

/// Takes back what a run that diverged must not leave: the checkpoint whose weights gave the bad
/// loss, and a directory that was made for nothing. The error then says what remains.
pub(crate) fn after_divergence(error: TrainError, model_dir: &ModelDir, missing: &[PathBuf]) -> TrainError {
    let TrainError::Diverged { cause, step, .. } = error else { return error };
    // What cannot be removed stays: the error to be reported is that training diverged.
    let _ = vgg_formats::remove(model_dir, step);
    let Ok(checkpoints) = vgg_formats::list(model_dir) else {
        return TrainError::diverged(cause, step);
    };
    let remains = match checkpoints.iter().rfind(|(earlier, _)| *earlier < step) {
        Some((_, path)) => format!("the last good checkpoint is {}", path.display()),
        None => "there is no good checkpoint".to_owned(),
    };
    if checkpoints.is_empty() {
        remove_new(model_dir, missing);
    }
    let place = if model_dir.entry(model_dir.path()).is_some() { " in another --model-dir" } else { "" };
    let next = format!("{remains}; train again{place} with a smaller --learning-rate");
    TrainError::Diverged { cause, step, next }
}

/// Removes a model directory that was missing before, with what its beginning has written, and the
/// folders that were made for it. Whatever somebody else has put there stays.
pub(crate) fn remove_new(model_dir: &ModelDir, missing: &[PathBuf]) {
    if missing.is_empty() {
        return;
    }
    // What cannot be removed stays: the error to be reported is the one that came first.
    tensorboard::remove(model_dir);
    for name in [CONFIG_FILE, METRICS_FILE, ".lock"] {
        let _ = model_dir.storage().remove_file(&model_dir.path().join(name));
    }
    for folder in missing {
        let _ = model_dir.storage().remove_directory(folder);
    }
}

/// Removes what the check on one batch in a locked model directory has learned. Its configuration stays, so
/// that it can be taken for nothing else, until that of the next one replaces it.
pub(crate) fn remove_check(model_dir: &ModelDir) -> Result<(), CheckpointError> {
    for (step, _) in vgg_formats::list(model_dir)? {
        vgg_formats::remove(model_dir, step)?;
    }
    tensorboard::remove(model_dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_made_for_a_run_that_cannot_begin_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outer/inner/model");
        let model_dir = ModelDir::new(&path);
        let begin = || {
            let missing = model_dir.missing();
            let lock = vgg_formats::lock(&model_dir).unwrap();
            fs::write(path.join(CONFIG_FILE), "a").unwrap();
            (missing, lock)
        };
        let (missing, _lock) = begin();
        assert_eq!(missing.len(), 3);
        remove_new(&model_dir, &missing);
        assert!(folder.path().exists() && !folder.path().join("outer").exists());

        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (missing, _lock) = begin();
        fs::write(path.join("notes"), "a").unwrap();
        remove_new(&model_dir, &missing);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);

        // A directory that was there before is left as it is.
        let (missing, _lock) = begin();
        remove_new(&model_dir, &missing);
        assert!(path.join(CONFIG_FILE).exists());
    }
}
