//! The spectral radius: the largest modulus of a matrix's eigenvalues.
//!
//! With U alone, the state grows or shrinks by this factor each step in the long run.
//!
//! Small matrices, by Gelfand's formula with N = 2^k, squaring k times:
//!
//! ```text
//! ρ = lim ‖A^N‖^(1/N)            each square is scaled to norm 1, the logarithms are summed
//! ρ ≈ (‖A^2N‖ / ‖A^N‖)^(1/N)     the ratio cancels the constant in ‖A^N‖ ≈ C·ρ^N
//! ```
//!
//! The largest eigenvalues of a real matrix are mostly a complex pair, on which a power
//! iteration never settles; this does not care. Cost: 18 products of u×u matrices.
//!
//! Large ones, by Arnoldi's method: the same on the matrix of 64×64 that A becomes on the space
//! spanned by v, Av, A²v, …: an estimate, mostly from below, by a percent or so.

use ndarray::{Array1, Array2, ArrayView2, s};

/// Up to this many units all eigenvalues are seen; beyond, products get slow.
const EXACT_UNITS: usize = 96;
const SQUARINGS: i32 = 18;
const KRYLOV: usize = 64;

/// A spectral radius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Radius {
    /// The number.
    pub value: f64,
    /// Whether the matrix was too large to look at all of it.
    pub is_estimate: bool,
}

/// The spectral radius of a square matrix; `None` when it is not square or not finite.
pub fn spectral_radius(matrix: ArrayView2<'_, f32>) -> Option<Radius> {
    if !matrix.is_square() || !matrix.iter().all(|x| x.is_finite()) {
        return None;
    }
    let matrix = matrix.mapv(f64::from);
    let is_estimate = matrix.nrows() > EXACT_UNITS;
    let value = if is_estimate {
        by_squaring(hessenberg(&matrix))
    } else {
        by_squaring(matrix)
    };
    Some(Radius { value, is_estimate })
}

fn by_squaring(mut power: Array2<f64>) -> f64 {
    // log ‖A^(2^k)‖ = Σ_j 2^(k−j)·log s_j for the scales s_j taken out before each squaring.
    let mut log = 0.0;
    let mut previous = 0.0;
    for _ in 0..=SQUARINGS {
        let norm = power.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0; // nilpotent
        }
        power /= norm;
        previous = log;
        log = 2.0 * log + norm.ln();
        power = power.dot(&power);
    }
    // log is that of N = 2^SQUARINGS, previous that of N/2.
    ((log - previous) / 2f64.powi(SQUARINGS - 1)).exp()
}

/// Arnoldi's method: A on the Krylov space of one vector, an upper Hessenberg matrix.
fn hessenberg(matrix: &Array2<f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut basis: Array2<f64> = Array2::zeros((KRYLOV + 1, n));
    let mut result = Array2::zeros((KRYLOV, KRYLOV));
    basis.row_mut(0).assign(&start(n));
    for k in 0..KRYLOV {
        let mut next = matrix.dot(&basis.row(k));
        let before = next.dot(&next).sqrt();
        // Twice, because once loses orthogonality to rounding.
        for _ in 0..2 {
            for j in 0..=k {
                let along = basis.row(j).dot(&next);
                result[[j, k]] += along;
                next.scaled_add(-along, &basis.row(j));
            }
        }
        let left = next.dot(&next).sqrt();
        if left <= 1e-12 * before {
            // The space is closed under A: its eigenvalues are A's.
            return result.slice(s![..=k, ..=k]).to_owned();
        }
        if k + 1 < KRYLOV {
            result[[k + 1, k]] = left;
        }
        basis.row_mut(k + 1).assign(&(next / left));
    }
    result
}

/// A vector of length 1 that is in no special position, and the same every time: the digits of
/// a linear congruential generator (Knuth's MMIX constants).
fn start(n: usize) -> Array1<f64> {
    let mut state = 1_u64;
    let vector = Array1::from_shape_simple_fn(n, || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    });
    let norm = vector.dot(&vector).sqrt();
    vector / norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn radius(matrix: &Array2<f32>) -> f64 {
        spectral_radius(matrix.view()).unwrap().value
    }

    #[test]
    fn known_ones() {
        assert!((radius(&array![[3.0]]) - 3.0).abs() < 1e-6);
        assert!((radius(&array![[-0.5]]) - 0.5).abs() < 1e-6);
        assert_eq!(radius(&Array2::zeros((3, 3))), 0.0);
        // A rotation, scaled: a complex pair of modulus 0.9, on which a power iteration turns
        // forever.
        let (sin, cos) = 1_f32.sin_cos();
        let rotation = array![[cos, -sin], [sin, cos]] * 0.9;
        assert!((radius(&rotation) - 0.9).abs() < 1e-6);
        // Far from normal: the norm says 1000, the eigenvalues are 1/2 and 1/4.
        assert!((radius(&array![[0.5, 1000.0], [0.0, 0.25]]) - 0.5).abs() < 1e-4);
        // A Jordan block: A^N grows like N·ρ^N.
        assert!((radius(&array![[2.0, 1.0], [0.0, 2.0]]) - 2.0).abs() < 1e-4);
        // Nilpotent: all eigenvalues are 0.
        assert_eq!(
            radius(&array![[0.0, 5.0, 1.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]]),
            0.0
        );
        // Extreme scales neither overflow nor vanish.
        let large = radius(&array![[1e38]]);
        assert!((large / 1e38 - 1.0).abs() < 1e-5, "{large}");
        let small = radius(&array![[1e-38]]);
        assert!((small / 1e-38 - 1.0).abs() < 1e-5, "{small}");
    }

    #[test]
    fn what_is_not_finite_has_none() {
        assert_eq!(spectral_radius(array![[f32::NAN]].view()), None);
        assert_eq!(spectral_radius(array![[1.0, 2.0]].view()), None);
    }

    #[test]
    fn a_large_one_is_estimated() {
        // A cyclic shift is orthogonal, times 0.7; and an eigenvalue that stands out.
        let n = 200;
        let shift =
            Array2::from_shape_fn((n, n), |(i, j)| if (i + 1) % n == j { 0.7 } else { 0.0 });
        let estimate = spectral_radius(shift.view()).unwrap();
        assert!(estimate.is_estimate);
        assert!((estimate.value - 0.7).abs() < 0.05, "{}", estimate.value);
        let mut diagonal = Array2::zeros((n, n));
        for i in 0..n {
            diagonal[[i, i]] = 1.0 - i as f32 / n as f32;
        }
        diagonal[[3, 3]] = -1.5;
        assert!((radius(&diagonal) - 1.5).abs() < 1e-6);
    }
}
