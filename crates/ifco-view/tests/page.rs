//! The page's server as a browser meets it, and as somebody meets it who means no good.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use ifco_model::{Generation, Model, Target, Unit};
use ifco_view::page::{Page, Request, ServeError, ServeOptions, serve};
use ndarray::{Array, ArrayD, IxDyn, s};
use proptest::prelude::*;
use serde_json::{Value, json};

const UNITS: usize = 3;
const FEATURES: usize = 2;

/// A model of this recurrent layer over numbers, with weights that are all different.
fn model(class: &str, gates: usize, name: &str) -> Model {
    let json = json!({"class_name": "Sequential", "config": {"name": "tiny", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 2]}},
        {"class_name": class, "config": {"name": name, "units": UNITS}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
    let weights = model.weight_slots().into_iter().map(|slot| {
        let shape: &[usize] = match slot.name.as_str() {
            "kernel" => &[2, UNITS * gates],
            "recurrent_kernel" => &[UNITS, UNITS * gates],
            _ if class == "GRU" => &[2, UNITS * gates],
            _ => &[UNITS * gates],
        };
        let count: usize = shape.iter().product();
        array(shape, (0..count).map(|k| ((k as f32) * 0.7).sin()))
    });
    let weights = weights.collect();
    model.set_weights(weights).unwrap();
    model
}

fn array(shape: &[usize], values: impl IntoIterator<Item = f32>) -> ArrayD<f32> {
    let values = Array::from_iter(values);
    values.into_shape_with_order(IxDyn(shape)).unwrap()
}

fn input(steps: usize) -> ArrayD<f32> {
    array(&[1, steps, 2], (0..2 * steps).map(|k| (k as f32).cos()))
}

fn page() -> Page {
    let page = Page::of_model("tiny.keras", model("LSTM", 4, "lstm"));
    page.with_inputs(vec![input(7)]).unwrap()
}

fn get(page: &Page, target: &str) -> (u16, Vec<u8>) {
    let answer = page.answer(&Request {
        method: "GET",
        target,
        body: b"",
    });
    (answer.status, answer.body.into_owned())
}

fn info(page: &Page) -> Value {
    serde_json::from_slice(&get(page, "info").1).unwrap()
}

fn post(page: &Page, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let answer = page.answer(&Request {
        method: "POST",
        target: "run",
        body: body.as_bytes(),
    });
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn a_step_is_what_the_trace_says() {
    for (class, gates) in [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)] {
        let traced = model(class, gates, "rnn").trace("rnn", &input(7)).unwrap();
        let page = Page::of_model("tiny.keras", model(class, gates, "rnn"));
        let page = page.with_inputs(vec![input(7)]).unwrap();
        for step in 0..7 {
            let (status, bytes) = get(&page, &format!("step?run=0&trace=0&step={step}"));
            assert_eq!(status, 200);
            let mut found = numbers(&bytes).into_iter();
            let mut expect = |what: &str, values: Vec<f32>| {
                let found: Vec<f32> = found.by_ref().take(values.len()).collect();
                assert_eq!(found, values, "{class} step {step}: {what}");
            };
            expect("x", traced.inputs.slice(s![0, step, ..]).to_vec());
            for state in traced.kind().states() {
                expect(state, traced.before(state, 0, step).unwrap().to_vec());
            }
            for (name, values) in traced.iter() {
                expect(name, values.slice(s![0, step, ..]).to_vec());
            }
            assert_eq!(found.next(), None);
        }
        for (index, (name, values)) in traced.iter().enumerate() {
            let (_, bytes) = get(&page, &format!("raw?run=0&trace=0&array={index}"));
            let values: Vec<f32> = values.iter().copied().collect();
            assert_eq!(numbers(&bytes), values, "{class} {name}");
        }
    }
}

#[test]
fn what_is_written_is_run() {
    let page = page();
    let texts = |text: &str| json!({ "texts": [text], "before": 0 });
    let (status, run) = post(&page, &texts("1, 2\n3, 4\n-0.5, 0.25"));
    assert_eq!(status, 200, "{run}");
    let x = array(&[1, 3, 2], [1.0, 2.0, 3.0, 4.0, -0.5, 0.25]);
    let expected = model("LSTM", 4, "lstm").predict(&x).unwrap();
    let values = run["outputs"][0]["values"].as_array().unwrap().iter();
    let found: Vec<f32> = values.map(|value| value.as_f64().unwrap() as f32).collect();
    assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
    assert_eq!(run["inputs"][0]["shape"], json!([1, 3, 2]));
    assert_eq!(run["traces"][0]["steps"], 3);
    // The run before is still there.
    assert_eq!(get(&page, "step?run=0&trace=0&step=6").0, 200);

    for (body, wrong) in [
        (texts("1, 2\n3, four"), "line 2: \"four\" is not a number"),
        (
            texts("1, 2, 3"),
            "3 numbers do not make an input of shape (None, None, 2)",
        ),
        (json!({ "texts": [] }), "0 texts given"),
        (json!({ "texts": [7] }), "texts are strings"),
        (json!({ "row": 1 }), "there is no row 1"),
        (json!([]), "a run needs a row or texts"),
    ] {
        let (status, answer) = post(&page, &body);
        assert!(status == 400 || status == 422, "{answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(wrong), "{error}");
    }
}

/// A model that returns sequences, with these layers before its LSTM.
fn sequences(before: &str) -> Model {
    let json = format!(
        r#"{{"class_name": "Sequential", "config": {{"name": "long", "layers": [
        {{"class_name": "InputLayer", "config": {{"name": "x", "batch_shape": [null, null, 2]}}}}, {before}
        {{"class_name": "LSTM", "config": {{"name": "lstm", "units": 3, "return_sequences": true}}}}]}}}}"#
    );
    let mut long =
        Model::from_config(&serde_json::from_str(&json).unwrap(), Generation::Keras3).unwrap();
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let shapes: [&[usize]; 3] = [&[2, 12], &[3, 12], &[12]];
    let weights =
        shapes.map(|shape| array(shape, (0..count(shape)).map(|k| (k as f32 * 0.7).sin())));
    long.set_weights(weights.into()).unwrap();
    long
}

