//! Checkpoints and SavedModels that are cut off, changed or made to lie: an error that names the place,
//! never a panic, never much memory.

mod common;

use std::path::PathBuf;

use ifco_files::{FileError, OpenOptions, Opened};
use zip::CompressionMethod;

type Files = Vec<(String, Vec<u8>)>;

fn fixture(name: &str) -> Vec<u8> {
    let root = [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "..",
        "fixtures",
        "tensorflow",
    ];
    let path = root.iter().collect::<PathBuf>().join(name);
    std::fs::read(path).expect("the fixture is there")
}

/// A checkpoint of one LSTM.
fn checkpoint() -> Files {
    ["basic.index", "basic.data-00000-of-00001"]
        .map(|name| (name.to_owned(), fixture(name)))
        .into()
}

/// Keras 2's SavedModel.
fn saved_model() -> Files {
    [
        "saved_model.pb",
        "keras_metadata.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ]
    .map(|name| (name.to_owned(), fixture(&format!("bidirectional/{name}"))))
    .into()
}

fn open(files: Files) -> Result<Opened, FileError> {
    OpenOptions::new().open_folder(files, "folder")
}

fn message(files: Files) -> String {
    let error = open(files).expect_err("it is refused");
    format!("{error}; {}", error.help().unwrap_or_default())
}

/// LevelDB's sum of a block's bytes and the byte behind it, computed a bit at a time.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An entry: how much its key shares with the one before, the rest of it, its value.
type Entry<'a> = (u64, &'a [u8], &'a [u8]);

/// A table of one block.
fn table(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |entries: &[Entry<'_>]| {
        let start = file.len();
        for (shared, key, value) in entries {
            for size in [*shared, key.len() as u64, value.len() as u64] {
                file.extend(varint(size));
            }
            file.extend_from_slice(key);
            file.extend_from_slice(value);
        }
        file.extend(0u32.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        let size = file.len() - start;
        file.push(0);
        let sum = masked_crc(&file[start..]);
        file.extend(sum.to_le_bytes());
        [varint(start as u64), varint(size as u64)].concat()
    };
    let data = block(entries);
    let index = block(&[(0, b"~", &data)]);
    let mut footer = [varint(0), varint(0), index].concat();
    footer.resize(40, 0);
    footer.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file.extend(footer);
    file
}

/// One data file, little endian.
const HEADER: &[u8] = &[0x08, 1];

/// A checkpoint whose index has these entries, beside `len` bytes of data.
fn made(entries: &[Entry<'_>], len: usize) -> Files {
    vec![
        ("x.index".into(), table(entries)),
        ("x.data-00000-of-00001".into(), vec![0; len]),
    ]
}

/// An entry of floats: `shape`, offset 0, so many bytes.
fn floats(shape: &[u64], size: u64) -> Vec<u8> {
    let mut dims = Vec::new();
    for size in shape {
        let dim = [vec![0x08], varint(*size)].concat();
        dims.extend([vec![0x12], varint(dim.len() as u64), dim].concat());
    }
    [
        vec![0x08, 1, 0x12],
        varint(dims.len() as u64),
        dims,
        vec![0x28],
        varint(size),
    ]
    .concat()
}

#[test]
fn a_table_made_here_opens() {
    let (kernel, bias) = (floats(&[3, 4], 48), floats(&[4], 16));
    let entries: [Entry<'_>; 3] = [
        (0, b"", HEADER),
        (0, b"rnn/lstm_cell/bias", &bias),
        (14, b"kernel", &kernel),
    ];
    let Ok(Opened::Weights(weights)) = open(made(&entries, 64)) else {
        panic!("it opens");
    };
    let cells = weights.cells();
    assert_eq!(cells.len(), 1);
    assert_eq!(cells[0].0, "rnn/lstm_cell");
    assert_eq!((cells[0].1.features(), cells[0].1.units()), (2, 1));
}

#[test]
fn every_cut_and_every_changed_byte_is_an_error_or_opens() {
    for files in [checkpoint(), saved_model()] {
        for (number, (name, bytes)) in files.iter().enumerate() {
            let step = (bytes.len() / 150).max(1);
            for at in (0..bytes.len()).step_by(step) {
                let mut cut = files.clone();
                cut[number].1.truncate(at);
                let _ = open(cut);
                let mut changed = files.clone();
                changed[number].1[at] ^= 0x41;
                let opened = open(changed);
                // Every byte of the entries is summed; behind them lie what is not read and their places.
                if name.ends_with(".index") && at + 120 < bytes.len() {
                    assert!(opened.is_err(), "{name}, byte {at}");
                }
            }
        }
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let mut files = checkpoint();
    files[1].1[700] ^= 1;
    let text = message(files);
    assert!(
        text.contains("its checksum is not that of its bytes"),
        "{text}"
    );
    assert!(text.contains("tensor \""), "{text}");

    let mut files = checkpoint();
    files[0].1[20] ^= 1;
    let text = message(files);
    assert!(
        text.contains("folder/basic.index: the block at byte 0 is damaged"),
        "{text}"
    );

    let mut files = checkpoint();
    files.pop();
    let text = message(files);
    assert!(
        text.contains("basic.data-00000-of-00001: there is no such file"),
        "{text}"
    );
    assert!(text.contains("copy them all"), "{text}");

    let mut files = saved_model();
    files.truncate(2);
    assert!(message(files).contains("variables/variables.index"));
}

#[test]
fn shapes_and_places_that_lie_are_refused() {
    let refused = |entry: &[u8], expected: &str| {
        let entries: [Entry<'_>; 2] = [(0, b"", HEADER), (0, b"a/kernel", entry)];
        let text = message(made(&entries, 64));
        assert!(text.contains(expected), "{text}");
    };
    refused(&floats(&[u64::MAX, u64::MAX], 64), "its shape is");
    refused(&floats(&[1 << 31, 1 << 31], 64), "its shape");
    refused(&floats(&[4, 4], 32), "needs 64 bytes, and it has 32");
    refused(&floats(&[40, 4], 640), "which ends before");
    // Data file 7 of 1.
    let mut other = floats(&[4, 4], 64);
    other.extend([0x18, 7]);
    refused(&other, "1 data files");
    refused(&[0x08], "a number does not end");
}

/// Keys share their beginnings: three bytes may stand for a key of any length.
#[test]
fn an_index_cannot_unpack_to_more_than_it_may() {
    let long = vec![b'k'; 1 << 20];
    let mut entries: Vec<Entry<'_>> = vec![(0, b"", HEADER), (0, &long, b"")];
    entries.extend((0..100).map(|_| (1 << 20, &b""[..], &b""[..])));
    let error = open(made(&entries, 0)).expect_err("it is refused");
    assert!(matches!(error, FileError::Limit { .. }), "{error}");
    // More of a key than there was.
    let entries: [Entry<'_>; 2] = [(0, b"", HEADER), (9, b"k", b"")];
    assert!(message(made(&entries, 0)).contains("shares 9 bytes of one of 0"));
}

/// Arrays may claim the same bytes, many times over.
#[test]
fn arrays_cannot_unpack_to_more_than_they_may() {
    let len = 1 << 20;
    let entry = floats(&[512, 512], len);
    let names: Vec<String> = (0..100).map(|n| format!("layer_{n:03}/kernel")).collect();
    let mut entries: Vec<Entry<'_>> = vec![(0, b"", HEADER)];
    entries.extend(names.iter().map(|name| (0, name.as_bytes(), &entry[..])));
    let error = open(made(&entries, len as usize)).expect_err("it is refused");
    assert!(matches!(error, FileError::Limit { .. }), "{error}");
}

#[test]
fn several_checkpoints_in_a_folder_need_a_choice() {
    let mut files = checkpoint();
    files.push(("other.index".into(), fixture("gru.index")));
    let text = message(files.clone());
    assert!(text.contains("open one of them: basic, other"), "{text}");
    // Wherever it lay before, the latest is looked for here.
    let latest = b"model_checkpoint_path: \"/elsewhere/basic\"\n";
    files.push(("checkpoint".into(), latest.to_vec()));
    assert!(open(files.clone()).is_ok());
    files.pop();
    files.push((
        "checkpoint".into(),
        b"model_checkpoint_path: \"gone\"".to_vec(),
    ));
    let text = message(files);
    assert!(
        text.contains("folder/gone.index: there is no such file"),
        "{text}"
    );
    assert!(text.contains("open another one: basic, other"), "{text}");
}

#[test]
fn a_saved_model_in_a_zip_opens_as_it_lies() {
    let Ok(Opened::Model(model)) = open(saved_model()) else {
        panic!("it opens");
    };
    for folder in ["", "some/folder/"] {
        let files: Files = saved_model();
        let named: Vec<(String, Vec<u8>)> = files
            .into_iter()
            .map(|(name, bytes)| (format!("{folder}{name}"), bytes))
            .collect();
        let entries: Vec<(&str, &[u8])> = named
            .iter()
            .map(|(name, bytes)| (name.as_str(), &bytes[..]))
            .collect();
        let zipped = common::model(common::zip(&entries, CompressionMethod::Deflated));
        assert_eq!(zipped.weights(), model.weights(), "{folder:?}");
    }
}
