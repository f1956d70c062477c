//! Random numbers from a seed, the same on every machine.

/// A generator of random numbers: xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64.
///
/// The same seed gives the same numbers everywhere. They are not Keras's: only the distributions
/// are.
///
/// ```
/// use ifco_model::Random;
///
/// let (mut one, mut other) = (Random::new(7), Random::new(7));
/// assert_eq!(one.uniform(), other.uniform());
/// assert!((0.0..1.0).contains(&one.uniform()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// From 0 up to, but not, 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The same in single precision, for what is drawn for each value.
    pub(crate) fn uniform_f32(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Factors of dropout at this rate: 0 for what is dropped, and for the rest what makes up for
    /// it.
    pub(crate) fn kept(&mut self, rate: f32) -> impl Iterator<Item = f32> {
        let scale = if rate < 1.0 { 1.0 / (1.0 - rate) } else { 0.0 };
        std::iter::repeat_with(move || {
            if self.uniform_f32() >= rate {
                scale
            } else {
                0.0
            }
        })
    }

    /// A whole number below `n`, each as likely as the others; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        // What is left over above a multiple of n is drawn again.
        let enough = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= enough {
                return (product >> 64) as usize;
            }
        }
    }

    /// From the standard normal distribution (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// From the standard normal distribution, but within 2 of its mean.
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let z = self.normal();
            if z.abs() <= 2.0 {
                return z;
            }
        }
    }

    /// Puts `items` into a random order, each as likely as the others (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers() {
        // SplitMix64 from 0 begins so, and xoshiro256++ from 1, 2, 3, 4 (Rust's `rand` tests it).
        assert_eq!(Random::new(0).state[0], 0xE220_A839_7B1D_CDAF);
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        let first: Vec<u64> = (0..4).map(|_| random.bits()).collect();
        assert_eq!(
            first,
            [41943041, 58720359, 3588806011781223, 3591011842654386]
        );
    }

    #[test]
    fn moments() {
        let mut random = Random::new(1);
        let n = 100_000;
        let mean_square = |draw: &mut dyn FnMut() -> f64| {
            (0..n).map(|_| draw()).map(|x| x * x).sum::<f64>() / f64::from(n)
        };
        assert!((mean_square(&mut || random.normal()) - 1.0).abs() < 0.02);
        let truncated = mean_square(&mut || random.truncated_normal());
        assert!((truncated - 0.773_74).abs() < 0.02, "{truncated}");
    }

    #[test]
    fn every_order_comes_as_often() {
        let mut random = Random::new(2);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(
            seen.values().all(|count| (850..1150).contains(count)),
            "{seen:?}"
        );
    }
}
