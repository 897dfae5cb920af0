//! A file system in memory whose power can be cut and whose operations can fail.
//!
//! Nothing is durable before it is synced: the bytes of a file by its own sync, a name by that of
//! its directory. [`Simulated::after_power_cut`] gives one of the states that a disk may be in
//! afterwards: of everything that was not synced, each write is there, absent or torn into sectors
//! of which some are zeros, and each change of a name is there or absent, whatever came before or
//! after it.

use super::MODEL;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vgg_arch::random::Random;
use vgg_formats::{Entry, Lock, ModelDir, OutputFile, Storage};

/// Unit in which a disk writes.
const SECTOR: usize = 512;

/// The error numbers of Linux for what may befall a disk. The first becomes a short write first.
pub(crate) const FAULTS: &[(&str, i32)] =
    &[("ENOSPC", 28), ("EIO", 5), ("EROFS", 30), ("EDQUOT", 122), ("EACCES", 13), ("EINTR", 4)];

/// What goes wrong, and when. Operations are counted from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    Never,
    /// From this operation on there is no power.
    PowerCut { at: u64 },
    /// This operation fails with an error number, and all later ones too when it lasts.
    Error { at: u64, number: i32, lasts: bool },
}

/// The file system; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Simulated(Arc<Mutex<World>>);

#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    locked: BTreeSet<PathBuf>,
    operations: u64,
    fault: Fault,
}

/// A file or a directory: as programs see it, as it is on the disk, and what lies between.
#[derive(Clone, Debug)]
enum Node {
    File { bytes: Vec<u8>, durable: Vec<u8>, pending: Vec<(usize, Vec<u8>)> },
    Directory { entries: Entries, durable: Entries, pending: Vec<Change> },
}

type Entries = BTreeMap<OsString, usize>;

/// A change of names in one directory. A rename is one change, as file systems promise.
#[derive(Clone, Debug)]
enum Change {
    Add(OsString, usize),
    Remove(OsString),
    Rename(OsString, OsString, usize),
}

impl Simulated {
    /// An empty file system.
    pub(crate) fn new() -> Self {
        let root = Node::Directory { entries: Entries::new(), durable: Entries::new(), pending: Vec::new() };
        let world = World { nodes: vec![root], locked: BTreeSet::new(), operations: 0, fault: Fault::Never };
        Self(Arc::new(Mutex::new(world)))
    }

    /// The same file system with what will go wrong from now on; operations are counted anew.
    pub(crate) fn with(self, fault: Fault) -> Self {
        let mut world = self.world();
        (world.fault, world.operations) = (fault, 0);
        drop(world);
        self
    }

    /// Operations since the last call of [`Simulated::with`].
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The model directory [`MODEL`] on it.
    pub(crate) fn model_dir(&self) -> ModelDir {
        ModelDir::on(Arc::new(self.clone()), MODEL)
    }

    /// Another file system with the same files.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.world().clone())))
    }

    /// The file system as a machine may find it that starts after a power cut.
    pub(crate) fn after_power_cut(&self, random: &Random) -> Self {
        let mut world = self.world().clone();
        let mut draw = Draw { random, position: 0 };
        world.nodes.iter_mut().for_each(|node| node.cut(&mut draw));
        world.locked.clear();
        Self(Arc::new(Mutex::new(world))).with(Fault::Never)
    }

    /// Every file below `path` with its bytes, in order of names.
    pub(crate) fn contents(&self, path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let world = self.world();
        let mut files = Vec::new();
        let mut open = vec![(PathBuf::new(), world.find(path).expect("a directory"))];
        while let Some((path, node)) = open.pop() {
            match &world.nodes[node] {
                Node::File { bytes, .. } => files.push((path, bytes.clone())),
                Node::Directory { entries, .. } => {
                    open.extend(entries.iter().map(|(name, &node)| (path.join(name), node)));
                }
            }
        }
        files.sort();
        files
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world for one more operation, or the error that befalls it.
    fn operation(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        world.operations += 1;
        match (world.fault, world.operations - 1) {
            (Fault::PowerCut { at }, now) if now >= at => Err(io::Error::other("the power is off")),
            (Fault::Error { at, number, lasts }, now) if now == at || lasts && now > at => {
                Err(io::Error::from_raw_os_error(number))
            }
            _ => Ok(world),
        }
    }
}

/// Random numbers in order.
struct Draw<'a> {
    random: &'a Random,
    position: u64,
}

impl Draw<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.position += 1;
        self.random.bits(self.position) % bound
    }
}

impl Node {
    fn file() -> Self {
        Self::File { bytes: Vec::new(), durable: Vec::new(), pending: Vec::new() }
    }

    /// Leaves what was durable and a random part of what was not.
    fn cut(&mut self, draw: &mut Draw<'_>) {
        match self {
            Self::File { bytes, durable, pending } => {
                for (start, written) in pending.drain(..) {
                    let kind = draw.below(3);
                    if kind == 0 {
                        continue;
                    }
                    durable.resize(durable.len().max(start + written.len()), 0);
                    for (sector, piece) in written.chunks(SECTOR).enumerate() {
                        let at = start + sector * SECTOR;
                        if kind == 1 || draw.below(2) == 0 {
                            durable[at..at + piece.len()].copy_from_slice(piece);
                        }
                    }
                }
                bytes.clone_from(durable);
            }
            Self::Directory { entries, durable, pending } => {
                let kept = pending.drain(..).filter(|_| draw.below(2) == 0);
                kept.for_each(|change| change.apply(durable));
                entries.clone_from(durable);
            }
        }
    }
}

impl Change {
    fn apply(self, entries: &mut Entries) {
        match self {
            Self::Add(name, node) => drop(entries.insert(name, node)),
            Self::Remove(name) => drop(entries.remove(&name)),
            Self::Rename(from, to, node) => {
                entries.remove(&from);
                entries.insert(to, node);
            }
        }
    }
}

