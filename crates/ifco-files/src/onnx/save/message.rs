//! Writes protobuf: the counterpart of [`wire`](super::super::wire).

/// A message on its way to bytes, its fields one after the other.
#[derive(Debug, Default, Clone)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A string, packed numbers, or the bytes of another message.
    pub fn put(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend(bytes);
        self
    }

    /// Each of them as a field of its own.
    pub fn all<T: AsRef<[u8]>>(self, field: u64, parts: impl IntoIterator<Item = T>) -> Self {
        let parts = parts.into_iter();
        parts.fold(self, |message, part| message.put(field, part))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
