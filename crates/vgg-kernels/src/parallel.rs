//! A fixed set of threads that share the tasks of one operation at a time.
//!
//! Tasks split outputs, never sums, and each task computes the same whoever runs it, so results do
//! not depend on the number of threads. Starting an operation allocates nothing.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often an idle thread looks for work before it sleeps: about 100 µs, longer than the pause
/// between two operations of a step. With more threads than cores it sleeps at once, since its
/// looking would take a core from a thread that has work.
const SPINS: usize = 4_000;

/// The largest number of threads a pool accepts.
pub const MAX_THREADS: usize = 1024;

/// The threads. The calling thread is one of them, so a pool of one has no other.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Only one operation may run at a time, whoever holds a reference to the pool.
    operation: Mutex<()>,
}

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Shared {
    /// Counts operations; a worker that sees a new number joins in.
    operation: AtomicU64,
    next_task: AtomicUsize,
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
    busy: AtomicUsize,
    spins: usize,
}

struct State {
    /// The operation that runs. The pointer is valid while `Shared::busy` is not zero.
    job: Option<Job>,
    panic: Option<Box<dyn Any + Send>>,
    stop: bool,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    tasks: usize,
}

// SAFETY: the pointer is to a `Sync` closure, and `Pool::run` keeps the closure alive until every
// worker has finished with it.
unsafe impl Send for Job {}

impl Pool {
    /// A pool of `threads` threads, the calling one included.
    ///
    /// # Errors
    /// When `threads` is 0 or above [`MAX_THREADS`], or the system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        if threads == 0 || threads > MAX_THREADS {
            let message = format!("{threads} threads cannot be used; give 1 to {MAX_THREADS}");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            operation: AtomicU64::new(0),
            next_task: AtomicUsize::new(0),
            state: Mutex::new(State { job: None, panic: None, stop: false }),
            work: Condvar::new(),
            done: Condvar::new(),
            busy: AtomicUsize::new(0),
            spins: if threads <= cores { SPINS } else { 0 },
        });
        let mut pool = Self { shared, workers: Vec::new(), operation: Mutex::new(()) };
        for worker in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("vgg-{worker}"));
            pool.workers.push(thread.spawn(move || shared.work_until_stopped(worker))?);
        }
        Ok(pool)
    }

    /// Number of threads, the calling one included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(index, worker)` once for each index below `tasks`, in any order, on any
    /// thread; `worker` is below [`Pool::threads`] and no two tasks of one call share it at the same
    /// time. A task must not start another operation on the same pool: it would wait for itself.
    ///
    /// # Panics
    /// When a task panics, after the other tasks have come to an end.
    pub(crate) fn run(&self, tasks: usize, task: &Task<'_>) {
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|index| task(index, 0));
            return;
        }
        let _operation = self.operation.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes. `wait` below returns, on every path, after the last
        // worker has finished with the closure.
        let task: *const Task<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(task)) };
        let job = Job { task, tasks };
        self.shared.start(job, self.workers.len());
        let own = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(job, 0)));
        let other = self.shared.wait();
        if let Some(panic) = own.err().or(other) {
            resume_unwind(panic);
        }
    }

    /// Cuts `values` into chunks of `chunk_len` and calls `task(index, chunk)` for each, with
    /// neighbouring chunks in runs of `run` on the same thread. A task must not start another
    /// operation on the same pool.
    ///
    /// # Panics
    /// When `values` is no multiple of `chunk_len`, or a task panics.
    pub fn for_each_chunk<T: Send>(
        &self,
        values: &mut [T],
        chunk_len: usize,
        run: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(values.len().is_multiple_of(chunk_len), "{} values, {chunk_len} a chunk", values.len());
        let chunks = values.len() / chunk_len;
        let base = SharedMut(values.as_mut_ptr());
        self.run(chunks.div_ceil(run), &|index, _worker| {
            for chunk in index * run..((index + 1) * run).min(chunks) {
                // SAFETY: every chunk lies inside `values`, belongs to one task only, and `values`
                // is borrowed for the whole operation.
                let slice = unsafe {
                    std::slice::from_raw_parts_mut(base.pointer().add(chunk * chunk_len), chunk_len)
                };
                task(chunk, slice);
            }
        });
    }

    /// Cuts two slices alike into chunks of `chunk_len`, of which the last may be shorter, and calls
    /// `task(index, first, second)` for each pair. `second` is as long as `first`, or empty: then so
    /// is each of its chunks.
    ///
    /// # Panics
    /// When the lengths do not fit, or a task panics.
    pub fn for_each_chunk_of_two<A: Send, B: Send>(
        &self,
        first: &mut [A],
        second: &mut [B],
        chunk_len: usize,
        task: impl Fn(usize, &mut [A], &mut [B]) + Sync,
    ) {
        let (first_len, second_len) = (first.len(), second.len());
        assert!(second_len == first_len || second_len == 0, "{second_len} values beside {first_len}");
        let (first, second) = (SharedMut(first.as_mut_ptr()), SharedMut(second.as_mut_ptr()));
        self.run(first_len.div_ceil(chunk_len), &|index, _worker| {
            let start = index * chunk_len;
            let len = chunk_len.min(first_len - start);
            let (second_start, second_chunk) = if second_len == 0 { (0, 0) } else { (start, len) };
            // SAFETY: both chunks lie inside their slices, which are borrowed for the whole
            // operation, and belong to this task only, since each index runs once; an empty one
            // covers nothing.
            let (first, second) = unsafe {
                (
                    std::slice::from_raw_parts_mut(first.pointer().add(start), len),
                    std::slice::from_raw_parts_mut(second.pointer().add(second_start), second_chunk),
                )
            };
            task(index, first, second);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.operation.fetch_add(1, Ordering::Release);
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so joining it cannot fail.
            let _ = worker.join();
        }
    }
}

