//! Weights by name that are damaged, or made to do harm: always an error, and never more memory than
//! allowed.

mod common;

use std::fs;

use common::{message, zip};
use ifco_files::{FileError, Limits, OpenOptions, open_bytes};
use zip::CompressionMethod::{Deflated, Stored};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/jax/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).expect("the fixture is there")
}

#[test]
fn a_file_that_is_cut_off_is_an_error_wherever() {
    let whole = fixture("flax_lstmcell.msgpack");
    for end in 1..whole.len() {
        assert!(open_bytes(&whole[..end], "x").is_err(), "{end} bytes");
    }
    let npz = fixture("flax_lstmcell.npz");
    for end in (1..npz.len()).step_by(7) {
        assert!(open_bytes(&npz[..end], "x").is_err(), "{end} bytes");
    }
}

#[test]
fn no_byte_that_is_another_makes_it_panic() {
    let whole = fixture("flax_grucell.msgpack");
    for place in 0..whole.len() {
        for byte in [0x00, 0x7f, 0x80, 0xc7, 0xdf, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            let _ = OpenOptions::new().open_bytes_assuming(bytes, None, "x");
        }
    }
}

#[test]
fn lengths_are_not_believed() {
    // A map of 2³² − 1 keys, a text and a list that long, an array of that shape.
    assert!(message(b"\xdf\xff\xff\xff\xff\xa1a\xc0".to_vec()).contains("ends too early"));
    assert!(message(b"\x81\xdb\xff\xff\xff\xffab".to_vec()).contains("ends too early"));
    assert!(message(b"\x81\xa1a\xdd\xff\xff\xff\xff".to_vec()).contains("ends too early"));
    let array = b"\x81\xa1w\xc7\x12\x01\x93\x91\xce\xff\xff\xff\xff\xa7float32\xc4\x00\xc0";
    assert!(message(array.to_vec()).contains("damaged"));
}

#[test]
fn depth_and_expansion_have_limits() {
    let deep: Vec<u8> = [&b"\x81\xa1a"[..]].repeat(200).concat();
    assert!(matches!(
        open_bytes(deep, "x"),
        Err(FileError::Limit { field: "depth", .. })
    ));
    let mut npy =
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (4000000,), }"
            .to_vec();
    npy.resize(80, b' ');
    npy.resize(80 + 4_000_000, 0);
    let bytes = zip(&[("a/kernel.npy", &npy)], Deflated);
    let mut limits = Limits::default();
    limits.floor = 1 << 20;
    let error = OpenOptions::new().limits(limits).open_bytes(bytes, "x");
    assert!(matches!(error, Err(FileError::Limit { .. })), "{error:?}");
}

#[test]
fn a_config_that_is_none_is_an_error() {
    let mut npy =
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
            .to_vec();
    npy.resize(80, b' ');
    npy.extend(b"{a:");
    let text = message(zip(&[("model_config.npy", &npy)], Stored));
    assert!(text.contains("model_config is not valid JSON"), "{text}");
    let text = message(br#"{"model_config": {"class_name": "X"}, "weights": {"a": [1]}}"#.to_vec());
    assert!(!text.is_empty());
}
