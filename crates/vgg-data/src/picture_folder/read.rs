//! Reading the pictures of a plan, with a few threads and the same result for any number of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;

use super::plan::{Picture, Plan};
use super::{LARGEST_SIDE, USUAL_SIZE};
use crate::dataset::{Dataset, Splits};
use crate::error::{DataError, ErrorKind};
use crate::listing::Listing;
use crate::memory;
use crate::options::{DataOptions, Loading, Progress, Unit};
use crate::picture::{self, Header};

/// More threads are of little use: pictures come from a disk.
const MOST_THREADS: usize = 4;

/// Pictures that take more memory are read one at a time, so that all threads together keep to what one
/// may take.
const LARGE: u64 = picture::MOST_MEMORY / MOST_THREADS as u64;

/// Files that are longer are opened one at a time: a decoder copies what is in them.
const LONG_FILE: u64 = 2 << 20;

/// From one report of progress to the next.
const REPORT_EVERY: u64 = 64;

/// Reads all pictures in `folder`; `name` is what the data are called.
pub(crate) fn open(
    folder: &Path,
    listing: &Listing,
    name: &str,
    options: &DataOptions,
) -> Result<Splits, DataError> {
    let mut plan = Plan::new(folder, listing, options)?;
    plan.check_classes()?;
    plan.read(name, options, None)
}

impl Plan {
    /// Reads the pictures. Without a place to put faults, the first picture that cannot be read ends it;
    /// with one, such pictures are taken out of the plan.
    ///
    /// # Errors
    /// Pictures that cannot be read, that there is not enough memory for, or of which none are left.
    pub(crate) fn read(
        &mut self,
        name: &str,
        options: &DataOptions,
        mut faults: Option<&mut Vec<DataError>>,
    ) -> Result<Splits, DataError> {
        let headers = self.read_headers(&options.progress, &mut faults)?;
        let all = || headers.iter().flatten();
        let [height, width] = self.choose_size(all(), options.image_size);
        let channels = self.choose_channels(all(), options.channels)?;
        let bytes = memory::check(name, all().count(), [height, width, channels])?;

        let reader = Reader::new("reading pictures", &options.progress, all().count());
        let mut datasets = Vec::new();
        for (part, headers) in self.parts.iter_mut().zip(&headers) {
            let mut pixels = memory::zeros(name, part.len() * bytes)?;
            let items = part.iter().zip(headers).zip(pixels.chunks_exact_mut(bytes));
            let failed = reader.run(items, faults.is_none(), |((picture, header), place)| {
                options.progress.check(reader.task)?;
                reader.alone_if(header.memory > LARGE, || {
                    let (read, _) = picture::read_picture(&picture.path, height, width, channels)?;
                    place.copy_from_slice(&read);
                    Ok(())
                })
            });
            let failed = take_faults(failed, &mut faults)?;
            leave_out(part, &failed);
            if !failed.is_empty() {
                let kept =
                    pixels.chunks_exact(bytes).enumerate().filter(|(index, _)| !failed.contains(index));
                pixels = kept.flat_map(|(_, picture)| picture).copied().collect();
            }
            let labels = part.iter().map(|picture| picture.label).collect();
            datasets.push(Dataset::new(pixels, labels, [height, width, channels], self.class_names.clone())?);
        }
        let [train, validation, test] = <[Dataset; 3]>::try_from(datasets).expect("a plan has three parts");
        let mut splits = Splits::new(name, train, validation, test);
        splits.seeded = self.seeded;
        splits.notes.clone_from(&self.notes);
        Ok(splits)
    }

    /// The headers of all pictures, in the order of the parts.
    fn read_headers(
        &mut self,
        progress: &Progress,
        faults: &mut Option<&mut Vec<DataError>>,
    ) -> Result<[Vec<Header>; 3], DataError> {
        let total = self.parts.iter().map(Vec::len).sum();
        let reader = Reader::new("looking at pictures", progress, total);
        let mut headers = [const { Vec::new() }; 3];
        for (part, headers) in self.parts.iter_mut().zip(&mut headers) {
            let mut found: Vec<Option<Header>> = vec![None; part.len()];
            let failed = reader.run(part.iter().zip(&mut found), faults.is_none(), |(picture, place)| {
                progress.check(reader.task)?;
                // What has no length cannot be read; reading says why.
                let length = std::fs::metadata(&picture.path).map_or(0, |metadata| metadata.len());
                let header = || picture::read_header(&picture.path);
                *place = Some(reader.alone_if(length > LONG_FILE, header)?);
                Ok(())
            });
            leave_out(part, &take_faults(failed, faults)?);
            *headers = found.into_iter().flatten().collect();
        }
        Ok(headers)
    }

