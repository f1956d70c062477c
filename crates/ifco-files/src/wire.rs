//! Protobuf's wire format: a message is fields one after the other, each a number, how it is
//! written, and its value. Nothing is copied, nothing is allocated, and no length is believed
//! beyond the bytes that are there.

/// A message: bytes of the file, and where in it they begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub bytes: &'a [u8],
    pub offset: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    /// A string, bytes, a message, or packed numbers.
    Bytes(Message<'a>),
    Fixed32([u8; 4]),
}

/// What is wrong with a message.
#[derive(Debug)]
pub(crate) struct WireError {
    /// From the start of the file.
    pub offset: usize,
    pub reason: &'static str,
}

impl<'a> Message<'a> {
    /// The fields, in the file's order.
    pub fn fields(self) -> Fields<'a> {
        Fields { rest: self }
    }

    pub fn error(&self, reason: &'static str) -> WireError {
        WireError {
            offset: self.offset,
            reason,
        }
    }

    /// Takes the first `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<Message<'a>, WireError> {
        let (bytes, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| self.error("a value is longer than what is there"))?;
        let taken = Message {
            bytes,
            offset: self.offset,
        };
        self.bytes = rest;
        self.offset += count;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken.bytes).map_err(|_| taken.error("a number is cut off"))
    }

    /// Takes a number of up to ten bytes.
    pub fn take_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (index, byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.take(index + 1)?;
                return Ok(value);
            }
        }
        Err(self.error("a number does not end"))
    }

    /// The numbers of a repeated field that is packed into one value.
    pub fn varints(mut self, to: &mut Vec<i64>) -> Result<(), WireError> {
        while !self.bytes.is_empty() {
            to.push(self.take_varint()?.cast_signed());
        }
        Ok(())
    }

    /// Numbers of `N` bytes each that are packed into one value.
    pub fn chunks<const N: usize>(self) -> Result<impl Iterator<Item = [u8; N]> + 'a, WireError> {
        let (chunks, rest) = self.bytes.as_chunks::<N>();
        match rest.is_empty() {
            true => Ok(chunks.iter().copied()),
            false => Err(self.error("packed numbers are cut off")),
        }
    }

    pub fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes).map_err(|_| self.error("a string is not UTF-8"))
    }
}

/// The fields of a message.
pub(crate) struct Fields<'a> {
    rest: Message<'a>,
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Result<(u64, Value<'a>), WireError> {
        let start = self.rest;
        let key = self.rest.take_varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.rest.take_varint()?),
            1 => Value::Fixed64(self.rest.take_array()?),
            2 => {
                let length = self.rest.take_varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Value::Bytes(self.rest.take(length)?)
            }
            5 => Value::Fixed32(self.rest.take_array()?),
            _ => return Err(start.error("a field of a kind that does not exist")),
        };
        match key >> 3 {
            0 => Err(start.error("a field without a number")),
            number => Ok((number, value)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), WireError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.bytes.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_err() {
            self.rest.bytes = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<Result<(u64, Value<'_>), WireError>> {
        Message { bytes, offset: 100 }.fields().collect()
    }

    #[test]
    fn each_kind_of_value() {
        let bytes = b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x21\x01\0\0\0\0\0\0\0";
        let all: Vec<_> = fields(bytes)
            .into_iter()
            .map(|field| field.expect("whole"))
            .collect();
        assert!(matches!(all[0], (1, Value::Varint(150))));
        assert!(matches!(all[1], (2, Value::Bytes(text)) if text.text().expect("text") == "hi"));
        assert!(matches!(all[2], (3, Value::Fixed32(one)) if f32::from_le_bytes(one) == 1.0));
        assert!(matches!(all[3], (4, Value::Fixed64(one)) if u64::from_le_bytes(one) == 1));
    }

    #[test]
    fn what_is_cut_off_or_lies_is_an_error_at_its_place() {
        let cases: [(&[u8], usize); 7] = [
            (b"\x08", 101),                                             // no value
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 101), // more than 64 bits
            (b"\x12\x05abc", 102), // 5 bytes, of which 3 are there
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 111), // 2⁶⁴ − 1 bytes
            (b"\x1d\0\0", 101),    // half a number
            (b"\x0b", 100),        // a group, long gone
            (b"\x00\x00", 100),    // field 0
        ];
        for (bytes, offset) in cases {
            let all = fields(bytes);
            let error = all[0].as_ref().expect_err("it is damaged");
            assert_eq!((all.len(), error.offset), (1, offset), "{bytes:?}");
        }
    }

    #[test]
    fn packed_numbers() {
        let packed = |bytes| Message { bytes, offset: 0 };
        let mut numbers = Vec::new();
        packed(b"\x01\x96\x01")
            .varints(&mut numbers)
            .expect("whole");
        assert_eq!(numbers, [1, 150]);
        assert!(packed(b"\x01\x96").varints(&mut numbers).is_err());
        assert!(packed(b"\0\0\0\0\0").chunks::<4>().is_err());
    }
}
