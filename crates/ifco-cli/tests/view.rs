//! `ifco view` from end to end, without a browser; `ifco-view/tests/browser` has one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    root.join(name).display().to_string()
}

fn weights() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    root.join("stacked.weights.h5").display().to_string()
}

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("view")
        .join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn view(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ifco"))
        .arg("view")
        .args(arguments)
        .output()
        .unwrap()
}

/// stderr of a command that fails with this exit code.
fn fails(code: i32, arguments: &[&str]) -> String {
    let output = view(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    stderr
}

/// The page that `--export` writes.
fn exported(test: &str, arguments: &[&str]) -> String {
    let path = folder(test).join("page.html");
    let path = path.to_str().unwrap();
    let output = view(&[arguments, &["--export", path]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    fs::read_to_string(path).unwrap()
}

#[test]
fn one_file_with_model_and_run() {
    let (model, x) = (example("sunspots/model.keras"), example("sunspots/x.npy"));
    let page = exported("file", &[&model, &x, "--row", "3"]);
    for part in [
        "<!doctype html>",
        "\"lstm_1\"",
        "\"row\":3",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Nothing of it is elsewhere.
    for elsewhere in ["src=", "href=\"http", "@import", "url(h"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(exported("weights", &[&weights()]).contains("\"both/forward\""));
}

#[test]
fn what_is_wrong_is_said() {
    let (model, x) = (example("sunspots/model.keras"), example("sunspots/x.npy"));
    let said = fails(1, &[&model, &x, "--row", "59"]);
    assert!(
        said.contains("there is no row 59: the inputs have 59"),
        "{said}"
    );
    let said = fails(1, &[&weights(), &x]);
    assert!(said.contains("--architecture"), "{said}");
    let said = fails(1, &[&model, "--text", "1\n2"]);
    assert!(
        said.contains("2 numbers do not make an input of shape (None, 22, 1)"),
        "{said}"
    );

    let dates = example("dates/model.keras");
    let said = fails(1, &[&dates, "--text", "3 nov 2026"]);
    assert!(said.contains("2 inputs: written, so_far"), "{said}");
    let said = fails(1, &[&dates, "--text", "3 nov 2026", "--text", "1"]);
    assert!(said.contains("--vocabulary"), "{said}");

    let labels = folder("labels").join("labels.txt");
    fs::write(&labels, "one\ntwo\n").unwrap();
    let said = fails(1, &[&model, &x, "--labels", labels.to_str().unwrap()]);
    assert!(said.contains("22 steps"), "{said}");
    assert!(said.contains("labels.txt"), "{said}");

    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = fails(1, &[&model, &x, "--port", &port]);
    assert!(said.contains(&format!("port {port} is taken")), "{said}");
    assert!(said.contains("--port"), "{said}");
    fails(2, &[&model, &x, "--text", "1"]);
    fails(2, &[&model, &x, "--export", "page.html", "--open"]);
}

#[test]
fn it_serves_until_it_is_ended() {
    let (model, x) = (example("sunspots/model.keras"), example("sunspots/x.npy"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ifco"))
        .args(["view", &model, &x])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = command.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET /{path}info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    command.kill().unwrap();
    command.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"lstm_1\""));
}
