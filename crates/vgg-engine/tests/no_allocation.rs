//! A training step allocates nothing after the first.

#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{PRECISIONS, engine_for, engine_without_gradients, every_layer, for_training, pictures};
use vgg_engine::{Dropout, EngineOptions, Kernels, UpdateRule};

/// Counts the calls that get memory, from any thread.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A program of its own: the threads of a test harness allocate when they please.
fn main() {
    let network = every_layer(0.4);
    let rule = UpdateRule {
        learning_rate: 0.01,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 1e-4,
        gradient_clip: f32::INFINITY,
    };
    let (images, labels) = pictures(&network, 20, 1);
    let mut logits = vec![0.0; 20 * 3];
    for (kernels, precision) in
        Kernels::available().into_iter().flat_map(|kernels| PRECISIONS.map(|precision| (kernels, precision)))
    {
        for threads in 1..=4 {
            let options = EngineOptions { averaging: true, ..for_training(precision, 20, threads) };
            let mut engine = engine_for(&network, kernels, &options);
            let mut sparing = engine_without_gradients(&network, kernels, precision, 20, threads);
            let mut step = |step| {
                engine.forward_backward(&images, &labels, Dropout { seed: 1, step }).unwrap();
                engine.update(&rule).unwrap();
                sparing.train_step(&images, &labels, Dropout { seed: 2, step }, &rule).unwrap();
                engine.average(0.1).unwrap();
                engine.swap_average().unwrap();
                engine.forward(&images, &mut logits).unwrap();
                engine.swap_average().unwrap();
            };
            step(0);
            let before = CALLS.load(Ordering::Relaxed);
            (1..12).for_each(&mut step);
            let calls = CALLS.load(Ordering::Relaxed) - before;
            assert_eq!(calls, 0, "{} with {threads} threads", kernels.tier());
        }
        println!("{} {precision:?}: a step allocates nothing after the first", kernels.tier());
    }
}
