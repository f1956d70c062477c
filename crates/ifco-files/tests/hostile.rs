//! Files that are damaged, or made to do harm: always an error that says what and where, and
//! never more memory than allowed.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use hdf5_pure::AttrValue;
use ifco_files::{
    FileError, Limits, OpenOptions, SaveOptions, open, open_any, open_bytes, progress_bytes,
    recipe_bytes,
};
use ifco_train::callback::{BestWeights, Progress};
use zip::CompressionMethod;

/// The system's allocator, which remembers the largest single request.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// No test here may ask for more at once than the default limits allow, with room for growth.
fn assert_modest() {
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(
        largest <= 130 << 20,
        "{largest} bytes were asked for at once"
    );
}

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).expect("the test's file is there")
}

#[test]
fn truncated_anywhere() {
    let archive = archive(CONFIG, &weights(), CompressionMethod::Stored);
    let deflated = common::archive(CONFIG, &weights(), CompressionMethod::Deflated);
    let whole = legacy("model_weights")
        .text("", "model_config", CONFIG)
        .build();
    for bytes in [
        archive,
        deflated,
        whole,
        weights().build(),
        legacy("").build(),
    ] {
        for part in 0..16 {
            let end = bytes.len() * part / 16;
            let text = message(bytes[..end].to_vec());
            let expected = if end == 0 { "empty file" } else { "cut off" };
            assert!(text.contains(expected), "{text}");
        }
    }
    assert_modest();
}

/// One byte of every 61 set to another value: nothing may panic.
#[test]
fn damaged_anywhere() {
    let archive = archive(CONFIG, &weights(), CompressionMethod::Stored);
    let whole = legacy("model_weights")
        .text("", "model_config", CONFIG)
        .build();
    for bytes in [archive, whole, weights().build()] {
        for at in (0..bytes.len()).step_by(61) {
            for value in [0, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let _ = open_bytes(bytes, "test");
            }
        }
    }
    assert_modest();
}

#[test]
fn a_changed_weight_in_an_archive_is_noticed() {
    let mut bytes = archive(CONFIG, &weights(), CompressionMethod::Stored);
    let weight = 2001f32.to_le_bytes();
    let at = bytes
        .windows(4)
        .position(|window| window == weight)
        .expect("it is in there");
    bytes[at] ^= 1;
    let text = message(bytes);
    assert!(
        text.contains("model.weights.h5") && text.contains("hecksum"),
        "{text}"
    );
}

#[test]
fn zip_bombs() {
    let zeros = vec![0u8; 65 << 20];
    for name in ["config.json", "model.weights.h5"] {
        let mut entries = vec![("metadata.json", METADATA.as_bytes())];
        if name != "config.json" {
            entries.push(("config.json", CONFIG.as_bytes()));
        }
        entries.push((name, &zeros));
        let bytes = zip(&entries, CompressionMethod::Deflated);
        assert!(bytes.len() < 200_000);
        match error(bytes) {
            FileError::Limit { what, found, .. } => {
                assert!(what.contains(name), "{what}");
                assert_eq!(found, 65 << 20);
            }
            other => panic!("{other}"),
        }
    }
    assert_modest();
}

/// An entry that claims to be small and is not: what it claims is all that is unpacked.
#[test]
fn an_entry_that_understates_its_size() {
    let size = 8_000_000u32;
    let spaces = vec![b' '; size as usize];
    let entries = [
        ("metadata.json", METADATA.as_bytes()),
        ("config.json", &spaces[..]),
    ];
    let mut bytes = zip(&entries, CompressionMethod::Deflated);
    let claims: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, window)| *window == size.to_le_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(claims.len() >= 2);
    for at in claims {
        bytes[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    }
    let text = message(bytes);
    assert!(text.contains("config.json"), "{text}");
}

