//! Types of numbers by NumPy's names, and their bytes as `f32`.

use super::ArrayProblem;

/// A type of numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dtype {
    kind: Kind,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Dtype {
    pub const F16: Self = Self::little(Kind::F16);
    /// NumPy has no name for it.
    pub const BF16: Self = Self::little(Kind::Bf16);
    pub const F32: Self = Self::little(Kind::F32);
    pub const F64: Self = Self::little(Kind::F64);

    const fn little(kind: Kind) -> Self {
        Self {
            kind,
            big_endian: false,
        }
    }

    /// The same with the most significant byte first.
    pub fn in_order(self, big_endian: bool) -> Self {
        Self { big_endian, ..self }
    }

    /// Reads NumPy's `descr`: byte order, kind, bytes, as in `<f4`.
    pub fn parse(descr: &str) -> Result<Self, ArrayProblem> {
        let (order, kind) = match descr.as_bytes() {
            [b'<' | b'|' | b'=', ..] => (false, &descr[1..]),
            [b'>', ..] => (true, &descr[1..]),
            _ => (false, descr),
        };
        let kind = match kind {
            "b1" | "?" => Kind::Bool,
            "i1" => Kind::I8,
            "i2" => Kind::I16,
            "i4" => Kind::I32,
            "i8" => Kind::I64,
            "u1" => Kind::U8,
            "u2" => Kind::U16,
            "u4" => Kind::U32,
            "u8" => Kind::U64,
            "f2" => Kind::F16,
            "f4" => Kind::F32,
            "f8" => Kind::F64,
            _ => {
                return Err(ArrayProblem::Dtype {
                    dtype: shorten(descr),
                    what: describe(kind),
                });
            }
        };
        Ok(Self {
            kind,
            big_endian: order,
        })
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self.kind {
            Kind::Bool | Kind::I8 | Kind::U8 => 1,
            Kind::I16 | Kind::U16 | Kind::F16 | Kind::Bf16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 => 8,
        }
    }

    /// The numbers in `bytes`, whose length is a multiple of [`Dtype::size`].
    pub fn decode(self, bytes: &[u8]) -> Result<Vec<f32>, ArrayProblem> {
        match self.kind {
            Kind::Bool => Ok(bytes.iter().map(|&byte| f32::from(byte != 0)).collect()),
            Kind::I8 => Ok(bytes.iter().map(|&byte| f32::from(byte as i8)).collect()),
            Kind::U8 => Ok(bytes.iter().map(|&byte| f32::from(byte)).collect()),
            Kind::I16 => Ok(self.map(bytes, |b| f32::from(i16::from_le_bytes(b)))),
            Kind::U16 => Ok(self.map(bytes, |b| f32::from(u16::from_le_bytes(b)))),
            Kind::F16 => Ok(self.map(bytes, |b| f16_to_f32(u16::from_le_bytes(b)))),
            // The upper half of an f32.
            Kind::Bf16 => Ok(self.map(bytes, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            })),
            Kind::F32 => Ok(self.map(bytes, f32::from_le_bytes)),
            Kind::I32 => self.whole(bytes, |b| i32::from_le_bytes(b).into()),
            Kind::U32 => self.whole(bytes, |b| u32::from_le_bytes(b).into()),
            Kind::I64 => self.whole(bytes, |b| i64::from_le_bytes(b).into()),
            Kind::U64 => self.whole(bytes, |b| u64::from_le_bytes(b).into()),
            Kind::F64 => self.doubles(bytes),
        }
    }

    fn map<const N: usize>(self, bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        self.chunks(bytes).map(number).collect()
    }

    /// Integers: `f32` must hold each exactly, or a token number would become another one.
    fn whole<const N: usize>(
        self,
        bytes: &[u8],
        number: impl Fn([u8; N]) -> i128,
    ) -> Result<Vec<f32>, ArrayProblem> {
        self.chunks(bytes)
            .enumerate()
            .map(|(index, chunk)| {
                let value = number(chunk);
                let float = value as f32;
                if float as i128 == value {
                    Ok(float)
                } else {
                    Err(ArrayProblem::Inexact {
                        index,
                        value: value.to_string(),
                        reason: "cannot hold exactly (it can hold every integer up to 16777216)",
                    })
                }
            })
            .collect()
    }

    /// Doubles are rounded, as Keras does; a finite one that would become infinite is refused.
    fn doubles(self, bytes: &[u8]) -> Result<Vec<f32>, ArrayProblem> {
        self.chunks(bytes)
            .enumerate()
            .map(|(index, chunk)| {
                let value = f64::from_le_bytes(chunk);
                let float = value as f32;
                if float.is_infinite() && value.is_finite() {
                    return Err(ArrayProblem::Inexact {
                        index,
                        value: format!("{value:e}"),
                        reason: "cannot hold (its largest number is 3.4e38)",
                    });
                }
                Ok(float)
            })
            .collect()
    }

    /// Each number's bytes, least significant first.
    fn chunks<const N: usize>(self, bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        bytes.as_chunks::<N>().0.iter().map(move |chunk| {
            let mut chunk = *chunk;
            if self.big_endian {
                chunk.reverse();
            }
            chunk
        })
    }
}

