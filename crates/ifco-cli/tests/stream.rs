//! `ifco stream` from end to end: text, raw numbers and sound, states, and what cannot be.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use ifco::arrays::npz;
use serde_json::Value;

fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    folder.join(name).display().to_string()
}

/// Trained by Keras: one value in, one out, two LSTMs.
fn sunspots(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sunspots");
    folder.join(file).display().to_string()
}

/// An empty folder for a test's own files.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ifco"));
    command.arg("stream").args(arguments);
    command
}

fn stream(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A command that refuses its input does not read it.
    let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn works(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = stream(arguments, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "", "{arguments:?}");
    output.stdout
}

fn text(arguments: &[&str], input: &str) -> String {
    String::from_utf8(works(arguments, input.as_bytes())).unwrap()
}

fn fails(code: i32, arguments: &[&str], input: &[u8]) -> String {
    let output = stream(arguments, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    stderr
}

/// The series of the example, one number a line.
fn series() -> String {
    let text = fs::read_to_string(sunspots("x.csv")).unwrap();
    let first = text.lines().next().unwrap();
    first.replace(',', "\n") + "\n"
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-5 + 1e-4 * b.abs()
}

#[test]
fn the_last_line_is_what_predict_gives() {
    let answers = text(&[&sunspots("model.keras")], &series());
    assert_eq!(answers.lines().count(), 22);
    let last: f32 = answers.lines().last().unwrap().parse().unwrap();
    let keras = ifco::arrays::npy::read(sunspots("y_keras.npy")).unwrap();
    let keras = keras.iter().next().unwrap();
    assert!(close(last, *keras), "{last} is not {keras}");
}

#[test]
fn fewer_bits_change_the_answers_a_little() {
    let model = sunspots("model.keras");
    let of = |precision: &str| -> Vec<f32> {
        let answers = text(&[&model, "--precision", precision], &series());
        answers.lines().map(|line| line.parse().unwrap()).collect()
    };
    let exact = of("f32");
    for precision in ["bf16", "int8"] {
        let found = of(precision);
        assert_ne!(found, exact, "{precision}");
        let pairs = found.iter().zip(&exact);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = exact.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!(worst < 0.02 * largest, "{precision} is {worst} away");
    }
    assert!(fails(2, &[&model, "--precision", "int4"], b"").contains("int4"));
}

#[test]
fn an_instruction_set_that_is_not_there_is_refused() {
    let run = |name: &str| {
        let model = sunspots("model.keras");
        command(&[&model])
            .env("IFCO_ISA", name)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    assert!(run("portable").status.success());
    assert!(run("").status.success(), "an empty one says nothing");
    let output = run("mmx");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("IFCO_ISA is \"mmx\"") && stderr.contains("portable"),
        "{stderr}"
    );
}

#[test]
fn an_onnx_graph_streams_as_its_layers() {
    let onnx = folder("stream_onnx").join("x.onnx").display().to_string();
    let convert = Command::new(env!("CARGO_BIN_EXE_ifco"))
        .args(["convert", &sunspots("model.keras"), &onnx])
        .output()
        .unwrap();
    assert!(convert.status.success());
    let (keras, onnx) = (sunspots("model.keras"), onnx);
    assert_eq!(text(&[&onnx], &series()), text(&[&keras], &series()));
}

#[test]
fn text_raw_and_json_are_the_same() {
    let model = sunspots("model.keras");
    let plain: Vec<f32> = text(&[&model], &series())
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();

    let headed = format!(
        "sunspots\r\n# 22 years\r\n\r\n{}",
        series().replace('\n', "\r\n")
    );
    let again: Vec<f32> = text(&[&model], &headed)
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(again, plain);

    let lines = text(&[&model, "--json"], &series());
    for (index, (line, right)) in lines.lines().zip(&plain).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["step"], index);
        assert_eq!(line["output"][0].as_f64().unwrap() as f32, *right);
    }
    assert_eq!(lines.lines().count(), plain.len());

    let numbers = series();
    let numbers = numbers.lines().map(|line| line.parse::<f32>().unwrap());
    let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let raw = works(&[&model, "--raw"], &bytes);
    let raw: Vec<f32> = raw
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    assert_eq!(raw, plain);
}

