//! The table that a checkpoint's index is, made and taken apart.

/// A table whose one block of entries these bytes are, with sums and places that are right.
pub fn with(entries: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let (_, size) = block(&mut file, &[entries, &[0, 0, 0, 0, 1, 0, 0, 0]].concat());
    // The index: one entry with an empty key, whose value is the place of the block.
    let mut place = vec![0];
    varint(&mut place, size);
    let mut index = vec![0, 0, place.len() as u8];
    index.extend(place);
    index.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    let (start, size) = block(&mut file, &index);
    let end = file.len() + 40;
    file.extend([0, 0]);
    varint(&mut file, start);
    varint(&mut file, size);
    file.resize(end, 0);
    file.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file
}

/// The entries of a table of one block, without what stands behind them.
#[allow(dead_code)] // each target takes what it needs
pub fn entries(table: &[u8]) -> Option<&[u8]> {
    let mut footer = table.get(table.len().checked_sub(48)?..)?;
    take(&mut footer)?;
    take(&mut footer)?; // of the metaindex
    let index = take(&mut footer)?;
    let mut index = table.get(index..)?;
    let (_, key, _) = (take(&mut index)?, take(&mut index)?, take(&mut index)?);
    let mut place = index.get(key..)?;
    let (start, size) = (take(&mut place)?, take(&mut place)?);
    let block = table.get(start..)?.get(..size)?;
    let restarts = u32::from_le_bytes(*block.last_chunk::<4>()?) as usize;
    block.get(..size.checked_sub(4 * restarts + 4)?)
}

fn take(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..).step_by(7).take(5) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

fn block(file: &mut Vec<u8>, bytes: &[u8]) -> (usize, usize) {
    let start = file.len();
    file.extend_from_slice(bytes);
    file.push(0);
    let sum = masked_crc(&file[start..]);
    file.extend(sum.to_le_bytes());
    (start, bytes.len())
}

pub fn varint(file: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        file.push(value as u8 | 0x80);
        value >>= 7;
    }
    file.push(value as u8);
}

pub fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}
