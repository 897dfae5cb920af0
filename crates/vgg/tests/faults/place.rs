//! Where a fault happens: a folder of its own, good data and a trained network to damage, and the program.

use crate::Fault;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that takes longer is taken for hung, and killed.
const LONGEST: Duration = Duration::from_secs(60);

/// Side of the good pictures in pixels.
pub(crate) const SIDE: usize = 4;

/// Number of good training pictures.
pub(crate) const COUNT: usize = 20;

/// A training of a small network on the good data, whose large files are as small as a network's can be: without
/// momentum.
const TRAIN: &[&str] =
    &["train", "--data", "digits", "--arch", "vgg11", "--head", "paper", "--recipe", "tutorial"];

/// A run of 4 steps that was stopped at step 2, with the checkpoints of steps 1 and 2. It is made once; each
/// fault gets a copy, in which the large files are links.
pub(crate) struct Trained {
    folder: TempDir,
}

impl Trained {
    pub(crate) fn new() -> Self {
        let folder = new_folder();
        write_digits(folder.path());
        let stopped = training(&["--steps", "4", "--stop-at", "2", "--save-every", "1"]);
        let output = program(folder.path(), &stopped).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder }
    }
}

/// An empty folder in which one fault happens.
pub(crate) struct Place<'a> {
    trained: &'a Trained,
    folder: TempDir,
}

/// What came of a run.
#[derive(Default)]
pub(crate) struct Outcome {
    /// `None` when the program had to be killed.
    pub(crate) code: Option<i32>,
    stdout: String,
    stderr: String,
    /// Paths that the run created, changed or removed.
    pub(crate) changed: BTreeSet<String>,
    /// Why the fault cannot be made on this machine, if it cannot.
    pub(crate) skipped: Option<String>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(trained: &'a Trained) -> Self {
        Self { trained, folder: new_folder() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in place of a present one (which may be a link to that of another place).
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.remove(name);
        fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Removes a file or folder if it is there.
    pub(crate) fn remove(&self, name: &str) {
        let path = self.path(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }

    pub(crate) fn folder(&self, name: &str) {
        self.remove(name);
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// A named pipe, at which whoever opens it waits for ever.
    pub(crate) fn pipe(&self, name: &str) {
        self.remove(name);
        assert!(Command::new("mkfifo").arg(self.path(name)).status().unwrap().success());
    }

    pub(crate) fn link(&self, name: &str, target: &str) {
        self.remove(name);
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    /// Changes the bytes of a file.
    pub(crate) fn alter(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.read(name);
        change(&mut bytes);
        self.write(name, bytes);
    }

    /// Replaces a part of a text file.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from:?} in {text}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Makes the good data folder `digits`: two classes of pictures.
    pub(crate) fn digits(&self) {
        write_digits(self.folder.path());
    }

    /// Makes `digits`, and `model` with the trained run.
    pub(crate) fn trained(&self) {
        let from = self.trained.folder.path();
        self.digits();
        copy_or_link(&from.join("model"), &self.path("model"));
        let (theirs, ours) = (from.display().to_string(), self.folder.path().display().to_string());
        self.edit("model/config.toml", &theirs, &ours);
    }

    /// Makes `digits`, and `model` with the trained run, of whose checkpoints only the newest is left.
    pub(crate) fn trained_with_one_checkpoint(&self) {
        self.trained();
        self.remove("model/ckpt-000000001");
    }

    /// Writes the hash of a changed file into the MANIFEST of its checkpoint, as whoever wants to deceive would.
    pub(crate) fn sign(&self, checkpoint: &str, file: &str) {
        let hash = format!("{:x}", Sha256::digest(self.read(&format!("{checkpoint}/{file}"))));
        let name = format!("{checkpoint}/MANIFEST");
        let text = String::from_utf8(self.read(&name)).unwrap();
        let lines: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| if line.ends_with(file) { format!("{hash}  {file}\n") } else { format!("{line}\n") })
            .collect();
        let (count, own) = (lines.lines().count(), Sha256::digest(&lines));
        self.write(&name, format!("{lines}# {count} files, SHA-256 of the lines above: {own:x}\n"));
    }

    /// Runs the program in the folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, |_| ())
    }

    /// Runs a short training on the good data with more arguments.
    pub(crate) fn train(&self, more: &[&str]) -> Outcome {
        self.run(&training(more))
    }

    /// Runs the program with its surroundings changed.
    pub(crate) fn run_with(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Outcome {
        let mut command = self.command(arguments);
        change(&mut command);
        self.finish(command)
    }

    /// Runs the program from a shell that sets limits before.
    pub(crate) fn run_after(&self, shell: &str, arguments: &[&str]) -> Outcome {
        let mut command = piped("sh", self.folder.path());
        command.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_vgg")).args(arguments);
        self.finish(command)
    }

    /// The program, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        program(self.folder.path(), arguments)
    }

    fn finish(&self, mut command: Command) -> Outcome {
        let before = self.state();
        let outcome = self.outcome(command.spawn().expect("the program starts"));
        self.changed_since(&before, outcome)
    }

    /// Waits for the end of a program and gives what it said, with this folder's path as `FOLDER`.
    pub(crate) fn outcome(&self, mut child: Child) -> Outcome {
        let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let code = wait(&mut child);
        let folder = self.folder.path().display().to_string();
        let clean = |text: String| hide_hashes(&text.replace(&folder, "FOLDER"));
        let (stdout, stderr) = (clean(stdout.join().unwrap()), clean(stderr.join().unwrap()));
        Outcome { code, stdout, stderr, ..Outcome::default() }
    }

    /// The outcome with the paths that are not as they were.
    pub(crate) fn changed_since(&self, before: &State, outcome: Outcome) -> Outcome {
        let after = self.state();
        let differs = |path: &&String| before.get(*path) != after.get(*path);
        let changed = before.keys().chain(after.keys()).filter(differs).cloned().collect();
        Outcome { changed, ..outcome }
    }

    /// Every path in the folder, with what tells whether it was changed.
    pub(crate) fn state(&self) -> State {
        let mut state = State::new();
        collect(self.folder.path(), Path::new(""), &mut state);
        state
    }
}

/// Paths with inode, length and time of the last change. Folders have only the first.
pub(crate) type State = BTreeMap<String, [i64; 4]>;

impl Outcome {
    /// A fault that cannot be made here.
    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self { skipped: Some(reason.into()), ..Self::default() }
    }

    /// The lines that begin with `error: `.
    pub(crate) fn error_lines(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("error: ")).collect()
    }

    /// What the program says of a fault: the line of error; where there is none, the lines with a part of
    /// [`Fault::says`] in them.
    pub(crate) fn words(&self, fault: &Fault) -> String {
        if fault.is_error() {
            return self.error_lines().first().copied().unwrap_or_default().to_owned();
        }
        let lines = self.stderr.lines().chain(self.stdout.lines());
        let telling = lines.filter(|line| fault.says.iter().any(|part| line.contains(part)));
        telling.collect::<Vec<_>>().join(" … ")
    }

    /// Everything that the program printed.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stderr, self.stdout)
    }

