//! GFLOP/s of every layer of the tutorial's network, pass by pass, on every tier and in every format,
//! beside the peak of the processor.
//!
//! `cargo bench -p vgg-kernels --bench layers -- [THREADS] [BATCH] [TIER…] [FORMAT…]`
//!
//! Without tiers and formats, `f32` runs on every tier and bf16 on those that multiply it.
//!
//! 3×3 convolutions of `f32` run directly and with Winograd's algorithm; a star marks the one that
//! the shapes choose, which is the one in the total.
//!
//! For each pass: milliseconds, GFLOP/s, share of the peak, and the megabytes of its operands and its
//! result. Operations are counted as useful ones: taps outside the picture are neither computed nor
//! counted, and Winograd's algorithm is credited with those that it spares. Each figure is the best
//! of several runs, since whatever disturbs a run makes it slower.

#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};
use vgg_kernels::contraction::{Algorithm, Run};
use vgg_kernels::{Bf16, Contraction, Format, Kernels, Map, Operand, Pool, TILE, Tier, WeightGradient};

/// Side, input channels, output channels, window; window 0 is a dense layer. The first layer's
/// windows are gathered, so it is a 1×1 convolution of nine channels.
const LAYERS: [(usize, usize, usize, usize); 14] = [
    (28, 9, 64, 1),
    (28, 64, 64, 3),
    (14, 64, 128, 3),
    (14, 128, 128, 3),
    (7, 128, 256, 3),
    (7, 256, 256, 3),
    (4, 256, 512, 3),
    (4, 512, 512, 3),
    (2, 512, 512, 3),
    (2, 512, 512, 3),
    (1, 512, 4096, 0),
    (1, 4096, 4096, 0),
    (1, 4096, 1000, 0),
    (1, 1000, 10, 0),
];

/// How long one pass of one layer is measured.
const TIME: Duration = Duration::from_millis(400);

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = numbers.first().copied().unwrap_or(cores);
    let batch = numbers.get(1).copied().unwrap_or(100);
    let pool = Pool::new(threads).expect("a number of threads from the command line that the system allows");
    let tiers: Vec<Tier> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let named = |format: Format| std::env::args().any(|argument| argument == format.name());
    let formats: Vec<Format> = Format::ALL.into_iter().filter(|&format| named(format)).collect();
    for kernels in Kernels::available().into_iter().rev() {
        let tier = kernels.tier();
        let run = Run { kernels: &kernels, pool: &pool, batch };
        for format in Format::ALL {
            let native = format == Format::F32 || tier.multiplies_bf16();
            let wanted = if formats.is_empty() { native } else { formats.contains(&format) };
            match format {
                _ if !wanted || !tiers.is_empty() && !tiers.contains(&tier) => {}
                Format::F32 => table::<f32>(run),
                Format::Bf16 => table::<Bf16>(run),
            }
        }
    }
}

/// Measures and prints all layers in one format.
fn table<T: Operand>(run: Run<'_>) {
    let peak = peak::<T>(run);
    let (tier, threads) = (run.kernels.tier(), run.pool.threads());
    println!("\n{tier}, {}, {threads} threads, batch {}: peak {peak:.0} GFLOP/s", T::FORMAT, run.batch);
    println!("{:>28} {:>29} {:>29} {:>29}", "layer", "forward", "data", "weights");
    let mut totals = [0.0; 3];
    for (index, layer) in LAYERS.into_iter().enumerate() {
        let contraction = contraction::<T>(layer);
        let chosen = contraction.fastest(run.batch);
        let possible = layer.3 == 3 && T::FORMAT == Format::F32;
        for algorithm in [Algorithm::Direct, Algorithm::Winograd].into_iter().take(1 + usize::from(possible))
        {
            let contraction = contraction.with_algorithm(algorithm);
            let measured = measure::<T>(run, layer, contraction, index > 0);
            let mark = if algorithm == chosen { '*' } else { ' ' };
            let name = format!("{algorithm:?}");
            print!("{:>4}px {:>4} → {:<4} {name:>8}{mark}", layer.0, layer.1, layer.2);
            for ((total, time), bytes) in totals.iter_mut().zip(measured.seconds).zip(measured.bytes) {
                *total += if algorithm == chosen { time } else { 0.0 };
                let rate = if time > 0.0 { measured.useful / time / 1e9 } else { 0.0 };
                let share = 100.0 * rate / peak;
                print!(" {:8.2} ms {rate:5.0} {share:3.0} % {:3.0} MB", time * 1e3, bytes / 1e6);
            }
            println!();
        }
    }
    let sum: f64 = totals.iter().sum();
    println!(
        "{:>28} {:8.2} ms {:26.2} ms {:26.2} ms, together {:.1} ms",
        "total",
        totals[0] * 1e3,
        totals[1] * 1e3,
        totals[2] * 1e3,
        sum * 1e3
    );
}