#[test]
fn what_a_training_is_said_to_have_seen() {
    let seen = |json: &[u8], method| {
        let entries = [
            ("config.json", CONFIG.as_bytes()),
            ("ifco.training.json", json),
        ];
        progress_bytes(zip(&entries, method), "x.keras")
    };
    let stored = |json: &str| match seen(json.as_bytes(), CompressionMethod::Stored) {
        Ok(_) => panic!("{json} is taken"),
        Err(error) => error.to_string(),
    };
    assert!(stored("{").contains("ifco.training.json is not valid JSON"));
    let text = stored(r#"{"ifco": 1, "watched": "loss", "reduce_lr": {"wait": -1}}"#);
    assert!(text.contains(r#"reduce_lr: "wait" is -1"#), "{text}");
    let spaces = vec![b' '; 2 << 20];
    let bomb = seen(&spaces, CompressionMethod::Deflated);
    assert!(matches!(bomb, Err(FileError::Limit { .. })));
    let other = zip(&[("ifco.training.json", b"{")], CompressionMethod::Stored);
    assert!(matches!(progress_bytes(other, "x.zip"), Ok(None)));

    // Best weights are the model's, and there where they are said to be.
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/keras3/file_stacked.keras"
    );
    let model = open(path).unwrap();
    let best: Vec<_> = model
        .weights()
        .unwrap()
        .into_iter()
        .map(|w| w + 1.0)
        .collect();
    let progress = Progress {
        best_weights: BestWeights::Beside,
        ..Progress::new("loss")
    };
    let saved = |best| {
        let options = SaveOptions::new().progress(progress.clone(), best);
        options.to_bytes(&model, "x.keras").unwrap().bytes
    };
    let bytes = saved(Some(best.clone()));
    let found = progress_bytes(bytes, "x.keras").unwrap();
    assert_eq!(found, Some((progress.clone(), Some(best))));
    let error = progress_bytes(saved(None), "x.keras").unwrap_err();
    assert!(matches!(&error, FileError::Missing { part, .. } if part.contains("ifco.best")));
    assert_modest();
}

#[test]
fn what_a_model_is_said_to_be_made_for() {
    let recipe = |json: &[u8], method| {
        let entries = [("config.json", CONFIG.as_bytes()), ("ifco.json", json)];
        recipe_bytes(zip(&entries, method), "x.keras")
    };
    let stored = |json: &str| match recipe(json.as_bytes(), CompressionMethod::Stored) {
        Ok(_) => panic!("{json} is taken"),
        Err(error) => error.to_string(),
    };
    assert!(stored("{").contains("ifco.json is not valid JSON at line 1, column 1"));
    assert!(stored("[]").contains("ifco.json, ifco is absent, expected 1"));
    let text = stored(r#"{"ifco": 1, "task": "generate", "level": "char", "vocabulary": [1]}"#);
    assert!(
        text.contains("ifco.json, vocabulary is [1], expected a list of texts"),
        "{text}"
    );
    assert!(stored(&"[".repeat(100_000)).contains("recursion limit"));
    let spaces = vec![b' '; 20 << 20];
    let bomb = recipe(&spaces, CompressionMethod::Deflated);
    assert!(matches!(
        bomb,
        Err(FileError::Limit {
            found: 20_971_520,
            ..
        })
    ));
    // Other files, and archives of other kinds, say nothing of it.
    let other = zip(&[("ifco.json", b"{")], CompressionMethod::Stored);
    assert!(matches!(recipe_bytes(other, "x.zip"), Ok(None)));
    assert!(matches!(recipe_bytes(&b"GIF89a"[..], "x.gif"), Ok(None)));
    assert_modest();
}

#[test]
fn archives_that_are_something_else() {
    let stored = CompressionMethod::Stored;
    let text = message(zip(&[("archive/data.pkl", b"x")], stored));
    assert!(text.contains("archive/data.pkl is damaged"), "{text}");
    let text = message(zip(&[("a.npy", b"x"), ("b.npy", b"x")], stored));
    assert!(text.contains("a NumPy .npz"), "{text}");
    let text = message(zip(&[("model/config.json", b"{}")], stored));
    assert!(text.contains("config.json must lie at the top"), "{text}");
    let text = message(zip(&[("config.json", b"{}")], stored));
    assert!(text.contains("no metadata.json in the archive"), "{text}");
    let entries = [
        ("metadata.json", METADATA.as_bytes()),
        ("config.json", CONFIG.as_bytes()),
    ];
    let text = message(zip(&entries, stored));
    assert!(
        text.contains("no model.weights.h5 in the archive"),
        "{text}"
    );
    let mut sharded = entries.to_vec();
    sharded.push(("model.weights.json", b"{}"));
    let text = message(zip(&sharded, stored));
    assert!(text.contains("max_shard_size"), "{text}");
}

#[test]
fn files_that_are_something_else() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "an empty file"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"<!DOCTYPE html>", "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "git lfs pull",
        ),
        (b"{\"class_name\": 1}", "together with its weights"),
        (b"\x80\x04\x95", "a Python pickle"),
        (&[0; 100], "begins with zeros"),
    ];
    for (bytes, expected) in cases {
        let text = message(bytes.to_vec());
        assert!(text.contains(expected), "{text}");
    }
    let text = message(Tree::new().array("data/x", &[2], 0.0).build());
    assert!(
        text.contains("Keras did not write") && text.contains("data"),
        "{text}"
    );
    let folder = open(env!("CARGO_MANIFEST_DIR")).expect_err("a directory");
    assert!(
        folder.to_string().contains("this is a directory"),
        "{folder}"
    );
    let absent = open_any("no/such/file.keras").expect_err("absent");
    assert!(matches!(absent, FileError::Io { .. }), "{absent}");
}

