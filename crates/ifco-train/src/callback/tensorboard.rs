//! Event files that TensorBoard reads.
//!
//! A file is a row of records, each
//!
//! ```text
//! length u64 | crc of the length u32 | bytes | crc of the bytes u32      (little endian)
//! ```
//!
//! with CRC-32C, rotated by 15 bits and added to 0xA282EAD8. The bytes are an `Event` in protocol
//! buffers: 1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary, which has a
//! 1 value: 1 tag (string), 2 simple_value (float).

use std::io::{self, Write};

use super::Logs;

/// Scalars over steps, as TensorBoard reads them.
///
/// Keras's `TensorBoard` callback writes one file under `train/`, one under `validation/`, with
/// the tags `epoch_loss` and so on in both; [`epoch`](Self::epoch) does the same. TensorBoard finds
/// files with `tfevents` in their names.
///
/// ```
/// use ifco_train::callback::EventLog;
///
/// let mut file = Vec::new(); // or a file `train/events.out.tfevents.…`
/// let mut log = EventLog::start(&mut file, 1.5)?; // seconds since 1970
/// log.epoch(0, &[("loss", 0.5)], 2.5)?;
/// assert!(file.windows(10).any(|bytes| bytes == b"epoch_loss"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventLog<W> {
    file: W,
}

impl<W: Write> EventLog<W> {
    /// Starts a file; `now` is the time in seconds since 1970.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn start(mut file: W, now: f64) -> io::Result<Self> {
        let mut event = Vec::new();
        double(&mut event, 1, now);
        bytes(&mut event, 3, b"brain.Event:2");
        record(&mut file, &event)?;
        file.flush()?;
        Ok(Self { file })
    }

    /// Writes one value.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32, now: f64) -> io::Result<()> {
        let mut inner = Vec::new();
        bytes(&mut inner, 1, tag.as_bytes());
        key(&mut inner, 2, 5);
        inner.extend(value.to_le_bytes());
        let mut summary = Vec::new();
        bytes(&mut summary, 1, &inner);
        let mut event = Vec::new();
        double(&mut event, 1, now);
        if step != 0 {
            key(&mut event, 2, 0);
            varint(&mut event, step);
        }
        bytes(&mut event, 5, &summary);
        record(&mut self.file, &event)?;
        self.file.flush()
    }

    /// Writes an epoch's values as Keras names them: `epoch_` and the name, without `val_`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn epoch(&mut self, epoch: u64, logs: &Logs<'_>, now: f64) -> io::Result<()> {
        for (name, value) in logs {
            let name = name.strip_prefix("val_").unwrap_or(name);
            self.scalar(&format!("epoch_{name}"), epoch, *value as f32, now)?;
        }
        Ok(())
    }
}

fn record(file: &mut impl Write, event: &[u8]) -> io::Result<()> {
    let length = (event.len() as u64).to_le_bytes();
    let mut whole = Vec::with_capacity(event.len() + 16);
    whole.extend(length);
    whole.extend(masked_crc(&length).to_le_bytes());
    whole.extend(event);
    whole.extend(masked_crc(event).to_le_bytes());
    file.write_all(&whole)
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit: records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    let after_byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
            (crc >> 1) ^ carry
        })
    };
    !bytes.iter().fold(!0, after_byte)
}

/// A field's number and its kind: 0 varint, 1 eight bytes, 2 a length and bytes, 5 four bytes.
fn key(message: &mut Vec<u8>, field: u64, kind: u64) {
    varint(message, field << 3 | kind);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn double(message: &mut Vec<u8>, field: u64, value: f64) {
    key(message, field, 1);
    message.extend(value.to_le_bytes());
}

fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(message, field, 2);
    varint(message, value.len() as u64);
    message.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283); // the CRC catalogue's check value
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA); // RFC 3720, B.4
    }
}