/// A pointer that several tasks write through, each to a part of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T>(pub(crate) *mut T);

impl<T> SharedMut<T> {
    pub(crate) fn pointer(&self) -> *mut T {
        self.0
    }
}

// SAFETY: the users of `SharedMut` promise, each at its own block, that tasks write to disjoint
// parts; sending values of `T` between threads is what `T: Send` allows.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above; the pointer itself is only copied.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, job: Job, workers: usize) {
        let mut state = self.lock();
        state.job = Some(job);
        self.next_task.store(0, Ordering::Relaxed);
        self.busy.store(workers, Ordering::Relaxed);
        self.operation.fetch_add(1, Ordering::Release);
        drop(state);
        self.work.notify_all();
    }

    fn take_tasks(&self, job: Job, worker: usize) {
        loop {
            let index = self.next_task.fetch_add(1, Ordering::Relaxed);
            if index >= job.tasks {
                return;
            }
            // SAFETY: `Pool::run` keeps the closure alive until every worker is done.
            unsafe { (*job.task)(index, worker) };
        }
    }

    /// Waits for the workers and returns the panic of one of their tasks, if any.
    fn wait(&self) -> Option<Box<dyn Any + Send>> {
        for _ in 0..self.spins {
            if self.busy.load(Ordering::Acquire) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.lock();
        while self.busy.load(Ordering::Acquire) != 0 {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        state.panic.take()
    }

    fn work_until_stopped(&self, worker: usize) {
        let mut seen = 0;
        while let Some(job) = self.next_job(&mut seen) {
            let result = catch_unwind(AssertUnwindSafe(|| self.take_tasks(job, worker)));
            let mut state = self.lock();
            if let Err(panic) = result {
                state.panic = Some(panic);
            }
            if self.busy.fetch_sub(1, Ordering::Release) == 1 {
                self.done.notify_one();
            }
        }
    }

    /// Waits for an operation that this worker has not seen; `None` when the pool ends.
    fn next_job(&self, seen: &mut u64) -> Option<Job> {
        for _ in 0..self.spins {
            if self.operation.load(Ordering::Acquire) != *seen {
                break;
            }
            std::hint::spin_loop();
        }
        let mut state = self.lock();
        while self.operation.load(Ordering::Acquire) == *seen && !state.stop {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *seen = self.operation.load(Ordering::Acquire);
        if state.stop { None } else { state.job }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in 1..=4 {
            let pool = Pool::new(threads).unwrap();
            for tasks in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|index, worker| {
                    assert!(worker < threads);
                    counts[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn chunks_are_disjoint_and_complete() {
        let pool = Pool::new(3).unwrap();
        let mut values = vec![0; 35];
        pool.for_each_chunk(&mut values, 5, 2, |index, chunk| chunk.iter_mut().for_each(|v| *v += index + 1));
        let expected: Vec<usize> = (0..35).map(|i| i / 5 + 1).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_leaves_the_pool_usable() {
        let pool = Pool::new(2).unwrap();
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|index, _| assert!(index != 5, "task five fails"));
            }));
            assert!(result.is_err());
        }
        let count = AtomicUsize::new(0);
        pool.run(8, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn absurd_thread_counts_are_refused() {
        assert!(Pool::new(0).is_err());
        assert!(Pool::new(MAX_THREADS + 1).is_err());
    }
}
