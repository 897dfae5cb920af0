//! No kernel reads or writes outside of its slices: every operation runs on every tier with each slice
//! ending at a page that cannot be touched, then with each slice beginning behind one. What strays
//! kills the process.
//!
//! AddressSanitizer finds the same in what the compiler emits, but knows nothing of inline assembly,
//! which the products on AMX are.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::AtomicBool;
use vgg_kernels::contraction::{Algorithm, Apply, Run};
use vgg_kernels::loss::Objective;
use vgg_kernels::normalisation::LrnConstants;
use vgg_kernels::update::Sgd;
use vgg_kernels::{
    Bf16, Contraction, Element, Format, Kernels, Map, Operand, Pool, WeightGradient, WeightLayout, gather,
    loss, normalisation, pointwise, pooling, update,
};

/// Which end of a slice is next to a page that cannot be touched.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Start,
    End,
}

/// Values in pages of their own, between two that cannot be touched.
struct Guarded<T> {
    pages: *mut libc::c_void,
    bytes: usize,
    first: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    fn new(edge: Edge, values: &[T]) -> Self {
        // SAFETY: the call reads a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inside = size_of_val(values).next_multiple_of(page);
        let bytes = inside + 2 * page;
        // SAFETY: new pages at an address of the system's choice; the two at the ends are given up
        // before anything points into them. The values lie inside the others and are aligned, since a
        // page and the size of a value are multiples of their alignment.
        unsafe {
            let (flags, any) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, std::ptr::null_mut());
            let pages = libc::mmap(any, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            for guard in [pages, pages.byte_add(page + inside)] {
                assert_eq!(libc::mprotect(guard, page, libc::PROT_NONE), 0);
            }
            let offset = match edge {
                Edge::Start => page,
                Edge::End => page + inside - size_of_val(values),
            };
            let first: *mut T = pages.byte_add(offset).cast();
            first.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { pages, bytes, first, len: values.len() }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote `len` values here, in pages that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.first, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the pages are ours, and nobody points into them any more.
        unsafe { libc::munmap(self.pages, self.bytes) };
    }
}

/// Makes guarded slices of numbers.
struct Numbers {
    edge: Edge,
    state: u32,
}

impl Numbers {
    /// `len` numbers between −1 and 1.
    fn of<T: Element>(&mut self, len: usize) -> Guarded<T> {
        let mut next = || {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::from_f32((self.state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        let values: Vec<T> = (0..len).map(|_| next()).collect();
        Guarded::new(self.edge, &values)
    }

    /// `len` bytes.
    fn bytes(&mut self, len: usize) -> Guarded<u8> {
        let values: Vec<u8> = self.of::<f32>(len).iter().map(|value| value.to_bits() as u8).collect();
        Guarded::new(self.edge, &values)
    }

    /// Weights in packed form, and as products of `T` read them.
    fn weights<T: Operand>(&mut self, run: Run<'_>, layout: &WeightLayout) -> (Guarded<f32>, Guarded<T>) {
        let plain = self.of::<f32>(layout.plain_len());
        let mut packed = self.of::<f32>(layout.packed_len());
        layout.pack(&plain, &mut packed);
        let mut pairs = Guarded::new(self.edge, &vec![Bf16(0); packed.len()]);
        if T::FORMAT == Format::Bf16 {
            update::pack_operands(run.kernels, run.pool, &packed, &mut pairs);
        }
        let operands: Vec<T> = match T::FORMAT {
            Format::F32 => packed.iter().map(|&value| T::from_f32(value)).collect(),
            Format::Bf16 => pairs.iter().map(|value| T::from_f32(value.to_f32())).collect(),
        };
        (packed, Guarded::new(self.edge, &operands))
    }
}

const RULE: Sgd = Sgd {
    learning_rate: 0.1,
    momentum: 0.9,
    nesterov: true,
    weight_decay: 0.01,
    gradient_clip: f32::INFINITY,
};

/// Every pass of a convolution or, with kernel 0, of a dense layer.
fn contraction<T: Operand>(
    run: Run<'_>,
    edge: Edge,
    input: Map,
    outputs: usize,
    kernel: usize,
    algorithm: Algorithm,
) {
    let mut numbers = Numbers { edge, state: 1 };
    let input = input.in_format(T::FORMAT);
    let direct = match kernel {
        0 => Contraction::dense(input, outputs),
        kernel => Contraction::convolution(input, outputs, kernel),
    };
    if algorithm == Algorithm::Winograd && (kernel != 3 || T::FORMAT == Format::Bf16 || input.group == 1) {
        return;
    }
    let contraction = direct.with_algorithm(algorithm);
    let positions = if kernel == 0 { input.pixels() } else { kernel * kernel };
    let layout =
        WeightLayout { outputs, channels: input.channels, positions, gathered: false, format: T::FORMAT };
    let (batch, threads) = (run.batch, run.pool.threads());
    let gradient_map = contraction.output().in_format(T::FORMAT);
    let x = numbers.of::<T>(contraction.input().len(batch));
    let (mut weights, operands) = numbers.weights::<T>(run, &layout);
    let bias = numbers.of::<f32>(gradient_map.blocks() * T::BLOCK);
    let mut y = numbers.of::<T>(gradient_map.len(batch));
    let mut scratch = numbers.of::<T>(contraction.forward_scratch_len(threads));
    contraction.forward(run, &x, &operands, &bias, true, &mut y, &mut scratch);
    let mut logits = numbers.of::<f32>(contraction.output().in_format(Format::F32).len(batch));
    contraction.logits(run, &x, &operands, &bias, &mut logits);
    if input.group == 1 {
        return;
    }
    let dy = numbers.of::<T>(gradient_map.len(batch));
    let mut dx = numbers.of::<T>(contraction.input().len(batch));
    let mut scratch = numbers.of::<T>(contraction.scratch_len(batch, threads));
    contraction.backward_data(run, &dy, &operands, &mut dx, &mut scratch);
    let mut gradient = numbers.of::<f32>(layout.packed_len());
    contraction.backward_weights(run, &x, &dy, WeightGradient::Keep(&mut gradient), &mut scratch);
    let mut velocity = numbers.of::<f32>(layout.packed_len());
    let mut partial = numbers.of::<f32>(contraction.partial_len(batch));
    let mut pairs = numbers.of::<Bf16>(if T::FORMAT == Format::Bf16 { layout.packed_len() } else { 0 });
    let apply = Apply {
        rule: &RULE,
        weights: &mut weights,
        velocity: &mut velocity,
        operands: &mut pairs,
        partial: &mut partial,
        diverged: &AtomicBool::new(false),
    };
    contraction.backward_weights(run, &x, &dy, WeightGradient::Apply(apply), &mut scratch);
}

/// Every operation on values of a map.
fn pointwise_operations<T: Element>(run: Run<'_>, edge: Edge, map: Map) {
    let mut numbers = Numbers { edge, state: 2 };
    let Run { kernels, pool, batch } = run;
    let map = map.in_format(T::FORMAT);
    let (len, pooled) = (map.len(batch), pooling::output(map));
    let x = numbers.of::<T>(len);
    let (mut dx, mut y) = (numbers.of::<T>(len), numbers.of::<T>(pooled.len(batch)));
    let mut argmax = numbers.bytes(y.len());
    pooling::forward(kernels, pool, batch, map, &x, &mut y, Some(&mut argmax));
    pooling::backward(kernels, pool, batch, map, &y, &argmax, &mut dx);

    let constants = LrnConstants { size: 5, k: 2.0, alpha: 1e-4, beta: 0.75 };
    let (mut normal, dy) = (numbers.of::<T>(len), numbers.of::<T>(len));
    normalisation::forward(kernels, pool, batch, map, &constants, &x, &mut normal);
    normalisation::backward(kernels, pool, batch, map, &constants, &x, &dy, &mut dx);

    let mut bias = numbers.of::<f32>(map.blocks() * T::BLOCK);
    pointwise::relu_backward(kernels, pool, batch, map, &x, &mut dx, &mut bias);
    pointwise::bias_gradient(kernels, pool, batch, map, &dx, &mut bias);
    let keep = numbers.bytes(len);
    pointwise::scale_kept(kernels, pool, &keep, 2.0, &mut dx);

    let picture = Map::new(map.height, map.width, 3);
    let images = numbers.bytes(batch * picture.pixels() * picture.channels);
    let mut patches = numbers.of::<T>(gather::patches_map(picture, 3, T::FORMAT).len(batch));
    let mut table = numbers.of::<T>(3 * gather::BYTES);
    gather::fill_table(&[0.1, 0.2, 0.3], &[1.0, 0.5, 0.2], &mut table);
    gather::gather(run, picture, 3, &table, &images, &mut patches);

    let classes = Map::new(1, 1, map.channels);
    let logits = numbers.of::<f32>(classes.len(batch));
    let labels = Guarded::new(edge, &vec![0u32; batch]);
    let mut gradient = numbers.of::<T>(classes.in_format(T::FORMAT).len(batch));
    let weights = numbers.of::<f32>(classes.channels);
    let objective = Objective { label_smoothing: 0.1, class_weights: Some(&weights) };
    let sum = loss::softmax_cross_entropy(batch, classes, &logits, &labels, objective, Some(&mut gradient));
    assert!(sum.loss.is_finite());
}

/// An update of weights that fill no chunk, with and without what it may come with.
fn updates(run: Run<'_>, edge: Edge, len: usize) {
    let mut numbers = Numbers { edge, state: 3 };
    let (mut weights, gradient) = (numbers.of::<f32>(len), numbers.of::<f32>(len));
    let (mut velocity, mut operands) = (numbers.of::<f32>(len), numbers.of::<Bf16>(len));
    update::sgd(run.kernels, run.pool, &RULE, &mut weights, &gradient, None, None);
    let mut mean = numbers.of::<f32>(len);
    update::average(run.kernels, run.pool, 0.5, &weights, &mut mean);
    update::exchange(run.pool, &mut weights, &mut mean);
    update::sgd(run.kernels, run.pool, &RULE, &mut weights, &gradient, Some(&mut velocity), None);
    if len.is_multiple_of(Bf16::TILE_LEN) {
        let (velocity, operands) = (Some(&mut *velocity), Some(&mut *operands));
        update::sgd(run.kernels, run.pool, &RULE, &mut weights, &gradient, velocity, operands);
    }
}

/// Runs `operation` on every tier, next to both edges, for some sizes of a batch.
fn everywhere(batches: &[usize], operation: impl Fn(Run<'_>, Edge)) {
    let pool = Pool::new(2).unwrap();
    for kernels in Kernels::available() {
        for &batch in batches {
            for edge in [Edge::End, Edge::Start] {
                operation(Run { kernels: &kernels, pool: &pool, batch }, edge);
            }
        }
    }
}

#[test]
fn contractions_stay_inside_their_slices() {
    let shapes = [
        (1, 1, 1, 1, 3),
        (2, 5, 33, 17, 3),
        (7, 7, 20, 64, 3),
        (4, 3, 300, 40, 3),
        (5, 4, 9, 65, 1),
        (1, 1, 100, 10, 0),
        (3, 2, 40, 70, 0),
        (1, 40, 16, 32, 3),
    ];
    everywhere(&[1, 5, 16, 33], |run, edge| {
        for (height, width, channels, outputs, kernel) in shapes {
            let map = Map::new(height, width, channels);
            for map in [map, map.of_single_pictures()] {
                for algorithm in [Algorithm::Direct, Algorithm::Winograd] {
                    contraction::<f32>(run, edge, map, outputs, kernel, algorithm);
                    contraction::<Bf16>(run, edge, map, outputs, kernel, algorithm);
                }
            }
        }
    });
}

#[test]
fn other_operations_stay_inside_their_slices() {
    everywhere(&[1, 5, 16, 33], |run, edge| {
        for (height, width, channels) in [(1, 1, 1), (2, 5, 33), (7, 7, 20), (4, 3, 300)] {
            pointwise_operations::<f32>(run, edge, Map::new(height, width, channels));
            pointwise_operations::<Bf16>(run, edge, Map::new(height, width, channels));
        }
        [1, 100, 512, 8192 + 512, 20_000].into_iter().for_each(|len| updates(run, edge, len));
    });
}

/// What the other tests rely on: a read next to the slice, on either side, kills the process.
#[test]
fn what_strays_is_killed() {
    for edge in ["start", "end"] {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "strays", "--ignored"])
            .env("VGG_STRAY", edge)
            .env("ASAN_OPTIONS", "handle_segv=0")
            .output()
            .unwrap()
            .status;
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{edge}: {status}");
    }
}

#[test]
#[ignore = "kills its process; what_strays_is_killed runs it in another"]
fn strays() {
    let start = std::env::var("VGG_STRAY").is_ok_and(|edge| edge == "start");
    let values = Guarded::new(if start { Edge::Start } else { Edge::End }, &[1.0f32; 100]);
    let next = if start { values.as_ptr().wrapping_sub(1) } else { values.as_ptr().wrapping_add(100) };
    // SAFETY: the page next to the values is mapped but not readable, so the processor stops the read.
    unsafe { next.read_volatile() };
}