/// What is the same is not computed again, and what comes after it is what the whole run gives;
/// also where a step is masked, so that the model cannot go on from another one.
#[test]
fn an_edit_goes_on_from_what_is_the_same() {
    let masking = r#"{"class_name": "Masking", "config": {"name": "masking", "mask_value": 9.0}},"#;
    for (before, changed, goes_on) in [
        ("", 5000, true),
        (masking, 5000, true),
        (masking, 5001, false),
    ] {
        let long = sequences(before);
        let mut x = input(9000);
        let page = Page::of_model("long.keras", sequences(before));
        let page = page.with_inputs(vec![x.clone()]).unwrap();
        let value = if goes_on { 0.25 } else { 9.0 };
        x.slice_mut(s![0, changed, ..]).fill(value);
        let lines = x.outer_iter().next().unwrap();
        let lines = lines
            .outer_iter()
            .map(|line| format!("{}, {}", line[0], line[1]));
        let text = lines.collect::<Vec<_>>().join("\n");
        let (status, run) = post(&page, &json!({ "texts": [text], "before": 0 }));
        assert_eq!(status, 200, "{run}");
        assert_eq!(
            (&run["steps"], &run["changed"]),
            (&json!(9000), &json!(changed))
        );
        let mut now = run.clone();
        while now["done"] != now["steps"] {
            now = post(&page, &json!({ "on": 1 })).1;
        }
        assert_eq!(now["kept"], if goes_on { 4096 } else { 0 }, "{before}");

        let trace = long.trace("lstm", &x).unwrap();
        for step in [0, 4095, 4096, changed, 8191, 8999] {
            let found = numbers(&get(&page, &format!("step?run=1&trace=0&step={step}")).1);
            let mut expected = trace.inputs.slice(s![0, step, ..]).to_vec();
            for state in ["h", "c"] {
                expected.extend(trace.before(state, 0, step).unwrap());
            }
            trace
                .iter()
                .for_each(|(_, values)| expected.extend(values.slice(s![0, step, ..])));
            assert_eq!(found.len(), expected.len());
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(found.iter().zip(&expected).all(close), "step {step}");
        }
        let output = &now["outputs"][0];
        assert_eq!(output["shape"], json!([1, 9000, 3]));
        let first = output["first"].as_u64().unwrap() as usize;
        assert!(first <= changed && changed < first + 60);
        let h = trace.get("h").unwrap();
        let values = output["values"].as_array().unwrap();
        for (k, value) in values.iter().enumerate() {
            let expected = h[[0, first + k / 3, k % 3]];
            assert!((value.as_f64().unwrap() as f32 - expected).abs() < 1e-6);
        }
        // The run before is what it was.
        let whole = numbers(&get(&page, "raw?run=0&trace=0&array=5").1);
        let expected = long.predict(&input(9000)).unwrap();
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(whole.iter().zip(&expected).all(close));
    }
}

