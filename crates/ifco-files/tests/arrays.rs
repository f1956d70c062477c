//! Array files against NumPy's own (made by `arrays/make.py`), round trips, and hostile bytes.

use std::path::{Path, PathBuf};

use ifco_files::arrays::{ArrayProblem, csv, json, npy, npz, safetensors};
use ndarray::{Array, ArrayD, IxDyn, array};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/arrays")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

fn counting() -> ArrayD<f32> {
    array![[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]].into_dyn()
}

/// A `.npy` file of version 1 with this header and these data.
fn npy_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

#[test]
fn every_dtype_of_numpy_in_both_byte_orders() {
    for name in [
        "i1",
        "i2",
        "i4",
        "i8",
        "u1",
        "u2",
        "u4",
        "u8",
        "f2",
        "f4",
        "f8",
        "big_i2",
        "big_i4",
        "big_i8",
        "big_f2",
        "big_f4",
        "big_f8",
        "fortran",
        "version_2",
        "version_3",
    ] {
        let read = npy::read(file(&format!("{name}.npy"))).unwrap();
        assert_eq!(read, counting(), "{name}");
        assert!(read.is_standard_layout(), "{name}");
    }
    let booleans = array![[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]].into_dyn();
    assert_eq!(npy::read(file("bool.npy")).unwrap(), booleans);
}

#[test]
fn every_rank_of_numpy() {
    let scalar = npy::read(file("scalar.npy")).unwrap();
    assert_eq!((scalar.ndim(), scalar.sum()), (0, 2.5));
    let vector = npy::read(file("vector.npy")).unwrap();
    assert_eq!(vector, array![0.0, 1.0, 2.0].into_dyn());
    assert_eq!(npy::read(file("empty.npy")).unwrap().shape(), [0, 3]);
    let special: Vec<u32> = npy::read(file("special.npy"))
        .unwrap()
        .iter()
        .map(|value| value.to_bits())
        .collect();
    assert!(f32::from_bits(special[0]).is_nan());
    assert_eq!(special[1..], [0x7f80_0000, 0xff80_0000, 0x8000_0000, 1]);
}

#[test]
fn what_is_no_number_is_named() {
    for (name, words, help) in [
        (
            "object.npy",
            "\"|O\", which is Python objects",
            "needs pickle",
        ),
        ("text.npy", "\"<U2\", which is text", "token numbers"),
        ("complex.npy", "complex", "astype"),
        ("structured.npy", "structured array", "astype"),
        ("inexact.npy", "element 1 is 16777217", "scale"),
    ] {
        let error = npy::read(file(name)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert!(
            text.starts_with(&file(name).display().to_string()),
            "{text}"
        );
        assert!(error.help().unwrap().contains(help), "{:?}", error.help());
    }
    let missing = npy::read(file("no-such-file.npy")).unwrap_err();
    assert!(matches!(missing.problem(), ArrayProblem::Io(_)));
}

#[test]
fn an_archive_keeps_its_names_and_order() {
    let stored = npz::read(file("stored.npz")).unwrap();
    assert_eq!(stored[0], ("tokens".into(), counting()));
    assert_eq!(stored[1], ("values".into(), counting() / 2.0));
    let positional = npz::read(file("positional.npz")).unwrap();
    let names: Vec<&str> = positional.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["arr_0", "arr_1"]);
    let deflated = npz::read(file("deflated.npz")).unwrap();
    assert_eq!(
        deflated,
        [("zeros".into(), ArrayD::zeros(IxDyn(&[10, 100])))]
    );
}

#[test]
fn numpy_savetxt() {
    assert_eq!(
        csv::read(file("savetxt.csv")).unwrap().into_dyn(),
        counting() / 4.0
    );
}