#[test]
fn weights_that_are_missing_or_wrong() {
    let archived = |tree: Tree| message(archive(CONFIG, &tree, CompressionMethod::Stored));
    let partial = Tree::new()
        .array("layers/lstm/cell/vars/0", &[3, 8], 0.0)
        .array("layers/dense/vars/0", &[2, 1], 3000.0);
    let text = archived(partial);
    assert!(text.contains("\"layers/lstm/cell/vars/1\""), "{text}");
    assert!(
        text.contains("in \"layers/lstm/cell/vars\" there is: 0"),
        "{text}"
    );

    let text = archived(Tree::new().group("layers/gru"));
    assert!(text.contains("in \"layers\" there is: gru"), "{text}");

    let wrong = Tree::new()
        .array("layers/lstm/cell/vars/0", &[3, 8], 0.0)
        .array("layers/lstm/cell/vars/1", &[3, 8], 0.0)
        .array("layers/lstm/cell/vars/2", &[8], 0.0)
        .array("layers/dense/vars/0", &[2, 1], 0.0)
        .array("layers/dense/vars/1", &[1], 0.0);
    let text = archived(wrong);
    assert!(text.contains("memory") && text.contains("[3, 8]"), "{text}");

    let whole = |tree: Tree| message(tree.text("", "model_config", CONFIG).build());
    let fewer = Tree::new()
        .text("", "keras_version", "2.15.0")
        .texts("model_weights", "layer_names", &["memory", "head"])
        .legacy("model_weights", "memory", &LSTM_NAMES[..2])
        .legacy("model_weights", "head", &[("k", &[2, 1]), ("b", &[1])]);
    let text = whole(fewer);
    assert!(
        text.contains("layer \"memory\" has 2 arrays in the file, but takes 3"),
        "{text}"
    );

    let absent = Tree::new()
        .texts("model_weights", "layer_names", &["memory", "head"])
        .texts(
            "model_weights/memory",
            "weight_names",
            &["absent", "b", "c"],
        )
        .legacy("model_weights", "head", &[("k", &[2, 1]), ("b", &[1])]);
    let text = whole(absent);
    assert!(
        text.contains("expected at \"model_weights/memory/absent\""),
        "{text}"
    );

    let text = whole(Tree::new().texts("model_weights", "layer_names", &["gone"]));
    assert!(text.contains("group \"model_weights/gone\""), "{text}");

    let one = Tree::new()
        .texts("model_weights", "layer_names", &["other"])
        .legacy("model_weights", "other", &[("k", &[2, 1])]);
    let text = whole(one);
    assert!(
        text.contains("2 layers with weights (memory, head), the file has 1 (other)"),
        "{text}"
    );
}

