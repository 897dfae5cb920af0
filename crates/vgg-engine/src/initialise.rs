//! Values of parameters at the start.

use vgg_arch::random::unit;
use vgg_arch::{Initialiser, Parameter, Purpose, Random};
use vgg_kernels::Pool;

/// Blocks of four random numbers that a thread draws at a time.
const BLOCKS: usize = 1024;

/// Fills `values` for `parameter`, which is number `index` of its network. Biases become zero.
pub(crate) fn fill(
    pool: &Pool,
    parameter: &Parameter,
    index: usize,
    initialiser: Initialiser,
    seed: u64,
    values: &mut [f32],
) {
    if parameter.is_bias() {
        values.fill(0.0);
        return;
    }
    let random = Random::new(seed, Purpose::Initialisation, index as u64);
    let (fan_in, fan_out) = (parameter.fan_in() as f64, parameter.fan_out() as f64);
    let draw = |block: usize| match initialiser {
        Initialiser::GlorotUniform => {
            let limit = (6.0 / (fan_in + fan_out)).sqrt() as f32;
            random.block(block as u64).map(|bits| (2.0 * unit(bits) - 1.0) * limit)
        }
        Initialiser::HeNormal => {
            let deviation = (2.0 / fan_in).sqrt() as f32;
            random.normals(block as u64).map(|normal| normal * deviation)
        }
    };
    pool.for_each_chunk_of_two(values, &mut [(); 0], 4 * BLOCKS, |chunk, values, _| {
        for (block, values) in values.chunks_mut(4).enumerate() {
            values.copy_from_slice(&draw(chunk * BLOCKS + block)[..values.len()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgg_arch::{Network, Shape};

    #[test]
    fn variances_are_those_of_the_papers() {
        let pool = Pool::new(2).unwrap();
        let network = Network::new("vgg13", "tutorial", Shape::new(28, 28, 1), 10).unwrap();
        // features.2: 64 channels to 64, so fan_in = fan_out = 576 and both variances are known.
        let parameter = &network.parameters()[2];
        let mut values = vec![0.0; parameter.len()];
        for (initialiser, variance) in
            [(Initialiser::GlorotUniform, 2.0 / (576.0 + 576.0)), (Initialiser::HeNormal, 2.0 / 576.0)]
        {
            fill(&pool, parameter, 2, initialiser, 7, &mut values);
            let sum: f64 = values.iter().map(|v| f64::from(v * v)).sum();
            let ratio = sum / values.len() as f64 / variance;
            assert!((0.98..1.02).contains(&ratio), "{initialiser:?}: {ratio}");
        }
        // features.22 has as many weights as features.20, and other values.
        let [mut one, mut other] = [vec![0.0; 100], vec![0.0; 100]];
        fill(&pool, &network.parameters()[16], 16, Initialiser::HeNormal, 7, &mut one);
        fill(&pool, &network.parameters()[18], 18, Initialiser::HeNormal, 7, &mut other);
        assert_eq!(network.parameters()[16].shape, network.parameters()[18].shape);
        assert_ne!(one, other);
        fill(&pool, &network.parameters()[3], 3, Initialiser::HeNormal, 7, &mut values[..64]);
        assert!(values[..64].iter().all(|v| *v == 0.0));
    }
}