    /// The size that is wanted, or that the pictures have in common; when there is none or it is too large,
    /// another. With a note when pictures are changed.
    fn choose_size<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a Header>,
        wanted: Option<[usize; 2]>,
    ) -> [usize; 2] {
        let mut sizes: Vec<[usize; 2]> = headers.map(|header| header.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let size = match (wanted, &sizes[..]) {
            (Some(size), _) => size,
            (None, &[[height, width]]) if height.max(width) <= LARGEST_SIDE => [height, width],
            (None, _) => USUAL_SIZE,
        };
        let found = match sizes[..] {
            [common] if common == size => return size,
            [[height, width]] => format!("are {height}x{width}"),
            _ => format!("have {} sizes", sizes.len()),
        };
        let [height, width] = size;
        let another = if wanted.is_none() { "; --image-size gives another" } else { "" };
        self.notes.push(format!(
            "the pictures {found} (height x width) and were brought to {height}x{width}{another}"
        ));
        size
    }

    /// The values per pixel that are wanted, or 3 if one of the pictures has colour; with a note when
    /// pictures lose it, or when all gain what they do not have.
    fn choose_channels<'a>(
        &mut self,
        mut headers: impl Iterator<Item = &'a Header>,
        wanted: Option<usize>,
    ) -> Result<usize, DataError> {
        let found = if headers.any(|header| header.channels == 3) { 3 } else { 1 };
        match (wanted.unwrap_or(found), found) {
            (1, 3) => self.notes.push("the pictures have colour and were made grey, as was wanted".into()),
            (3, 1) => self.notes.push("the pictures are grey and were given three equal channels".into()),
            (1 | 3, _) => {}
            (channels, _) => {
                let cause = format!("{channels} values per pixel, expected 1 for grey or 3 for colour");
                return Err(DataError::argument(
                    "channels",
                    cause,
                    "use a network for grey or colour pictures",
                ));
            }
        }
        Ok(wanted.unwrap_or(found))
    }
}

/// Hands pictures to threads, and tells how far they are.
struct Reader<'a> {
    task: &'static str,
    progress: &'a Progress,
    done: AtomicU64,
    total: u64,
    gate: RwLock<()>,
}

impl<'a> Reader<'a> {
    fn new(task: &'static str, progress: &'a Progress, total: usize) -> Self {
        Self { task, progress, done: AtomicU64::new(0), total: total as u64, gate: RwLock::new(()) }
    }

    /// Calls `read` with every item, which are taken in their order, and gives what failed in that order.
    /// `stop` takes no more items after the first failure: it is then the first of all.
    fn run<T: Send>(
        &self,
        items: impl Iterator<Item = T> + Send,
        stop: bool,
        read: impl Fn(T) -> Result<(), DataError> + Sync,
    ) -> Vec<(usize, DataError)> {
        let items = Mutex::new(items.enumerate());
        let (failed, stopped) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while !stopped.load(Ordering::Relaxed)
                && let Some((index, item)) = next()
            {
                if let Err(error) = read(item) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push((index, error));
                    stopped.store(stop, Ordering::Relaxed);
                }
                self.count();
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        thread::scope(|scope| {
            // Where the system gives no more threads, those that are there do the work.
            (1..threads).for_each(|_| drop(thread::Builder::new().spawn_scoped(scope, work)));
            work();
        });
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort_by_key(|(index, _)| *index);
        failed
    }

    /// Calls `read` while no other thread reads, or together with others.
    fn alone_if<R>(&self, alone: bool, read: impl FnOnce() -> R) -> R {
        if alone {
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            read()
        } else {
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            read()
        }
    }

    fn count(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(REPORT_EVERY) || done == self.total {
            self.progress.tell(&Loading { task: self.task, done, total: self.total, unit: Unit::Pictures });
        }
    }
}

/// Puts failures where faults are collected, and gives the places of what failed; without such a place
/// the first failure is the error. An interrupt is no fault of a picture, and always an error.
fn take_faults(
    failed: Vec<(usize, DataError)>,
    faults: &mut Option<&mut Vec<DataError>>,
) -> Result<Vec<usize>, DataError> {
    let interrupted = |(_, error): &&(usize, DataError)| error.kind() == ErrorKind::Interrupted;
    if let Some((_, error)) = failed.iter().find(interrupted) {
        return Err(error.clone());
    }
    let Some(faults) = faults else {
        return failed.into_iter().next().map_or(Ok(Vec::new()), |(_, error)| Err(error));
    };
    let (places, errors): (Vec<usize>, Vec<DataError>) = failed.into_iter().unzip();
    faults.extend(errors);
    Ok(places)
}

/// Removes the pictures in these places, which are in order.
fn leave_out(pictures: &mut Vec<Picture>, places: &[usize]) {
    let mut index = 0;
    pictures.retain(|_| {
        index += 1;
        places.binary_search(&(index - 1)).is_err()
    });
}