/// IEEE half precision: 1 sign bit, 5 of exponent, 10 of fraction.
fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half & 0x3ff);
    match (exponent, fraction) {
        // Zero and the numbers below the smallest normal one: fraction · 2^-24.
        (0, _) => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        (0x1f, 0) => f32::from_bits(sign | f32::INFINITY.to_bits()),
        (0x1f, _) => f32::from_bits(sign | f32::NAN.to_bits() | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

fn describe(kind: &str) -> &'static str {
    match kind.chars().next() {
        Some('O') => "Python objects, not numbers",
        Some('S' | 'a' | 'U' | 'T') => "text, not numbers",
        Some('c') => "complex numbers, which no layer of Keras takes",
        Some('M' | 'm') => "dates or time spans, not numbers",
        Some('V') => "raw bytes (a structured array, or bfloat16), not plain numbers",
        Some('f') => "a float of a size that ifco does not read",
        _ => "not a type of numbers that ifco reads",
    }
}

fn shorten(descr: &str) -> String {
    let mut short: String = descr.chars().take(40).collect();
    if short.len() < descr.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        // Each of these is a number that IEEE 754 gives for the bits.
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f16_to_f32(bits), value, "{bits:#06x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
        assert!(f16_to_f32(0x8000).is_sign_negative());
    }

    #[test]
    fn an_integer_is_kept_or_refused() {
        let i32s = Dtype::parse("<i4").unwrap();
        assert_eq!(
            i32s.decode(&16_777_216_i32.to_le_bytes()).unwrap(),
            [16_777_216.0]
        );
        let error = i32s.decode(&16_777_217_i32.to_le_bytes()).unwrap_err();
        assert!(error.to_string().contains("16777217"), "{error}");
        // Large, but a power of two: f32 holds it.
        let i64s = Dtype::parse(">i8").unwrap();
        assert_eq!(
            i64s.decode(&i64::MIN.to_be_bytes()).unwrap(),
            [-(2f32.powi(63))]
        );
        assert!(i64s.decode(&i64::MAX.to_be_bytes()).is_err());
        assert!(
            Dtype::parse("<u8")
                .unwrap()
                .decode(&u64::MAX.to_le_bytes())
                .is_err()
        );
    }

    #[test]
    fn a_double_beyond_the_range_is_refused_but_infinity_is_not() {
        let doubles = Dtype::parse("<f8").unwrap();
        assert!(doubles.decode(&1e300_f64.to_le_bytes()).is_err());
        assert_eq!(
            doubles.decode(&f64::INFINITY.to_le_bytes()).unwrap(),
            [f32::INFINITY]
        );
        assert_eq!(doubles.decode(&0.1_f64.to_le_bytes()).unwrap(), [0.1_f32]);
    }
}
