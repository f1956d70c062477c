//! Elements that `hdf5-pure` does not make `f32` of: floats of two bytes.

use hdf5_pure::{DatatypeByteOrder, FloatingPointLayout};

/// How the elements of a dataset become `f32`.
pub(super) enum ElementKind {
    /// `hdf5-pure` makes `f32` of it.
    Native,
    /// Two bytes, and what they mean.
    Half(DatatypeByteOrder, fn(u16) -> f32),
}

pub(super) fn halves(raw: &[u8], order: DatatypeByteOrder) -> impl Iterator<Item = u16> + '_ {
    let big = matches!(order, DatatypeByteOrder::BigEndian);
    raw.chunks_exact(2).map(move |pair| {
        let pair = [pair[0], pair[1]];
        if big {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        }
    })
}

/// IEEE 754 binary16: 1 sign bit, 5 of exponent with bias 15, 10 of mantissa.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f32::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
    };
    sign * magnitude
}

/// bfloat16: the upper half of a binary32.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub(super) fn describe_float(layout: &FloatingPointLayout) -> String {
    format!(
        "floats of {} exponent and {} mantissa bits",
        layout.exponent_size, layout.mantissa_size
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_ieee_says() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(f16_to_f32(bits), value, "{bits:#x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
        assert_eq!(f16_to_f32(0x8000).to_bits(), (-0.0f32).to_bits());
        assert_eq!(bf16_to_f32(0x3fc0), 1.5);
        assert_eq!(bf16_to_f32(0xc000), -2.0);
    }
}