#[test]
fn what_is_written_reads_back() {
    let shapes: [&[usize]; 6] = [&[], &[3], &[0], &[2, 3], &[1, 1, 1, 1, 1], &[40, 200]];
    for shape in shapes {
        let numbers = (0..shape.iter().product()).map(|n| n as f32 / 7.0 - 1.0);
        let x = Array::from_shape_vec(IxDyn(shape), numbers.collect()).unwrap();
        let mut written = Vec::new();
        npy::write_to(&mut written, x.view()).unwrap();
        assert_eq!(
            written.len() % 64,
            (4 * x.len()) % 64,
            "the data are aligned"
        );
        assert_eq!(npy::from_bytes(&written).unwrap(), x, "{shape:?}");
        // A transposed view is written in its own order.
        let mut written = Vec::new();
        npy::write_to(&mut written, x.t()).unwrap();
        assert_eq!(npy::from_bytes(&written).unwrap(), x.t(), "{shape:?}");
        let archive = npz::to_bytes(&[("a".into(), x.view()), ("b/c".into(), x.view())]).unwrap();
        let names = npz::from_bytes(&archive).unwrap();
        assert_eq!(names, [("a".into(), x.clone()), ("b/c".into(), x)]);
    }
}

#[test]
fn a_name_twice_cannot_be_written() {
    let x = array![1.0].into_dyn();
    let twice = [("x".into(), x.view()), ("x".into(), x.view())];
    assert!(npz::to_bytes(&twice).is_err());
    let error = safetensors::to_bytes(&twice).unwrap_err();
    assert_eq!(error.to_string(), "array \"x\": two arrays have this name");
}

