//! The header of a `.npy` file: a Python dictionary of exactly three keys.
//!
//! Only that dictionary is understood, in one pass and without recursion: nothing that a file
//! holds can make the reader slow or deep.

use super::ArrayProblem;
use super::dtype::Dtype;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub dtype: Dtype,
    /// NumPy's name of the dtype, for errors.
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
}

/// NumPy's own limit on the number of dimensions.
const MAX_RANK: usize = 64;

impl Header {
    /// Reads the text between the `.npy` file's length field and its data.
    pub fn parse(text: &[u8]) -> Result<Self, ArrayProblem> {
        let mut reader = Reader { text, at: 0 };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        reader.expect(b'{')?;
        while !reader.take(b'}') {
            let start = reader.at;
            let key = reader.string()?;
            reader.expect(b':')?;
            let is_new = match key.as_str() {
                "descr" => descr.replace(reader.descr()?).is_none(),
                "fortran_order" => fortran_order.replace(reader.boolean()?).is_none(),
                "shape" => shape.replace(reader.shape()?).is_none(),
                _ => return Err(error(start, "the keys are descr, fortran_order and shape")),
            };
            if !is_new {
                return Err(error(start, "the key stands there twice"));
            }
            if !reader.take(b',') {
                reader.expect(b'}')?;
                break;
            }
        }
        reader.skip_space();
        if reader.at < text.len() {
            return Err(error(reader.at, "nothing is expected after the dictionary"));
        }
        let missing = |key: &str| error(text.len(), &format!("there is no {key:?}"));
        let descr = descr.ok_or_else(|| missing("descr"))?;
        Ok(Self {
            dtype: Dtype::parse(&descr)?,
            descr,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }

    /// How many numbers the shape has; `None` beyond what an array can have.
    ///
    /// A shape such as `(0, 2**40, 2**40)` has none, but cannot be made either: the product of
    /// the other lengths must be an `isize` too, which is `ndarray`'s own rule.
    pub fn len(&self) -> Option<usize> {
        let nonzero = self
            .shape
            .iter()
            .filter(|&&length| length != 0)
            .try_fold(1_usize, |product, &length| product.checked_mul(length))?;
        isize::try_from(nonzero).ok()?;
        Some(if self.shape.contains(&0) { 0 } else { nonzero })
    }

    /// Whether so many bytes are those of the array.
    pub fn check(&self, bytes: usize) -> Result<(), ArrayProblem> {
        let numbers = self.len();
        let expected = numbers.and_then(|len| len.checked_mul(self.dtype.size()));
        if expected == Some(bytes) {
            return Ok(());
        }
        Err(ArrayProblem::Size {
            shape: self.display_shape(),
            dtype: self.descr.clone(),
            expected: expected.map_or("more than can exist".into(), |bytes| bytes.to_string()),
            found: bytes,
        })
    }

    /// The shape as Python prints it.
    pub fn display_shape(&self) -> String {
        let lengths: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        match lengths.as_slice() {
            [one] => format!("({one},)"),
            many => format!("({})", many.join(", ")),
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Whether the next character is this one, which is then passed.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let found = self.text.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Result<(), ArrayProblem> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(error(
            self.at,
            &format!("{:?} is expected", char::from(wanted)),
        ))
    }

    fn string(&mut self) -> Result<String, ArrayProblem> {
        self.skip_space();
        let start = self.at;
        let quote = match self.text.get(start) {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err(error(start, "a string in quotes is expected")),
        };
        let rest = &self.text[start + 1..];
        let end = rest
            .iter()
            .position(|&byte| byte == quote)
            .ok_or_else(|| error(start, "the string does not end"))?;
        if rest[..end].contains(&b'\\') {
            return Err(error(start, "no string here needs a backslash"));
        }
        self.at = start + end + 2;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// A dtype's name; a list instead is a structured array, which holds no plain numbers.
    fn descr(&mut self) -> Result<String, ArrayProblem> {
        self.skip_space();
        if self.text.get(self.at) == Some(&b'[') {
            return Err(ArrayProblem::Dtype {
                dtype: "[...]".into(),
                what: "a structured array (named fields), not plain numbers",
            });
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, ArrayProblem> {
        self.skip_space();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(error(self.at, "True or False is expected"))
    }

    /// `()`, `(3,)`, `(3, 4)`; Python 2 wrote `3L`.
    fn shape(&mut self) -> Result<Vec<usize>, ArrayProblem> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.take(b')') {
            if shape.len() == MAX_RANK {
                return Err(error(self.at, "an array has at most 64 dimensions"));
            }
            shape.push(self.length()?);
            if !self.take(b',') {
                if shape.len() == 1 {
                    return Err(error(self.at, "a shape is a tuple: (3,), not (3)"));
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn length(&mut self) -> Result<usize, ArrayProblem> {
        self.skip_space();
        let start = self.at;
        let mut length = 0_usize;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            length = length
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(usize::from(digit - b'0')))
                .ok_or_else(|| error(start, "the length is larger than any array can be"))?;
            self.at += 1;
        }
        if self.at == start {
            return Err(error(start, "a length, a whole number from 0, is expected"));
        }
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(length)
    }
}

fn error(at: usize, reason: &str) -> ArrayProblem {
    ArrayProblem::Header {
        at,
        reason: reason.into(),
    }
}
