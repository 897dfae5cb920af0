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
//! Operations are counted as useful ones: taps outside the picture are neither computed nor
//! counted, and Winograd's algorithm is credited with those that it spares. Each figure is the best of several runs, since whatever disturbs a run makes it slower.

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

/// Length of the sums that show the peak: a tile row of A takes 8 KiB and the weights 16 KiB.
const PEAK_CHANNELS: usize = 128;

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
    println!("{:>28} {:>21} {:>21} {:>21}", "layer", "forward", "data", "weights");
    let mut totals = [0.0; 3];
    for (index, layer) in LAYERS.into_iter().enumerate() {
        let contraction = contraction::<T>(layer);
        let chosen = contraction.fastest(run.batch);
        let possible = layer.3 == 3 && T::FORMAT == Format::F32;
        for algorithm in [Algorithm::Direct, Algorithm::Winograd].into_iter().take(1 + usize::from(possible))
        {
            let contraction = contraction.with_algorithm(algorithm);
            let (useful, times) = measure::<T>(run, layer, contraction, index > 0);
            let mark = if algorithm == chosen { '*' } else { ' ' };
            let name = format!("{algorithm:?}");
            print!("{:>4}px {:>4} → {:<4} {name:>8}{mark}", layer.0, layer.1, layer.2);
            for (total, time) in totals.iter_mut().zip(times) {
                *total += if algorithm == chosen { time } else { 0.0 };
                let rate = if time > 0.0 { useful / time / 1e9 } else { 0.0 };
                print!(" {:8.2} ms {rate:4.0} {:3.0} %", time * 1e3, 100.0 * rate / peak);
            }
            println!();
        }
    }
    let sum: f64 = totals.iter().sum();
    println!(
        "{:>28} {:8.2} ms {:12.2} ms {:12.2} ms, together {:.1} ms",
        "total",
        totals[0] * 1e3,
        totals[1] * 1e3,
        totals[2] * 1e3,
        sum * 1e3
    );
}

/// GFLOP/s of a product whose operands stay in the first-level cache.
fn peak<T: Operand>(run: Run<'_>) -> f64 {
    let batch = TILE * 64 * run.pool.threads();
    let contraction = Contraction::dense(Map::new(1, 1, PEAK_CHANNELS).in_format(T::FORMAT), 2 * TILE);
    let x = vec![T::from_f32(0.5); contraction.input().len(batch)];
    let weights = vec![T::from_f32(0.25); contraction.weights_len()];
    let bias = vec![0.0; 2 * TILE];
    let mut y = vec![T::default(); contraction.output().len(batch)];
    let time =
        best(|| contraction.forward(Run { batch, ..run }, &x, &weights, &bias, false, &mut y, &mut []));
    (2 * batch * PEAK_CHANNELS * 2 * TILE) as f64 / time / 1e9
}

/// The contraction of a layer.
fn contraction<T: Operand>((side, channels, outputs, kernel): (usize, usize, usize, usize)) -> Contraction {
    let input = Map::new(side, side, channels).in_format(T::FORMAT);
    match kernel {
        0 => Contraction::dense(input, outputs),
        kernel => Contraction::convolution(input, outputs, kernel),
    }
}

/// Useful operations of a pass, and the seconds of the three passes; backward by data is left out
/// for the first layer.
fn measure<T: Operand>(
    run: Run<'_>,
    (side, channels, outputs, kernel): (usize, usize, usize, usize),
    contraction: Contraction,
    data: bool,
) -> (f64, [f64; 3]) {
    let taps = kernel.max(1) * side - (kernel.max(1) - 1);
    let useful = (2 * taps * taps * channels * outputs * run.batch) as f64;
    let mut x = vec![T::from_f32(0.5); contraction.input().len(run.batch)];
    let mut y = vec![T::from_f32(0.5); contraction.output().len(run.batch)];
    let weights = vec![T::from_f32(0.25); contraction.weights_len()];
    let mut gradient = vec![0.0; contraction.weights_len()];
    let bias = vec![0.0; contraction.output().blocks() * T::BLOCK];
    let threads = run.pool.threads();
    let scratch_len =
        contraction.scratch_len(run.batch, threads).max(contraction.forward_scratch_len(threads));
    let mut scratch = vec![T::default(); scratch_len];
    let forward = best(|| contraction.forward(run, &x, &weights, &bias, true, &mut y, &mut scratch));
    let by_weights =
        best(|| contraction.backward_weights(run, &x, &y, WeightGradient::Keep(&mut gradient), &mut scratch));
    let by_data = match data {
        true => best(|| contraction.backward_data(run, &y, &weights, &mut x, &mut scratch)),
        false => 0.0,
    };
    (useful, [forward, by_data, by_weights])
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