#[test]
fn safetensors_read_back() {
    let x = counting();
    let arrays = [
        ("b".into(), x.view()),
        ("a".into(), x.view().reversed_axes()),
    ];
    let written = safetensors::to_bytes(&arrays).unwrap();
    let read = ::safetensors::SafeTensors::deserialize(&written).unwrap();
    let a = read.tensor("a").unwrap();
    assert_eq!(a.shape(), [3, 2]);
    let numbers: Vec<f32> = a
        .data()
        .chunks(4)
        .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn json_reads_back() {
    let x = array![[0.1, f32::NAN], [f32::NEG_INFINITY, 1e-30]].into_dyn();
    let mut written = Vec::new();
    json::write_to(&mut written, &[("x\"".into(), x.view())]).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(read["x\""][0][0].to_string(), "0.1");
    assert_eq!(read["x\""][0][1], "NaN");
    assert_eq!(read["x\""][1][0], "-Infinity");
    assert_eq!(read["x\""][1][1].as_f64().unwrap() as f32, 1e-30);
}

#[test]
fn csv_reads_back_exactly() {
    let values = [
        0.0,
        -0.0,
        0.1,
        1.0 / 3.0,
        1e-45,
        3.4e38,
        1e16,
        123456.78,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-5,
        9.99e-6,
        f32::MIN_POSITIVE,
    ];
    let x = Array::from_shape_vec((7, 2), values.to_vec()).unwrap();
    let header = ["a, b".to_string(), "c".to_string()];
    let mut written = Vec::new();
    csv::write_to(&mut written, x.view(), Some(&header)).unwrap();
    let read = csv::from_bytes(&written).unwrap();
    for (one, other) in read.iter().zip(&x) {
        assert!(one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan());
    }
}

#[test]
fn csv_as_people_write_it() {
    let x = array![[1.0, 2.0], [3.0, 4.0]];
    for text in [
        "1,2\n3,4",
        "1,2\r\n3,4\r\n",
        "\n\n1, 2\n\n  \n 3 ,4\n\n",
        "\u{feff}a,b\n1,2\n3,4\n",
        "# a comment\na,b\n1,2\n# another, longer, one\n3,4\n",
        "a;b\n1;2\n3;4\n",
        "1\t2\n3\t4\n",
        "\"1\",\"2\"\n3,+4e0\n",
    ] {
        assert_eq!(csv::from_bytes(text.as_bytes()).unwrap(), x, "{text:?}");
    }
    assert_eq!(csv::from_bytes(b"x\n1\n2\n").unwrap().dim(), (2, 1));
}

#[test]
fn csv_errors_name_line_and_column() {
    for (text, words) in [
        (
            "a,b\n1,2\n\n3,x\n",
            "line 4, column 2: \"x\" is not a number",
        ),
        (
            "1,2\n3\n",
            "line 2 has 1 columns, the lines before it have 2",
        ),
        ("a,b\n1,2,3\n", "line 2 has 3 columns"),
        ("1,\n", "line 1, column 2: \"\" is not a number"),
        ("1,a\n", "line 1, column 2: \"a\" is not a number"),
        ("1 2\n3 4\n1,2\n", "line 2"),
        ("1\n1e300\n", "line 2, column 1: 1e300 is beyond the range"),
        ("a,b\n", "no line of numbers"),
        ("", "no line of numbers"),
        ("1\0", "not text"),
    ] {
        let error = csv::from_bytes(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}

#[test]
fn every_cut_is_an_error() {
    for name in ["f4.npy", "version_2.npy", "bool.npy"] {
        let whole = bytes(name);
        for end in 0..whole.len() {
            assert!(
                npy::from_bytes(&whole[..end]).is_err(),
                "{name} cut at {end}"
            );
        }
    }
    for name in ["stored.npz", "deflated.npz"] {
        let whole = bytes(name);
        for sixteenth in 0..16 {
            let end = whole.len() * sixteenth / 16;
            assert!(
                npz::from_bytes(&whole[..end]).is_err(),
                "{name} cut at {end}"
            );
        }
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    for at in 0..bytes("stored.npz").len() {
        let mut damaged = bytes("stored.npz");
        damaged[at] ^= 0xff;
        let _ = npz::from_bytes(&damaged);
    }
    for at in 0..bytes("f4.npy").len() {
        for flip in [1, 0x20, 0xff] {
            let mut damaged = bytes("f4.npy");
            damaged[at] ^= flip;
            let _ = npy::from_bytes(&damaged);
        }
    }
}

#[test]
fn hostile_headers_are_refused_at_once() {
    let deep = |open: &str, n: usize| open.repeat(n);
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }".to_string(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4), }".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296), }".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1), }".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1, }".into(),
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }".into(),
        "{'descr': '<f4', 'fortran_order': False}".into(),
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}".into(),
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x".into(),
        "{'descr': '<f4".into(),
        String::new(),
        deep("{", 60_000),
        deep("(", 60_000),
        format!("{{'descr': {}", deep("[", 60_000)),
        format!("{{'shape': {}", deep("(", 60_000)),
        format!("{{'shape': ({}", deep("1, ", 20_000)),
    ] {
        let error = npy::from_bytes(&npy_file(&header, &[0; 4]));
        assert!(error.is_err(), "{}", &header[..header.len().min(80)]);
    }
    let spaced = " { \"shape\" :( 1 , ),'fortran_order':True,\n'descr' : '<f4' }\n ";
    assert!(npy::from_bytes(&npy_file(spaced, &[0; 4])).is_ok());
    let python2 = "{'descr': '<f4', 'fortran_order': False, 'shape': (1L,), }";
    assert!(npy::from_bytes(&npy_file(python2, &[0; 4])).is_ok());
}

#[test]
fn a_shape_with_no_numbers_in_it_costs_nothing() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000), }";
    let array = npy::from_bytes(&npy_file(header, &[])).unwrap();
    assert_eq!(array.shape(), [0, 1_000_000]);
}

#[test]
fn a_zip_bomb_is_refused() {
    // 80 MiB of zeros, deflated to 80 KiB.
    let zeros = ArrayD::zeros(IxDyn(&[20 << 20]));
    let mut content = Vec::new();
    npy::write_to(&mut content, zeros.view()).unwrap();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("x.npy", options).unwrap();
    std::io::Write::write_all(&mut archive, &content).unwrap();
    let bomb = archive.finish().unwrap().into_inner();
    let error = npz::from_bytes(&bomb).unwrap_err();
    assert!(
        matches!(error.problem(), ArrayProblem::Expansion { .. }),
        "{error}"
    );
}

#[test]
fn an_archive_of_something_else() {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("config.json", options).unwrap();
    let other = archive.finish().unwrap().into_inner();
    let error = npz::from_bytes(&other).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
    let error = npz::from_bytes(b"PK").unwrap_err().to_string();
    assert!(error.contains("not an .npz archive"), "{error}");
}