/// The names of each framework, where it has such a cell.
#[test]
fn each_kind_of_cell_is_named_in_every_framework() {
    let element = |page: &Page, gate: usize, part: &str| -> Vec<String> {
        let places = info(page)["cells"][0]["gates"][gate]["places"].clone();
        let places = places.as_array().unwrap().iter();
        places
            .map(|place| place["parts"][part]["element"].to_string())
            .collect()
    };
    let gru = Page::of_model("gru.keras", model("GRU", 3, "gru"));
    assert_eq!(
        element(&gru, 1, "kernel"),
        [
            r#""kernel[{row}, {1}]""#,
            r#""weight_ih_l0[{0}, {row}]""#,
            r#""W[0, {1}, {row}]""#
        ],
    );
    assert_eq!(
        element(&gru, 0, "bias"),
        [
            r#"["bias[0, {0}]","bias[1, {0}]"]"#,
            r#"["bias_ih_l0[{1}]","bias_hh_l0[{1}]"]"#,
            r#"["B[0, {0}]","B[0, {3}]"]"#
        ],
    );
    let rnn = Page::of_model("rnn.keras", model("SimpleRNN", 1, "rnn"));
    assert_eq!(
        element(&rnn, 0, "recurrent_kernel"),
        [
            r#""recurrent_kernel[{row}, {0}]""#,
            r#""weight_hh_l0[{0}, {row}]""#,
            r#""R[0, {0}, {row}]""#
        ],
    );
}

