//! Files of PyTorch and safetensors that are damaged, or made to do harm: always an error that
//! says what and where, and never more memory than allowed.

mod common;

use std::fs;

use common::zip;
use ifco_files::{FileError, Limits, OpenOptions, Opened, open_bytes};
use zip::CompressionMethod::{self, Deflated, Stored};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/torch/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).expect("the fixture is there")
}

fn message(bytes: impl Into<Vec<u8>>) -> String {
    match open_bytes(bytes, "weights.pt") {
        Err(error) => {
            let _ = error.help();
            error.to_string()
        }
        Ok(opened) => panic!("it opened: {opened:?}"),
    }
}

/// A zip as torch.save writes it, with this pickle and one storage.
fn saved(pickle: &[u8], storage: &[u8], method: CompressionMethod) -> Vec<u8> {
    zip(
        &[
            ("a/data.pkl", pickle),
            ("a/byteorder", b"little"),
            ("a/data/0", storage),
        ],
        method,
    )
}

/// The pickle of `{"w": tensor}`; a shape and strides of two axes.
fn tensor(count: u32, offset: u32, shape: [u32; 2], strides: [u32; 2]) -> Vec<u8> {
    fn number(pickle: &mut Vec<u8>, number: u32) {
        pickle.push(b'J');
        pickle.extend(number.to_le_bytes());
    }
    let mut pickle = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\
        \x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        .to_vec();
    number(&mut pickle, count);
    pickle.extend(b"tQ");
    number(&mut pickle, offset);
    for pair in [shape, strides] {
        number(&mut pickle, pair[0]);
        number(&mut pickle, pair[1]);
        pickle.push(0x86);
    }
    pickle.extend(b"\x89}tRs.");
    pickle
}

#[test]
fn a_tensor_within_its_storage_opens() {
    let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for method in [Stored, Deflated] {
        // The transpose of a (3, 2) matrix, without its first row's second number.
        let file = saved(&tensor(6, 0, [2, 3], [1, 2]), &bytes, method);
        let Opened::Weights(weights) = open_bytes(file, "weights.pt").expect("it opens") else {
            panic!("a model");
        };
        let array = &weights.groups[0].arrays[0].1;
        assert_eq!(array.shape(), [2, 3]);
        assert_eq!(
            array.iter().copied().collect::<Vec<_>>(),
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
        );
    }
}

#[test]
fn nothing_is_run() {
    let pickle = b"\x80\x02cposix\nsystem\nX\x0d\x00\x00\x00touch /tmp/pwd\x85R.";
    for file in [saved(pickle, b"", Stored), saved(pickle, b"", Deflated)] {
        let error = open_bytes(file, "weights.pt").expect_err("it asks for too much");
        assert!(matches!(error, FileError::Unsupported { .. }));
        assert!(
            error.to_string().contains("import \"posix.system\""),
            "{error}"
        );
        let help = error.help().expect("a remedy");
        assert!(help.contains("torch.save(model.state_dict()"), "{help}");
    }
    // In the legacy container, at each of its pickles.
    let legacy = fixture("legacy.pth");
    let magic = &legacy[..15];
    let mut first = magic.to_vec();
    first.extend(pickle);
    assert!(message(first).contains("posix.system"));
}

#[test]
fn storages_that_lie() {
    let bytes = [0; 24];
    let text = |pickle: Vec<u8>| message(saved(&pickle, &bytes, Stored));
    let beyond = text(tensor(6, 1, [2, 3], [3, 1]));
    assert!(
        beyond.contains("\"w\" is damaged: it reaches to number 7 of storage \"0\", which has 6"),
        "{beyond}"
    );
    let claims = text(tensor(1000, 0, [10, 100], [100, 1]));
    assert!(
        claims.contains("needs 4000 bytes of storage \"0\", which has 24"),
        "{claims}"
    );
    let large = text(tensor(6, 0, [i32::MAX as u32, i32::MAX as u32], [0, 0]));
    assert!(large.contains("its shape is"), "{large}");
    // One number, shown four billion times.
    let spread = text(tensor(6, 0, [1 << 16, 1 << 16], [0, 0]));
    assert!(spread.contains("the tensors together needs"), "{spread}");
    let far = text(tensor(6, 0, [2, 2], [i32::MAX as u32, i32::MAX as u32]));
    assert!(far.contains("reaches to number"), "{far}");
    let negative = text(tensor(6, 0, [2, u32::MAX], [3, 1]));
    assert!(
        negative.contains("a tensor that is not (storage, offset"),
        "{negative}"
    );
    let missing = zip(&[("a/data.pkl", &tensor(6, 0, [2, 3], [3, 1])[..])], Stored);
    assert!(message(missing).contains("there is no storage \"0\""));
}

