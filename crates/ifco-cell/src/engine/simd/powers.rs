//! Powers of two within an octave, small enough to be looked up in a register or two.

/// 2^(j / 32), rounded.
const POWERS: [u32; 32] = [
    0x3f80_0000,
    0x3f82_cd87,
    0x3f85_aac3,
    0x3f88_980f,
    0x3f8b_95c2,
    0x3f8e_a43a,
    0x3f91_c3d3,
    0x3f94_f4f0,
    0x3f98_37f0,
    0x3f9b_8d3a,
    0x3f9e_f532,
    0x3fa2_7043,
    0x3fa5_fed7,
    0x3fa9_a15b,
    0x3fad_583f,
    0x3fb1_23f6,
    0x3fb5_04f3,
    0x3fb8_fbaf,
    0x3fbd_08a4,
    0x3fc1_2c4d,
    0x3fc5_672a,
    0x3fc9_b9be,
    0x3fce_248c,
    0x3fd2_a81e,
    0x3fd7_44fd,
    0x3fdb_fbb8,
    0x3fe0_ccdf,
    0x3fe5_b907,
    0x3fea_c0c7,
    0x3fef_e4ba,
    0x3ff5_257d,
    0x3ffa_83b3,
];

/// What rounding 2^(j / 16) has lost, as a part of it.
const ERRORS: [f32; 16] = [
    0.0,
    4.628_547e-8,
    -1.199_216e-8,
    4.729_782e-8,
    3.193_418e-8,
    3.621_057e-8,
    -3.099_072e-8,
    -7.475_213e-9,
    1.711_427e-8,
    -3.047_683e-8,
    5.233_334e-9,
    6.107_592e-9,
    -1.471_961e-8,
    -5.258_795e-9,
    -6.128_26e-9,
    5.140_609e-9,
];

/// 2^(j / `STEPS`)
pub(super) const fn steps<const STEPS: usize>() -> [u32; STEPS] {
    let mut steps = [0; STEPS];
    let mut j = 0;
    while j < STEPS {
        steps[j] = POWERS[j * (POWERS.len() / STEPS)];
        j += 1;
    }
    steps
}

/// 2^(j / `STEPS`), with its place in the octave taken off: adding n << (23 − log2 `STEPS`), of
/// which that place is a part, then gives 2^(n / `STEPS`) for n = j + `STEPS`·octave.
pub(super) const fn powers<const STEPS: usize>() -> [u32; STEPS] {
    let mut powers = steps::<STEPS>();
    let mut j = 0;
    while j < STEPS {
        powers[j] -= (j as u32) << (23 - STEPS.trailing_zeros());
        j += 1;
    }
    powers
}

/// The part of 2^(j / `STEPS`) that its rounding has lost, of sixteenths at most.
pub(super) const fn errors<const STEPS: usize>() -> [f32; STEPS] {
    let mut errors = [0.0; STEPS];
    let mut j = 0;
    while j < STEPS {
        errors[j] = ERRORS[j * (ERRORS.len() / STEPS)];
        j += 1;
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_powers_of_two() {
        for (j, power) in POWERS.into_iter().enumerate() {
            let right = (j as f64 / 32.0).exp2() as f32;
            assert_eq!(f32::from_bits(power), right, "2^({j}/32)");
        }
        for (j, (power, error)) in steps::<16>().into_iter().zip(ERRORS).enumerate() {
            let right = (j as f64 / 16.0).exp2();
            let power = f64::from(f32::from_bits(power));
            let lost = (right - power) / power;
            assert!(
                (f64::from(error) - lost).abs() < 1e-13,
                "2^({j}/16): {lost:e}"
            );
        }
    }
}