#[test]
fn an_edit_too_long_for_memory_is_refused() {
    let json = json!({"class_name": "Sequential", "config": {"name": "wide", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
        {"class_name": "SimpleRNN", "config": {"name": "rnn", "units": 1024, "use_bias": false}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
    let zeros = |shape: &[usize]| ArrayD::zeros(IxDyn(shape));
    let weights = vec![zeros(&[1, 1024]), zeros(&[1024, 1024])];
    model.set_weights(weights).unwrap();
    let page = Page::of_model("wide.keras", model);
    let (status, answer) = post(&page, &json!({ "texts": ["0 ".repeat(1 << 20)] }));
    assert_eq!(status, 422);
    assert!(answer["error"].as_str().unwrap().contains("MB"), "{answer}");
}

#[test]
fn labels_are_as_many_as_steps() {
    let days = |_row: usize, steps: usize| Some((0..steps).map(|k| format!("day {k}")).collect());
    let labels = |page: &Page| info(page)["run"]["traces"][0]["labels"].clone();
    assert_eq!(labels(&page().with_labels(days))[6], "day 6");
    let one = |_row: usize, _steps: usize| Some(vec!["alone".to_string()]);
    assert_eq!(labels(&page().with_labels(one)), Value::Null);
}

/// Names from a file are data on the page, never part of it.
#[test]
fn a_hostile_name_does_not_end_the_script() {
    let name = "</script><script>alert(1)</script><!--";
    let page = Page::of_model(name, model("LSTM", 4, "lstm"));
    let html = page.with_inputs(vec![input(2)]).unwrap().export().unwrap();
    assert!(html.contains("\\u003c/script>\\u003cscript>alert(1)"));
    assert!(!html.contains("<script>alert(1)"));
    let data = html.split_once("id=\"data\">").unwrap().1;
    let (data, after) = data.split_once("</script>").unwrap();
    assert!(serde_json::from_str::<Value>(data).is_ok());
    assert!(after.trim_start().starts_with("<script>(() => {"));
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn the_file_holds_what_the_server_says() {
    let page = page();
    let html = page.export().unwrap();
    let data = html.split_once("id=\"data\">").unwrap().1;
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["info"], info(&page));
    assert_eq!(data["left_out"], json!([]));
    let decode = |name: &str| {
        let text = data["blobs"][name].as_str().unwrap();
        BASE64_STANDARD.decode(text).unwrap()
    };
    assert_eq!(decode("weights/0"), get(&page, "weights?cell=0").1);
    let planes = get(
        &page,
        "maps?run=0&trace=0&from=0&to=7&bins=1000&first=0&last=1000&shows=0",
    )
    .1;
    let all: Vec<u8> = (0..6)
        .flat_map(|array| decode(&format!("planes/0/{array}")))
        .collect();
    assert_eq!(all, planes);
    let steps: Vec<u8> = (0..7)
        .flat_map(|step| get(&page, &format!("step?run=0&trace=0&step={step}")).1)
        .collect();
    assert_eq!(decode("steps/0"), steps);

    let asked = "run=0&trace=0&output=0&of=0&at=0";
    let told = |path: &str| -> Value {
        serde_json::from_slice(&get(&page, &format!("{path}?{asked}")).1).unwrap()
    };
    let mut flow = told("flow");
    flow["parts"] = told("parts");
    assert_eq!(data["flow"], json!([flow]));
    let maps = get(&page, &format!("flowmaps?{asked}&from=0&to=7&bins=1000")).1;
    assert_eq!(decode("flow/0"), maps);
    let steps: Vec<u8> = (0..7)
        .flat_map(|step| get(&page, &format!("flowstep?{asked}&step={step}")).1)
        .collect();
    assert_eq!(decode("flowsteps/0"), steps);
}

/// A large run's file stays small enough to open, and tells what it lacks.
#[test]
fn a_large_file_leaves_out_and_says_so() {
    let page = Page::of_model("tiny.keras", model("LSTM", 4, "lstm"));
    let page = page.with_inputs(vec![input(250_000)]).unwrap();
    let html = page.export().unwrap();
    assert!(html.len() < 20 << 20, "{}", html.len());
    assert!(html.contains("exact numbers of lstm after its first"));
    assert!(html.contains("\"flow/0\""));
}

proptest! {
    /// Whatever is asked, there is an answer, and no panic.
    #[test]
    fn any_request_has_an_answer(
        method in "GET|POST|PUT|\\PC{0,8}",
        path in "|info|weights|column|picture|maps|curves|raw|step|run|\\PC{0,12}",
        query in "(((run|trace|array|step|cell|unit|part|rows|columns|from|to|bins|shows)=(0|1|2|7|18446744073709551615|-1|x)?&){0,7})|\\PC{0,40}",
        body in "\\{\"(row|texts|before|on)\":(0|9|\\[\"1,2\"\\]|null|\"[a-z]{0,9}\")\\}|\\PC{0,20}",
    ) {
        let page = page();
        let target = format!("{path}?{query}");
        let request = Request { method: &method, target: &target, body: body.as_bytes() };
        let answer = page.answer(&request);
        prop_assert!(matches!(answer.status, 200 | 400 | 404 | 405 | 410 | 422), "{}", answer.status);
        if answer.status != 200 {
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            prop_assert!(told["error"].is_string());
        }
    }
}

/// A page that is served until the test's process ends: its port and its token.
fn served() -> (u16, String) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let ready = |url: &str| sender.send(url.to_string()).unwrap();
        let _ = serve(page(), ServeOptions::default(), ready);
    });
    let url = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
    let (port, token) = rest.split_once('/').unwrap();
    (port.parse().unwrap(), token.trim_end_matches('/').into())
}

/// Sends bytes and nothing after them, and reads until the server hangs up.
fn talk(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).unwrap();
    // The server may hang up before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_server_answers_who_may_ask() {
    let (port, token) = served();
    let ask = |head: &str| {
        talk(
            port,
            format!("{head}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    let host = format!("Host: 127.0.0.1:{port}");
    let answer = ask(&format!("GET /{token}/ HTTP/1.1\r\n{host}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'",
        "referrer-policy: no-referrer",
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ] {
        assert!(lower.contains(header), "{header}");
    }
    for head in [
        format!("GET / HTTP/1.1\r\n{host}"),
        format!("GET /info HTTP/1.1\r\n{host}"),
        format!("GET /{}/ HTTP/1.1\r\n{host}", "0".repeat(32)),
        format!("GET /{token}/ HTTP/1.1\r\nHost: evil.example"),
        format!("GET /{token}/ HTTP/1.1\r\nHost: evil.example:{port}"),
        format!("POST /{token}/run HTTP/1.1\r\n{host}\r\nOrigin: http://evil.example"),
        format!("GET /{token}/info HTTP/1.1\r\n{host}\r\nOrigin: null"),
        format!("GET http://evil.example/{token}/ HTTP/1.1\r\nHost: evil.example"),
        format!("GET /{token}/ HTTP/1.0"),
    ] {
        let answer = ask(&head);
        assert!(answer.contains(" 403 "), "{head}: {answer}");
        assert!(!answer.contains("tiny.keras"), "{head}");
    }
}

#[test]
fn the_server_survives_what_is_no_http() {
    let (port, token) = served();
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let large = "x".repeat(1 << 20);
    let run = format!("POST /{token}/run HTTP/1.1\r\n{host}");
    let body = "y".repeat(5 << 20);
    for bytes in [
        b"\0\x01\xff\xfe".repeat(100),
        b"GET".to_vec(),
        format!("GET /{large} HTTP/1.1\r\n{host}\r\n").into_bytes(),
        format!("GET /{token}/ HTTP/1.1\r\n{host}X: {large}\r\n\r\n").into_bytes(),
        format!("{run}Content-Length: 99999999999\r\n\r\n").into_bytes(),
        format!("{run}Content-Length: -1\r\n\r\n").into_bytes(),
        format!("{run}Transfer-Encoding: chunked\r\n\r\nZZ\r\n").into_bytes(),
        format!("{run}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // And many that say nothing: the page is still there.
    let _silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let ask = format!("GET /{token}/info HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    assert!(talk(port, ask.as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_taken_port_is_told() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = serve(page(), ServeOptions { port }, |_| {}).unwrap_err();
    assert!(matches!(error, ServeError::PortTaken(taken) if taken == port));
    assert!(error.help().unwrap().contains("--port"));
}

/// Peepholes, a projection, a clip: their arrays are among the others, and a step tells what is
/// projected.
#[test]
fn an_lstm_with_options_is_shown() {
    let options = json!({"proj_size": 2, "peepholes": true, "clip": 0.5, "layer_norm": "gates"});
    let json = json!({"class_name": "Sequential", "config": {"name": "tiny", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, FEATURES]}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 3, "return_sequences": true,
            "ifco": options}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
    let shapes: [&[usize]; 9] = [
        &[FEATURES, 12],
        &[2, 12],
        &[12],
        &[3, 2],
        &[3, 3],
        &[12],
        &[12],
        &[3],
        &[3],
    ];
    let weights = shapes.map(|shape| {
        let size = shape.iter().product::<usize>();
        array(shape, (0..size).map(|n| (n as f32 * 0.7).sin()))
    });
    model.set_weights(weights.to_vec()).unwrap();
    let page = Page::of_model("tiny.pt", model);
    let page = page.with_inputs(vec![input(7)]).unwrap();

    let cell = &info(&page)["cells"][0];
    assert_eq!((&cell["units"], &cell["outputs"]), (&json!(3), &json!(2)));
    assert_eq!(cell["options"]["clip"], json!(0.5));
    let arrays = cell["arrays"].as_array().unwrap();
    let names: Vec<&str> = arrays
        .iter()
        .map(|array| array["name"].as_str().unwrap())
        .collect();
    let expected = [
        "kernel",
        "recurrent_kernel",
        "bias",
        "peepholes",
        "norm",
        "projection",
    ];
    assert_eq!(names[..6], expected);
    assert_eq!(names[6..], ["state_norm"]);
    for part in 0..arrays.len() {
        let path = format!("picture?cell=0&part={part}&rows=50&columns=50");
        assert_eq!(get(&page, &path).0, 200, "{path}");
    }
    // By gate: kernel, recurrent kernel, bias, peepholes, γ and β.
    let column = numbers(&get(&page, "column?cell=0&unit=2").1);
    assert_eq!(column.len(), (FEATURES + 2 + 1 + 1 + 2) * 4);
    assert_eq!(
        column[(FEATURES + 3) * 4 + 2],
        0.0,
        "the candidate has no peephole"
    );

    let projection: Vec<Vec<f32>> = (0..2)
        .map(|column| numbers(&get(&page, &format!("down?cell=0&part=5&column={column}")).1))
        .collect();
    assert_eq!(get(&page, "down?cell=0&part=5&column=2").0, 400);
    for step in 0..7 {
        let step = numbers(&get(&page, &format!("step?run=0&trace=0&step={step}")).1);
        // x; h and c before; i f c_tilde o c; h; o∘φ(c).
        assert_eq!(step.len(), FEATURES + 2 + 3 + 5 * 3 + 2 + 3);
        let (h, shown) = step[step.len() - 5..].split_at(2);
        for (h, column) in h.iter().zip(&projection) {
            let sum: f32 = shown.iter().zip(column).map(|(a, b)| a * b).sum();
            assert!((h - sum).abs() < 1e-6, "{h} {sum}");
        }
    }
    let maps = "maps?run=0&trace=0&from=0&to=7&bins=7&first=0&last=7&shows=0";
    assert_eq!(get(&page, maps).1.len(), 5 * (20 + 3 * 7) + 20 + 2 * 7);
    assert!(page.export().unwrap().contains("weights/0"));
}

/// What the page draws of the way back is what the library finds.
#[test]
fn the_gradient_is_told_on_request() {
    let page = page();
    let own = model("LSTM", 4, "lstm");
    let target = Target {
        unit: Unit::Number(1),
        ..Target::default()
    };
    let x = input(7);
    let found = own.trace_gradient(&[], &[x.view()], &Default::default(), |outputs| {
        target.gradients(outputs)
    });
    let found = found.unwrap();
    let arrays = found.get("lstm").unwrap().arrays();

    let asked = "run=0&trace=0&output=0&of=4&at=0";
    let (status, facts) = get(&page, &format!("flow?{asked}"));
    let facts: Value = serde_json::from_slice(&facts).unwrap();
    assert_eq!(status, 200, "{facts}");
    assert_eq!((&facts["unit"], &facts["step"]), (&json!(1), &Value::Null));
    let names: Vec<&str> = facts["arrays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|array| array["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dh", "dc", "forget_product"]);
    for step in 0..7 {
        let (_, bytes) = get(&page, &format!("flowstep?{asked}&step={step}"));
        let rows = arrays
            .iter()
            .flat_map(|(_, array)| array.slice(s![0, step, ..]).to_vec());
        assert_eq!(numbers(&bytes), rows.collect::<Vec<_>>(), "step {step}");
    }
    let (status, maps) = get(&page, &format!("flowmaps?{asked}&from=0&to=7&bins=7"));
    assert_eq!((status, maps.len()), (200, 3 * (20 + 7 * UNITS)));
    // The product of no gates is 1, the largest there is.
    let last = &maps[2 * (20 + 7 * UNITS) + 20..];
    assert_eq!(last[6], 254);

    for wrong in [
        "flow?run=0&trace=1&output=0&of=0&at=0",
        "flow?run=0&trace=0&output=0&at=0",
        &format!("flowstep?{asked}&step=7"),
        &format!("flowmaps?{asked}&from=0&to=8&bins=7"),
        &format!("flowmaps?{asked}&from=0&to=7&bins=0"),
    ] {
        assert_eq!(get(&page, wrong).0, 400, "{wrong}");
    }
    assert_eq!(get(&page, "flow?run=5&trace=0&output=0&of=0&at=0").0, 410);
    let (status, answer) = get(&page, "flow?run=0&trace=0&output=0&of=99&at=0");
    assert_eq!(status, 422, "{}", String::from_utf8_lossy(&answer));
}