#[test]
fn an_unpacked_storage_is_bounded() {
    let mut limits = Limits::default();
    limits.floor = 1 << 16;
    let zeros = vec![0; 1 << 20];
    let file = saved(&tensor(1 << 18, 0, [512, 512], [512, 1]), &zeros, Deflated);
    let error = OpenOptions::new()
        .limits(limits)
        .open_bytes(file, "weights.pt")
        .expect_err("it is too large");
    assert!(matches!(error, FileError::Limit { .. }), "{error}");
}

#[test]
fn pickles_that_grow_are_stopped() {
    let mut limits = Limits::default();
    limits.floor = 1 << 20;
    let none = vec![b'N'; 1 << 20];
    let error = OpenOptions::new()
        .limits(limits)
        .open_bytes(saved(&none, b"", Deflated), "weights.pt")
        .expect_err("it is too large");
    assert!(
        error.to_string().contains("what the pickle makes"),
        "{error}"
    );
    // A dictionary that holds itself, and many of the same: each is looked into once.
    let mut pickle = b"\x80\x02}q\x00(".to_vec();
    for number in 0..200_u32 {
        pickle.extend(b"X\x04\x00\x00\x00");
        pickle.extend(format!("{number:04}").bytes());
        pickle.extend(b"h\x00");
    }
    pickle.extend(b"u.");
    assert!(message(saved(&pickle, b"", Stored)).contains("no state_dict"));
}

#[test]
fn truncated_or_changed_anywhere() {
    for name in [
        "classifier.pt",
        "legacy.pth",
        "script.pt",
        "safetensors.safetensors",
        "views_legacy.pt",
    ] {
        let whole = fixture(name);
        for end in (0..whole.len()).step_by(7) {
            let text = message(&whole[..end]);
            assert!(text.starts_with("weights.pt: "), "{text}");
        }
        // Whatever one changed byte makes of it, it is an answer.
        for at in (0..whole.len()).step_by(3) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                if let Ok(Opened::Weights(weights)) = open_bytes(changed, "weights.pt") {
                    let _ = weights.cells();
                }
            }
        }
    }
}

#[test]
fn safetensors_that_lie() {
    let file = |header: &str, data: &[u8]| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    };
    let beyond = file(
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
        &[0; 12],
    );
    assert!(message(beyond).contains("\"w\" is damaged: it reaches beyond the end"));
    let other = file(
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}}"#,
        &[0; 12],
    );
    assert!(message(other).contains("the header"));
    let huge = file(
        r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,12]}}"#,
        &[0; 12],
    );
    assert!(message(huge).contains("the header"));
    let text = message(file(
        r#"{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#,
        &[0; 4],
    ));
    assert!(text.contains("tensor \"w\" is of type F8_E4M3"), "{text}");
    let mut long = fixture("safetensors.safetensors");
    long[..8].copy_from_slice(&(1_u64 << 29).to_le_bytes());
    assert!(message(long).contains("the limit is"));
}

#[test]
fn specs_that_are_wrong_say_where() {
    let path = |name: &str| format!("{}/../../fixtures/torch/{name}", env!("CARGO_MANIFEST_DIR"));
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (number, (text, expected)) in [
        ("order = [\"lstm\"", "line 1: this is not valid TOML"),
        (
            "\ntake = \"last\"",
            "line 2: \"take\" is not known; there are: state_dict",
        ),
        ("[modules.lstm]\ntake = 3", "line 2: expected a text"),
        (
            "[modules.lstm]\ntake = \"first\"",
            "\"first\" is not known; there are: all, last",
        ),
        (
            "[modules.rnn]\n",
            "module \"rnn\", which is not in the file",
        ),
        ("order = [\"lstm\", \"fc\"]", "order leaves out \"norm\""),
        (
            "order = [\"lstm\", \"fc\", \"fc\", \"norm\"]",
            "order has a module twice",
        ),
        (
            "order = [\"fc\", \"lstm\", \"norm\"]",
            "\"lstm\" (LSTM) takes a sequence of 3",
        ),
        (
            "unused = [\"lstm\", \"norm\"]\n[modules.fc]\ntake = \"last\"",
            "gives no sequence",
        ),
        (
            "state_dict = \"ema\"",
            "there is no state_dict under \"ema\"",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = folder.join(format!("spec{number}.toml"));
        fs::write(&spec, text).expect("a folder for tests");
        let error = OpenOptions::new()
            .open_assuming(path("classifier.pt"), Some(&spec))
            .expect_err(text);
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(error.help().is_some());
    }
}