/// GFLOP/s of a dense layer whose operands stay in a core's second-level cache. In bf16 its sums are
/// longer, since there the conversion of short ones would show.
fn peak<T: Operand>(run: Run<'_>) -> f64 {
    let (batch, outputs) = (16 * TILE * run.pool.threads(), 8 * TILE);
    let channels = T::BLOCK / 2 * T::BLOCK;
    let contraction = Contraction::dense(Map::new(1, 1, channels).in_format(T::FORMAT), outputs);
    let x = filled(T::from_f32(0.5), contraction.input().len(batch));
    let weights = filled(T::from_f32(0.25), contraction.weights_len());
    let bias = filled(0.0, outputs);
    let mut y = filled(T::default(), contraction.output().len(batch));
    let time =
        best(|| contraction.forward(Run { batch, ..run }, &x, &weights, &bias, false, &mut y, &mut []));
    (2 * batch * channels * outputs) as f64 / time / 1e9
}

/// The contraction of a layer.
fn contraction<T: Operand>((side, channels, outputs, kernel): (usize, usize, usize, usize)) -> Contraction {
    let input = Map::new(side, side, channels).in_format(T::FORMAT);
    match kernel {
        0 => Contraction::dense(input, outputs),
        kernel => Contraction::convolution(input, outputs, kernel),
    }
}

/// What a layer took.
struct Measured {
    /// Operations of a pass.
    useful: f64,
    /// Forward, backward by data (0 for the first layer, which has none), backward by weights.
    seconds: [f64; 3],
    /// Operands and results of each.
    bytes: [f64; 3],
}

/// Measures the passes of a layer.
fn measure<T: Operand>(
    run: Run<'_>,
    (side, channels, outputs, kernel): (usize, usize, usize, usize),
    contraction: Contraction,
    data: bool,
) -> Measured {
    let taps = kernel.max(1) * side - (kernel.max(1) - 1);
    let useful = (2 * taps * taps * channels * outputs * run.batch) as f64;
    let mut x = filled(T::from_f32(0.5), contraction.input().len(run.batch));
    let mut y = filled(T::from_f32(0.5), contraction.output().len(run.batch));
    let weights = filled(T::from_f32(0.25), contraction.weights_len());
    let mut gradient = filled(0.0, contraction.weights_len());
    let bias = filled(0.0, contraction.output().blocks() * T::BLOCK);
    let threads = run.pool.threads();
    let scratch_len =
        contraction.scratch_len(run.batch, threads).max(contraction.forward_scratch_len(threads));
    let mut scratch = filled(T::default(), scratch_len);
    let forward = best(|| contraction.forward(run, &x, &weights, &bias, true, &mut y, &mut scratch));
    let by_weights =
        best(|| contraction.backward_weights(run, &x, &y, WeightGradient::Keep(&mut gradient), &mut scratch));
    let by_data = match data {
        true => best(|| contraction.backward_data(run, &y, &weights, &mut x, &mut scratch)),
        false => 0.0,
    };
    let bytes =
        |weight: usize| (x.len() + y.len()) as f64 * size_of::<T>() as f64 + (weights.len() * weight) as f64;
    Measured {
        useful,
        seconds: [forward, by_data, by_weights],
        bytes: [bytes(size_of::<T>()), bytes(size_of::<T>()), bytes(size_of::<f32>())],
    }
}

/// Values that start with a cache line, as in the engine's arena.
struct Values<T> {
    memory: Vec<T>,
    start: usize,
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.memory[self.start..]
    }
}

impl<T> DerefMut for Values<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..]
    }
}

/// Values on huge pages where the system has them, as in the engine's arena.
fn filled<T: Copy>(value: T, len: usize) -> Values<T> {
    let mut memory = Vec::with_capacity(len + 64 / size_of::<T>());
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        let start = (memory.as_ptr() as usize).next_multiple_of(4096);
        let end = memory.as_ptr() as usize + len * size_of::<T>();
        // SAFETY: the pages hold the vector; the advice changes no contents, neither there nor in what
        // else may lie on the last page.
        unsafe { libc::madvise(start as *mut _, end.saturating_sub(start), libc::MADV_HUGEPAGE) };
    }
    let start = (memory.as_ptr() as usize).wrapping_neg() % 64 / size_of::<T>();
    memory.resize(start + len, value);
    Values { memory, start }
}

/// Seconds of the fastest of the runs that fit in [`TIME`], at least three.
fn best(mut run: impl FnMut()) -> f64 {
    let (start, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || start.elapsed() < TIME {
        let before = Instant::now();
        run();
        best = best.min(before.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