impl World {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        names.into_iter().try_fold(0, |node, name| match &self.nodes[node] {
            Node::Directory { entries, .. } => {
                entries.get(name.as_os_str()).copied().ok_or_else(|| ErrorKind::NotFound.into())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        })
    }

    /// The directory that holds `path`, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(usize, OsString)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        Ok((self.find(path.parent().ok_or(ErrorKind::InvalidInput)?)?, name))
    }

    fn change(&mut self, directory: usize, change: Change) -> io::Result<()> {
        match &mut self.nodes[directory] {
            Node::Directory { entries, pending, .. } => {
                change.clone().apply(entries);
                pending.push(change);
                Ok(())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let (directory, name) = self.place(path)?;
        if self.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.change(directory, Change::Add(name, node)).map(|()| node)
    }

    fn write(&mut self, node: usize, written: &[u8]) {
        if let Node::File { bytes, pending, .. } = &mut self.nodes[node] {
            pending.push((bytes.len(), written.to_vec()));
            bytes.extend_from_slice(written);
        }
    }

    /// Gives up what was written to a file and is not on the disk, as systems do when a sync fails.
    fn forget(&mut self, node: usize) {
        if let (Node::File { pending, .. }, Fault::Error { .. }) = (&mut self.nodes[node], self.fault) {
            pending.clear();
        }
    }

    fn sync(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Node::File { bytes, durable, pending } => {
                durable.clone_from(bytes);
                pending.clear();
            }
            Node::Directory { entries, durable, pending } => {
                durable.clone_from(entries);
                pending.clear();
            }
        }
    }
}

impl Storage for Simulated {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let world = self.operation()?;
        Ok(world.find(path).ok().map(|node| match &world.nodes[node] {
            Node::File { bytes, .. } => Entry::File(bytes.len() as u64),
            Node::Directory { .. } => Entry::Directory,
        }))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let world = self.operation()?;
        let is_directory = |node: &usize| matches!(world.nodes[*node], Node::Directory { .. });
        match &world.nodes[world.find(directory)?] {
            Node::Directory { entries, .. } => {
                Ok(entries.iter().map(|(name, node)| (name.clone(), is_directory(node))).collect())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let world = self.operation()?;
        match &world.nodes[world.find(path)?] {
            Node::File { bytes, .. } => {
                Ok(Box::new(Reader { storage: self.clone(), bytes: bytes.clone(), position: 0 }))
            }
            Node::Directory { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let node = self.operation()?.add(path, Node::file())?;
        Ok(Box::new(Writer { storage: self.clone(), node }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        let mut world = self.operation()?;
        let present = world.find(path);
        let node = present.or_else(|_| world.add(path, Node::file()))?;
        Ok(Box::new(Writer { storage: self.clone(), node }))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let node = Node::Directory { entries: Entries::new(), durable: Entries::new(), pending: Vec::new() };
        self.operation()?.add(path, node).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "only names within a directory are changed");
        let mut world = self.operation()?;
        let node = world.find(from)?;
        let ((directory, old), (_, new)) = (world.place(from)?, world.place(to)?);
        if world.find(to).is_ok_and(|present| matches!(world.nodes[present], Node::Directory { .. })) {
            return Err(ErrorKind::IsADirectory.into());
        }
        world.change(directory, Change::Rename(old, new, node))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.operation()?;
        let node = world.find(path)?;
        if matches!(world.nodes[node], Node::Directory { .. }) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (directory, name) = world.place(path)?;
        world.change(directory, Change::Remove(name))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.operation()?;
        match &world.nodes[world.find(path)?] {
            Node::Directory { entries, .. } if entries.is_empty() => {}
            Node::Directory { .. } => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Node::File { .. } => return Err(ErrorKind::NotADirectory.into()),
        }
        let (directory, name) = world.place(path)?;
        world.change(directory, Change::Remove(name))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.operation()?;
        let node = world.find(path)?;
        world.sync(node);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut world = self.operation()?;
        let present = world.find(path);
        let node = present.or_else(|_| world.add(path, Node::file()))?;
        let is_free = world.locked.insert(path.to_owned());
        Ok(is_free.then(|| Box::new(Held { storage: self.clone(), path: path.to_owned(), node }) as _))
    }
}

/// A file that is being read.
struct Reader {
    storage: Simulated,
    bytes: Vec<u8>,
    position: usize,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        drop(self.storage.operation()?);
        let count = (&self.bytes[self.position..]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

/// A file that is being written.
struct Writer {
    storage: Simulated,
    node: usize,
}

impl Write for Writer {
    /// A write that fails for want of room has taken half of the bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let error = match self.storage.operation() {
            Ok(mut world) => {
                world.write(self.node, bytes);
                return Ok(bytes.len());
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::StorageFull && bytes.len() > 1 {
            let half = bytes.len() / 2;
            self.storage.world().write(self.node, &bytes[..half]);
            return Ok(half);
        }
        Err(error)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputFile for Writer {
    fn sync(&mut self) -> io::Result<()> {
        match self.storage.operation() {
            Ok(mut world) => world.sync(self.node),
            Err(error) => {
                // What was not on the disk will never be, whatever a later sync says.
                self.storage.world().forget(self.node);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// A lock that is held.
#[derive(Debug)]
struct Held {
    storage: Simulated,
    path: PathBuf,
    node: usize,
}

impl Lock for Held {
    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut world = self.storage.operation()?;
        if let Node::File { bytes, .. } = &mut world.nodes[self.node] {
            bytes.clear();
        }
        world.write(self.node, text.as_bytes());
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.world().locked.remove(&self.path);
    }
}