    /// The outcome with every occurrence of a text that is another each time replaced.
    pub(crate) fn hide(self, text: &str, name: &str) -> Self {
        Self { stdout: self.stdout.replace(text, name), stderr: self.stderr.replace(text, name), ..self }
    }

    /// The outcome with the number that stands between two texts replaced by `N`.
    pub(crate) fn hide_number(self, before: &str, after: &str) -> Self {
        let hide = |text: String| {
            let lines = text.split_inclusive('\n').map(|line| hide_number(line, before, after));
            lines.collect::<String>()
        };
        Self { stdout: hide(self.stdout), stderr: hide(self.stderr), ..self }
    }
}

fn hide_number(line: &str, before: &str, after: &str) -> String {
    let number =
        line.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map(|(number, _)| number);
    match number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')) {
        Some(number) => line.replacen(&format!("{before}{number}{after}"), &format!("{before}N{after}"), 1),
        None => line.to_owned(),
    }
}

/// The text with every SHA-256 replaced: they depend on how the processor multiplies.
fn hide_hashes(text: &str) -> String {
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    words
        .map(|word| match word.char_indices().nth(64) {
            Some((end, _)) if is_hash(&word[..end]) => format!("HASH{}", &word[end..]),
            _ => word.to_owned(),
        })
        .collect()
}

/// The arguments of a training on the good data. Batch size and length are short when `more` has none.
pub(crate) fn training<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = [TRAIN, more].concat();
    if !more.contains(&"--batch-size") {
        arguments.extend(["--batch-size", "4"]);
    }
    if !more.contains(&"--steps") && !more.contains(&"--epochs") {
        arguments.extend(["--steps", "2"]);
    }
    arguments
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = piped(env!("CARGO_BIN_EXE_vgg"), folder);
    command.args(arguments);
    command
}

/// A command that runs in `folder`, and whose words are heard.
fn piped(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An empty folder beside what was built, where there is room for networks.
fn new_folder() -> TempDir {
    tempfile::tempdir_in(fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap()).unwrap()
}

/// An IDX file of bytes: two zeros, the type 8, the number of dimensions, and each of them.
pub(crate) fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(values);
    file
}

/// The pictures of class 0 are dark, those of class 1 are light.
fn write_digits(folder: &Path) {
    let digits = folder.join("digits");
    fs::create_dir(&digits).unwrap();
    for (prefix, count) in [("train", COUNT), ("t10k", 4)] {
        let labels: Vec<u8> = (0..count).map(|at| (at % 2) as u8).collect();
        let pixels: Vec<u8> = labels.iter().flat_map(|label| [label * 200 + 20; SIDE * SIDE]).collect();
        let images = idx(&[count as u32, SIDE as u32, SIDE as u32], &pixels);
        fs::write(digits.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        fs::write(digits.join(format!("{prefix}-labels-idx1-ubyte")), idx(&[count as u32], &labels)).unwrap();
    }
}

/// Copies a folder; large files, which no run changes in place, become links.
fn copy_or_link(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        let copy = to.join(path.file_name().unwrap());
        if metadata.is_dir() {
            copy_or_link(&path, &copy);
        } else if metadata.len() > 1 << 20 {
            fs::hard_link(&path, &copy).unwrap();
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

fn collect(folder: &Path, name: &Path, state: &mut State) {
    for entry in fs::read_dir(folder.join(name)).unwrap() {
        let entry = entry.unwrap();
        let (name, metadata) = (name.join(entry.file_name()), entry.metadata().unwrap());
        let is_dir = metadata.is_dir();
        let id = metadata.ino() as i64;
        let stamp = match is_dir {
            true => [id, 0, 0, 0],
            false => [id, metadata.len() as i64, metadata.mtime(), metadata.mtime_nsec()],
        };
        state.insert(name.display().to_string(), stamp);
        if is_dir {
            collect(folder, &name, state);
        }
    }
}

/// Reads a stream to its end in a thread, so that no pipe fills up.
fn reader(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).expect("a pipe can be read");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The exit code; `None` for a program that hangs, which is killed, or that a signal ended.
fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < LONGEST {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        thread::sleep(Duration::from_millis(3));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}
