//! GFLOP/s of every layer of the tutorial's network, pass by pass, on every tier, beside the peak
//! of the processor.
//!
//! `cargo bench -p vgg-kernels --bench layers -- [THREADS] [BATCH] [TIER…]`
//!
//! Operations are counted as useful ones: taps outside the picture are neither computed nor
//! counted. Each figure is the best of several runs, since whatever disturbs a run makes it slower.

use std::time::{Duration, Instant};
use vgg_kernels::contraction::Run;
use vgg_kernels::{Contraction, Kernels, Map, Pool, TILE, Tier, WeightGradient};

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
    for kernels in Kernels::available().into_iter().rev() {
        if !tiers.is_empty() && !tiers.contains(&kernels.tier()) {
            continue;
        }
        let run = Run { kernels: &kernels, pool: &pool, batch };
        let peak = peak(run);
        println!("\n{}, {threads} threads, batch {batch}: peak {peak:.0} GFLOP/s", kernels.tier());
        println!("{:>18} {:>21} {:>21} {:>21}", "layer", "forward", "data", "weights");
        let mut totals = [0.0; 3];
        for (index, layer) in LAYERS.into_iter().enumerate() {
            let (useful, times) = measure(run, layer, index > 0);
            print!("{:>4}px {:>4} → {:<5}", layer.0, layer.1, layer.2);
            for (total, time) in totals.iter_mut().zip(times) {
                *total += time;
                let rate = if time > 0.0 { useful / time / 1e9 } else { 0.0 };
                print!(" {:8.2} ms {rate:4.0} {:3.0} %", time * 1e3, 100.0 * rate / peak);
            }
            println!();
        }
        let sum: f64 = totals.iter().sum();
        println!(
            "{:>18} {:8.2} ms {:12.2} ms {:12.2} ms, together {:.1} ms",
            "total",
            totals[0] * 1e3,
            totals[1] * 1e3,
            totals[2] * 1e3,
            sum * 1e3
        );
    }
}

/// GFLOP/s of a product whose operands stay in the first-level cache.
fn peak(run: Run<'_>) -> f64 {
    let batch = TILE * 64 * run.pool.threads();
    let contraction = Contraction::dense(Map::new(1, 1, PEAK_CHANNELS), 2 * TILE);
    let x = vec![0.5; contraction.input().len(batch)];
    let weights = vec![0.25; contraction.weights_len()];
    let bias = vec![0.0; 2 * TILE];
    let mut y = vec![0.0; contraction.output().len(batch)];
    let time = best(|| contraction.forward(Run { batch, ..run }, &x, &weights, &bias, false, &mut y));
    (2 * batch * PEAK_CHANNELS * 2 * TILE) as f64 / time / 1e9
}

/// Useful operations of a pass, and the seconds of the three passes; backward by data is left out
/// for the first layer.
fn measure(
    run: Run<'_>,
    (side, channels, outputs, kernel): (usize, usize, usize, usize),
    data: bool,
) -> (f64, [f64; 3]) {
    let input = Map::new(side, side, channels);
    let contraction = match kernel {
        0 => Contraction::dense(input, outputs),
        kernel => Contraction::convolution(input, outputs, kernel),
    };
    let taps = kernel.max(1) * side - (kernel.max(1) - 1);
    let useful = (2 * taps * taps * channels * outputs * run.batch) as f64;
    let mut x = vec![0.5; contraction.input().len(run.batch)];
    let mut y = vec![0.5; contraction.output().len(run.batch)];
    let weights = vec![0.25; contraction.weights_len()];
    let mut gradient = weights.clone();
    let bias = vec![0.0; contraction.output().blocks() * TILE];
    let mut scratch = vec![0.0; contraction.scratch_len(run.batch, run.pool.threads())];
    let forward = best(|| contraction.forward(run, &x, &weights, &bias, true, &mut y));
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