#[test]
fn an_answer_comes_before_the_next_line() {
    for json in [false, true] {
        let mut command = command(&[&sunspots("model.keras")]);
        if json {
            command.arg("--json");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..3 {
            stdin.write_all(b"50\n").unwrap();
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert!(line.ends_with('\n'));
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn states_are_saved_and_restored() {
    let folder = folder("stream_states");
    let file = folder.join("s.npz").display().to_string();
    let model = sunspots("model.keras");
    let all = series();
    let (first, second) = all.split_at(all.match_indices('\n').nth(9).unwrap().0 + 1);
    let whole = text(&[&model], &all);
    let one = text(&[&model, "--state", &file], first);
    let two = text(
        &[&model, "--initial-state", &file, "--state", &file],
        second,
    );
    assert_eq!(one + &two, whole);

    let names: Vec<String> = npz::read(&file)
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["lstm/h", "lstm/c", "lstm_1/h", "lstm_1/c"]);
    let error = fails(
        1,
        &[&self::model("series.keras"), "--initial-state", &file],
        b"1\n",
    );
    assert!(error.contains("\"lstm/h\", expected rnn/h (2)"), "{error}");
    assert!(error.contains(&file) && error.contains("help: "), "{error}");
    let error = fails(2, &[&model, "--state", "s.csv"], b"1\n");
    assert!(error.contains("saved as .npz"), "{error}");
}

#[test]
fn what_is_wrong_says_where() {
    let model = sunspots("model.keras");
    for (input, what, place) in [
        (
            "1\nmany\n",
            "line 2, column 1: \"many\" is not a number",
            "stdin",
        ),
        ("1\n1,2\n", "2 values, expected 1 value", "stdin, line 2"),
        ("1\n\n1e99\n", "line 3, column 1: 1e99 is beyond", "stdin"),
    ] {
        let error = fails(1, &[&model], input.as_bytes());
        assert!(error.contains(what), "{error}");
        assert!(error.contains(&format!("  in: {place}\n")), "{error}");
    }
    let error = fails(1, &[&model, "--raw"], &[0; 10]);
    assert!(
        error.contains("ends within a step, after 2 bytes of its 4"),
        "{error}"
    );
    assert!(error.contains("stdin, step 2"), "{error}");

    let error = fails(1, &[&self::model("stacked.keras")], b"");
    assert!(
        error.contains("layer \"both\" (Bidirectional) cannot be run step by step"),
        "{error}"
    );
    assert!(
        error.contains("help: ") && error.contains("stacked.keras"),
        "{error}"
    );
    let error = fails(1, &[&self::model("translate.keras")], b"");
    assert!(
        error.contains("name one of them: head, decoder, decoder_1"),
        "{error}"
    );
    fails(2, &[&model, "in.wav"], b"");
    fails(2, &[&model, "--raw", "--json"], b"");
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let mut child = command(&[&sunspots("model.keras")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    while stdin.write_all(b"1\n").is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
}

/// Writes a file of `frames` frames of a slow wave, each channel louder than the one before.
fn write_wav(path: &Path, spec: WavSpec, frames: u32) {
    let mut writer = WavWriter::create(path, spec).unwrap();
    for frame in 0..frames {
        for channel in 1..=spec.channels {
            let x = 0.1 * f32::from(channel) * (frame as f32 / 10.0).sin();
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(x).unwrap(),
                SampleFormat::Int => {
                    let scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
                    writer.write_sample((x * scale) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
}

fn spec(channels: u16, bits_per_sample: u16, sample_format: SampleFormat) -> WavSpec {
    WavSpec {
        channels,
        sample_rate: 22_050,
        bits_per_sample,
        sample_format,
    }
}

/// Its samples from −1 to 1.
fn read_wav(path: &Path) -> (WavSpec, Vec<f32>) {
    let mut reader = WavReader::open(path).unwrap();
    let spec = reader.spec();
    let samples = match spec.sample_format {
        SampleFormat::Float => reader.samples().map(Result::unwrap).collect(),
        SampleFormat::Int => {
            let scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            let samples = reader.samples::<i32>();
            samples
                .map(|sample| sample.unwrap() as f32 / scale)
                .collect()
        }
    };
    (spec, samples)
}

#[test]
fn each_channel_of_a_sound_is_a_stream_of_its_own() {
    let folder = folder("stream_wav");
    let (from, to) = (folder.join("in.wav"), folder.join("out.wav"));
    let (from_text, to_text) = (from.display().to_string(), to.display().to_string());
    let model = ifco::open(model("series.keras")).unwrap();
    for (channels, bits, format) in [
        (1, 32, SampleFormat::Float),
        (2, 8, SampleFormat::Int),
        (1, 16, SampleFormat::Int),
        (3, 24, SampleFormat::Int),
        (2, 32, SampleFormat::Int),
    ] {
        let spec = spec(channels, bits, format);
        write_wav(&from, spec, 300);
        let arguments = [
            &self::model("series.keras"),
            &from_text,
            &to_text,
            "--format",
            "float",
        ];
        let said = text(&arguments, "");
        assert!(said.contains("0.01361 s of sound in"), "{said}");
        assert!(said.ends_with(" times real time\n"), "{said}");

        let (_, x) = read_wav(&from);
        let (found, y) = read_wav(&to);
        assert_eq!((found.channels, found.sample_rate), (channels, 22_050));
        assert_eq!(
            (found.sample_format, y.len()),
            (SampleFormat::Float, x.len())
        );
        let mut sessions: Vec<_> = (0..channels).map(|_| model.session().unwrap()).collect();
        for (index, (x, y)) in x.iter().zip(&y).enumerate() {
            let right = sessions[index % usize::from(channels)].step(&[*x])[0];
            assert!(
                close(*y, right),
                "{spec:?}, sample {index}: {y} is not {right}"
            );
        }

        // In the input's own format, to its last bit, or clipped.
        let arguments = [&self::model("series.keras"), &from_text, &to_text, "--json"];
        let output = stream(&arguments.map(|a| a as &str), b"");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&report["frames"], &report["interrupted"]),
            (&300.into(), &false.into())
        );
        let (found, coarse) = read_wav(&to);
        assert_eq!(found, spec);
        let step = match format {
            SampleFormat::Float => 0.0,
            SampleFormat::Int => 1.0 / (1_i64 << (bits - 1)) as f32,
        };
        let mut clipped = 0;
        for (coarse, fine) in coarse.iter().zip(&y) {
            let limit = if format == SampleFormat::Int {
                fine.clamp(-1.0, 1.0)
            } else {
                *fine
            };
            clipped += u64::from(format == SampleFormat::Int && fine.abs() > 1.0 + step);
            assert!(
                (coarse - limit).abs() <= step + 1e-6,
                "{coarse} is not {limit}"
            );
        }
        let counted = report["clipped"].as_u64().unwrap();
        assert!(counted >= clipped, "{counted} instead of {clipped}");
    }
}

#[test]
fn sounds_that_cannot_be_say_why_and_leave_nothing() {
    let folder = folder("stream_wav_wrong");
    let (from, to) = (folder.join("in.wav"), folder.join("out.wav"));
    let (from_text, to_text) = (from.display().to_string(), to.display().to_string());
    let model = model("series.keras");

    fs::write(&from, "RIFF and no more").unwrap();
    let error = fails(1, &[&model, &from_text, &to_text], b"");
    assert!(
        error.contains("no .wav file") && error.contains("help: "),
        "{error}"
    );
    let error = fails(1, &[&model, "/no/such.wav", &to_text], b"");
    assert!(
        error.contains("cannot be read") && error.contains("/no/such.wav"),
        "{error}"
    );
    write_wav(&from, spec(3, 16, SampleFormat::Int), 4);
    let masked = self::model("masked.keras");
    let error = fails(1, &[&masked, &from_text, &to_text], b"");
    assert!(
        error.contains("takes 2 values at each step, and the file has 3 channels"),
        "{error}"
    );
    let error = fails(1, &[&model, &from_text, "/no/such/folder/out.wav"], b"");
    assert!(error.contains("/no/such/folder/out.wav"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// A file may be cut off anywhere, or wrong in any byte of its header: that is no panic.
#[test]
fn damaged_sounds_are_no_panic() {
    let folder = folder("stream_wav_damaged");
    let (from, to) = (folder.join("in.wav"), folder.join("out.wav"));
    write_wav(&from, spec(2, 16, SampleFormat::Int), 4);
    let whole = fs::read(&from).unwrap();
    let model = model("series.keras");
    let run = |bytes: &[u8]| {
        fs::write(&from, bytes).unwrap();
        let arguments = [
            &model,
            &from.display().to_string(),
            &to.display().to_string(),
        ];
        let output = stream(&arguments.map(|a| a as &str), b"");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{bytes:?}: {stderr}"
        );
    };
    (0..whole.len())
        .step_by(3)
        .for_each(|end| run(&whole[..end]));
    for at in 0..whole.len() - 16 {
        let mut bytes = whole.clone();
        for wrong in [0, 0xff] {
            bytes[at] = wrong;
            run(&bytes);
        }
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_leaves_a_whole_file() {
    let folder = folder("stream_interrupt");
    let (from, to) = (folder.join("in.wav"), folder.join("out.wav"));
    write_wav(&from, spec(1, 16, SampleFormat::Int), 5_000_000);
    let arguments = [
        &sunspots("model.keras"),
        &from.display().to_string(),
        &to.display().to_string(),
    ];
    let child = command(&arguments.map(|a| a as &str))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is at work once the temporary file is there.
    let at_work = || fs::read_dir(&folder).unwrap().count() > 1;
    while !at_work() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let (spec, samples) = read_wav(&to);
    assert_eq!(spec.channels, 1);
    assert!(samples.len() < 5_000_000);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}
