//! Random numbers of a seed.

/// xoshiro256++ (Blackman and Vigna), seeded by splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut counter = seed;
        let mut next = || {
            counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = counter;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self {
            state: [next(), next(), next(), next()],
        }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Evenly from 0 to below 1.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Factors of dropout at this rate: 0 for what is dropped, and for the rest what makes up for
    /// it.
    pub(crate) fn kept(&mut self, rate: f32) -> impl Iterator<Item = f32> {
        let scale = if rate < 1.0 { 1.0 / (1.0 - rate) } else { 0.0 };
        std::iter::repeat_with(move || if self.uniform() >= rate { scale } else { 0.0 })
    }

    /// From the normal distribution of mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.uniform())).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' C code gives these numbers from the state 1, 2, 3, 4.
    #[test]
    fn it_is_xoshiro256() {
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        assert_eq!(random.bits(), 41_943_041);
        assert_eq!(random.bits(), 58_720_359);
        assert_eq!(random.bits(), 3_588_806_011_781_223);
    }

    #[test]
    fn the_moments_are_right() {
        let mut random = Random::new(1);
        let numbers: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        let mean = numbers.iter().sum::<f32>() / 20_000.0;
        let variance = numbers.iter().map(|n| n * n).sum::<f32>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
        let uniform: Vec<f32> = (0..20_000).map(|_| random.uniform()).collect();
        let mean = uniform.iter().sum::<f32>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!(uniform.iter().all(|n| (0.0..1.0).contains(n)));
    }
}