#[test]
fn attributes_that_lie() {
    let with = |value| message(Tree::new().attribute("", "model_config", value).build());
    let text = with(AttrValue::I64(3));
    assert!(text.contains("model_config is not a text"), "{text}");
    let text = with(AttrValue::String("{\"class_name\":\n tru}".into()));
    assert!(
        text.contains("attribute model_config is not valid JSON at line 2, column 5"),
        "{text}"
    );
    let text = message(
        Tree::new()
            .text("", "model_config", CONFIG)
            .attribute("model_weights", "layer_names", AttrValue::F64(1.0))
            .build(),
    );
    assert!(text.contains("attribute layer_names"), "{text}");
    let text = message(
        Tree::new()
            .text("", "model_config", CONFIG)
            .texts("model_weights", "layer_names", &["memory", "memory"])
            .legacy("model_weights", "memory", &LSTM_NAMES)
            .build(),
    );
    assert!(text.contains("listed twice"), "{text}");
}

#[test]
fn deep_json() {
    let deep = "[".repeat(100_000);
    let bytes = archive(&deep, &weights(), CompressionMethod::Deflated);
    let text = message(bytes);
    assert!(
        text.contains("config.json is not valid JSON") && text.contains("recursion"),
        "{text}"
    );
}

#[test]
fn quantized_weights_are_refused() {
    let config = CONFIG.replace(
        r#""name": "head","#,
        r#""name": "head", "dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}},"#,
    );
    let text = message(archive(&config, &weights(), CompressionMethod::Stored));
    assert!(text.contains("\"head\" is quantized"), "{text}");
}

#[test]
fn hdf5_that_leads_in_circles() {
    let text = message(data("cycle.weights.h5"));
    assert!(text.contains("lead back to its own group"), "{text}");
    // Links that go nowhere, or to another file, are not followed.
    assert!(open_bytes(data("soft_cycle.weights.h5"), "test").is_ok());
    assert_modest();
}

#[test]
fn hdf5_shapes_beyond_the_file() {
    for (name, expected) in [
        ("huge_shape.weights.h5", "needs 4398046511104"),
        (
            "overflow_shape.weights.h5",
            "claims the shape [2147483648, 2147483648, 4]",
        ),
        ("huge_chunk.weights.h5", "needs 2147483648"),
        ("text.weights.h5", "elements of 7 bytes that are no numbers"),
    ] {
        let text = message(data(name));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("layers/lstm/cell/vars/2"), "{text}");
    }
    assert_modest();
}

#[test]
fn all_arrays_together_stay_below_the_limit() {
    let mut limits = Limits::default();
    limits.floor = 100;
    limits.expansion = 0;
    let error = OpenOptions::new()
        .limits(limits)
        .open_bytes(weights().build(), "test")
        .expect_err("the arrays take 4·(24 + 16 + 8 + 2 + 1) bytes");
    assert!(
        matches!(
            error,
            FileError::Limit {
                field: "expansion",
                ..
            }
        ),
        "{error}"
    );
}

/// Thousands of references to one long string: each is fetched anew.
#[test]
fn one_string_a_thousand_times() {
    let long = "x".repeat(1 << 20);
    let mut texts = vec![long];
    texts.extend((0..3999).map(|i| format!("{i}")));
    let mut bytes = Tree::new()
        .text("", "model_config", CONFIG)
        .attribute(
            "model_weights",
            "layer_names",
            AttrValue::VarLenStringArray(texts),
        )
        .build();
    // A reference is the length of the string, where it lies, and its number there.
    let length = (1u32 << 20).to_le_bytes();
    let references = (0..bytes.len() - 32)
        .filter(|at| bytes[*at..at + 4] == length && bytes[at + 16..at + 20] == [1, 0, 0, 0])
        .collect::<Vec<_>>();
    assert!(!references.is_empty());
    for first in references {
        let reference = bytes[first..first + 16].to_vec();
        for i in 0..4000.min((bytes.len() - first) / 16) {
            bytes[first + 16 * i..first + 16 * (i + 1)].copy_from_slice(&reference);
        }
    }
    let _ = open_bytes(bytes, "test");
    assert_modest();
}
