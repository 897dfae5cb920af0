//! Checkpoints, and the tensor files in them.

use crate::parts::Part;
use crate::{check_message, scratch};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use vgg_arch::{Layer, Network, Shape};
use vgg_formats::{Checkpoint, CheckpointError, CheckpointState, TensorSet};

const NAME: &str = "ckpt-000000042";
const STATE: &str = "state.json";
const WEIGHTS: &str = "weights.safetensors";
const MOMENTUM: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";
const MANIFEST: &str = "MANIFEST";

/// The files of a checkpoint: each part replaces one of a good checkpoint, adds one, or takes one
/// away. When the first byte is even, the MANIFEST is made right afterwards.
///
/// # Panics
/// When the reader does what it must not.
pub fn checkpoint(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else { return };
    let mut files = good_checkpoint().to_vec();
    for part in Part::all(data) {
        let own = String::from_utf8_lossy(part.name);
        let name =
            [STATE, WEIGHTS, MOMENTUM, MANIFEST].get(usize::from(part.kind & 7)).copied().unwrap_or(&own);
        // Other names are those that a MANIFEST could bear, so that the file system takes them.
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            continue;
        }
        files.retain(|(file, _)| file != name);
        if part.kind & 8 == 0 && !name.starts_with('.') {
            files.push((name.to_owned(), part.bytes.to_vec()));
        }
    }
    if mode % 2 == 0 {
        make_manifest_right(&mut files);
    }
    read(&files);
}

/// A file of weights in a checkpoint with a right MANIFEST; or, when the bytes begin with a brace,
/// the header of such a file, which gets its length before it and values behind it.
///
/// # Panics
/// When the reader does what it must not.
pub fn safetensors(data: &[u8]) {
    let mut files = good_checkpoint().to_vec();
    let weights = if data.starts_with(b"{") {
        let values: usize = network().parameters().iter().map(|parameter| 4 * parameter.len()).sum();
        [&(data.len() as u64).to_le_bytes()[..], data, &vec![0; values]].concat()
    } else {
        data.to_vec()
    };
    files.retain(|(file, _)| file != WEIGHTS);
    files.push((WEIGHTS.to_owned(), weights));
    make_manifest_right(&mut files);
    read(&files);
}

/// A convolution and a dense layer: 29 values.
fn network() -> Network {
    Network {
        name: "small".to_owned(),
        head: "none".to_owned(),
        input: Shape::new(2, 2, 1),
        classes: 3,
        layers: vec![
            Layer::Convolution { out_channels: 2, kernel: 3 },
            Layer::MaxPool,
            Layer::Dense { outputs: 3, relu: false },
        ],
    }
}

/// Names and contents of the files of a good checkpoint.
fn good_checkpoint() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        scratch::with_folder("good", |model_dir| {
            let directory = save(model_dir);
            let files = [STATE, WEIGHTS, MOMENTUM, AVERAGE, MANIFEST];
            files
                .map(|name| (name.to_owned(), fs::read(directory.join(name)).expect("it was saved")))
                .to_vec()
        })
    })
}

fn save(model_dir: &Path) -> std::path::PathBuf {
    let state = CheckpointState::new(&network(), 42, 7);
    let give = |_, parameter: usize, values: &mut [f32]| {
        values.fill(parameter as f32 + 0.5);
        Ok::<(), Infallible>(())
    };
    vgg_formats::save(&model_dir.into(), &state, &network(), &TensorSet::ALL, give)
        .expect("a good checkpoint can be saved")
}

fn load(directory: &Path) -> Result<Checkpoint, CheckpointError> {
    vgg_formats::load(
        &directory.parent().expect("a folder above").into(),
        directory,
        &network(),
        &TensorSet::ALL,
    )
}

/// Lists all files but itself with their hashes, in the format of `sha256sum`, and closes the list
/// with its own hash.
fn make_manifest_right(files: &mut Vec<(String, Vec<u8>)>) {
    files.retain(|(name, _)| name != MANIFEST);
    let lines: String =
        files.iter().map(|(name, bytes)| format!("{:x}  {name}\n", Sha256::digest(bytes))).collect();
    let hash = Sha256::digest(lines.as_bytes());
    let text = format!("{lines}# {} files, SHA-256 of the lines above: {hash:x}\n", files.len());
    files.push((MANIFEST.to_owned(), text.into_bytes()));
}

fn read(files: &[(String, Vec<u8>)]) {
    scratch::with_folder("model", |model_dir| {
        let directory = model_dir.join(NAME);
        fs::create_dir(&directory).expect("the temporary folder takes a folder");
        for (name, bytes) in files {
            fs::write(directory.join(name), bytes).expect("the temporary folder takes a file");
        }
        match load(&directory) {
            Ok(checkpoint) => check_accepted(&checkpoint, files),
            Err(error) => check_message(&error, NAME),
        }
    });
}

/// What was accepted has the hashes that its MANIFEST lists, and exactly the network's tensors.
fn check_accepted(checkpoint: &Checkpoint, files: &[(String, Vec<u8>)]) {
    let content = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, bytes)| &bytes[..]);
    let manifest = content(MANIFEST).expect("a checkpoint without MANIFEST is refused");
    let manifest = std::str::from_utf8(manifest).expect("a MANIFEST is text");
    let listed = |name: &str| {
        let line = format!("{:x}  {name}", Sha256::digest(content(name).unwrap_or_default()));
        manifest.lines().any(|listed| listed == line)
    };
    assert!(listed(STATE) && listed(WEIGHTS), "accepted with a wrong hash");
    assert_eq!(checkpoint.state.global_step, 42);
    let json = serde_json::to_string(&checkpoint.state).expect("a state can be written");
    assert_eq!(serde_json::from_str::<CheckpointState>(&json).expect("and read again"), checkpoint.state);
    for (set, name) in
        [(TensorSet::Weights, WEIGHTS), (TensorSet::Momentum, MOMENTUM), (TensorSet::Average, AVERAGE)]
    {
        if listed(name) {
            check_tensors(checkpoint, set, content(name).unwrap_or_default());
        }
    }
}

/// The tensors are those of the network, each once, with the finite values at the end of the file.
fn check_tensors(checkpoint: &Checkpoint, set: TensorSet, file: &[u8]) {
    let parameters = network().parameters();
    let (mut taken, mut read) = (vec![0; parameters.len()], Vec::new());
    let take = |parameter: usize, values: &[f32]| {
        assert_eq!(values.len(), parameters[parameter].len());
        assert!(values.iter().all(|value| value.is_finite()));
        taken[parameter] += 1;
        read.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Ok::<(), Infallible>(())
    };
    checkpoint.read(set, take).expect("what was loaded can be read");
    assert!(taken.iter().all(|&count| count == 1), "tensors read: {taken:?}");
    assert!(file.ends_with(&read), "other values than in the file");
}
