//! The command on the models of `models/make.py`, and what it prints.

#![allow(dead_code)] // each test takes what it needs

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::ArrayViewD;

pub fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    folder.join(name).display().to_string()
}

/// An empty folder for a test's own files.
pub fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ifco"));
    command.args(arguments);
    command
}

pub fn ifco(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it prints when it works, and it says nothing else.
pub fn works(arguments: &[&str]) -> String {
    let output = ifco(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it fails with this code, and it prints nothing.
pub fn fails(code: i32, arguments: &[&str]) -> String {
    let output = ifco(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: "), "{stderr}");
    stderr
}

pub fn close(found: ArrayViewD<'_, f32>, expected: ArrayViewD<'_, f32>) {
    assert_eq!(found.shape(), expected.shape());
    for (found, expected) in found.iter().zip(&expected) {
        let tolerance = 1e-5 + 1e-4 * expected.abs();
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}
