//! `ifco fit`, and what its models do with raw data; `ifco generate`, `ifco init`.

mod common;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use common::*;
use ifco::tasks::Recipe;
use serde_json::Value;

/// The last line as JSON.
fn told(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    fs::write(folder.join(name), text).unwrap();
    path(folder, name)
}

/// A wave that comes again every 12 steps, on a slow slope, in a column between others.
fn waves(rows: usize) -> String {
    let mut text = String::from("when,other,load\n");
    for t in 0..rows {
        let angle = t as f64 * std::f64::consts::TAU / 12.0;
        let load = 500.0 + 100.0 * angle.sin() + t as f64 * 0.1;
        writeln!(text, "day {t},{},{load:.4}", t % 5).unwrap();
    }
    text
}

#[test]
fn a_forecaster_learns_a_wave() {
    let folder = folder("fit_forecast");
    let data = write(&folder, "waves.csv", &waves(400));
    let out = path(&folder, "waves.keras");
    let sizes = [
        "--window",
        "16",
        "--horizon",
        "4",
        "--units",
        "16",
        "--epochs",
        "25",
    ];
    let more = [
        "--target",
        "load",
        "--learning-rate",
        "0.01",
        "-o",
        &out,
        "--json",
    ];
    let all = [&["fit", "forecast", &data], &sizes[..], &more[..]].concat();
    let text = works(&all);
    let last = told(&text);
    assert_eq!(last["task"], "forecast");
    assert_eq!(last["samples"]["train"], 280 - 16 - 4 + 1);
    assert_eq!(last["samples"]["test"], 80 - 4 + 1);
    assert_eq!(last["judged_on"], "test");
    // A net so small does better than the last value, and worse than what knows the season.
    assert_eq!(last["unbeaten"], serde_json::json!(["seasonal_naive"]));
    let mae = |key: &str| last["scores"][key]["mae"].as_f64().unwrap();
    // The season is found, and errs by the slope alone: 12 steps of 0.1.
    assert!((mae("seasonal_naive") - 1.2).abs() < 0.01, "{last}");
    assert!(mae("last_value") > 50.0, "{last}");
    assert!(mae("model") < 0.25 * mae("last_value"), "{last}");
    // The weights are those of the best epoch.
    let best = last["best"]["epoch"].as_u64().unwrap() as usize;
    let losses: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["logs"]["val_loss"].as_f64()
        })
        .collect();
    assert!(losses.iter().all(|loss| *loss >= losses[best - 1]));

    // The model forecasts behind the last row, from raw values.
    let forecast = works(&["predict", &out, &data]);
    let lines: Vec<&str> = forecast.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, "step,load"));
    let value = |line: &str| line.split_once(',').unwrap().1.parse::<f64>().unwrap();
    let wanted = 500.0 + 100.0 * (400.0 * std::f64::consts::TAU / 12.0).sin() + 40.0;
    let first = value(lines[1]);
    assert!(
        (first - wanted).abs() < 40.0,
        "{first} is not near {wanted}"
    );
    assert!(works(&["show", &out]).contains("forecasts 4 steps of \"load\""));
    let show = told(&works(&["show", &out, "--json"]).replace('\n', ""));
    assert_eq!(show["recipe"]["window"], 16);

    // The same seed makes the same model; another does not.
    let again = path(&folder, "again.keras");
    let repeat: Vec<&str> = all
        .iter()
        .map(|a| if *a == out { &*again } else { a })
        .collect();
    works(&repeat);
    let weights = |file: &str| ifco::open(file).unwrap().weights().unwrap();
    assert_eq!(weights(&out), weights(&again));
    works(&[&repeat[..], &["--seed", "1", "--force"]].concat());
    assert_ne!(weights(&out), weights(&again));
}

#[test]
fn a_fit_draws_its_curves_and_says_what_to_try() {
    let folder = folder("fit_curves");
    let data = write(&folder, "waves.csv", &waves(200));
    let (out, curves) = (path(&folder, "waves.keras"), path(&folder, "curves.svg"));
    let board = path(&folder, "board");
    let fit = ["fit", "forecast", &data, "--target", "load", "-o", &out];
    let small = ["--window", "8", "--units", "2", "--epochs", "1"];
    let records = ["--plot", &curves, "--tensorboard", &board];
    let text = works(&[&fit[..], &small, &records].concat());
    let advice = text.lines().find(|line| line.starts_with("no better than"));
    assert!(advice.unwrap().contains(": try --inputs"), "{text}");
    let picture = std::fs::read_to_string(&curves).unwrap();
    assert!(picture.contains("How waves.keras was trained"));
    assert!(std::fs::read_dir(format!("{board}/validation")).is_ok());
}

#[test]
fn a_forecaster_keeps_its_task_on_the_way() {
    let folder = folder("fit_keeps");
    let data = write(&folder, "waves.csv", &waves(200));
    let out = path(&folder, "waves.keras");
    let sizes = [
        "--window",
        "8",
        "--horizon",
        "2",
        "--units",
        "4",
        "--epochs",
        "1",
    ];
    let text = works(&[&["fit", "forecast", &data, "-o", &out], &sizes[..]].concat());
    assert!(text.contains("the last value"), "{text}");
    assert!(text.contains("next: ifco predict"), "{text}");
    let (copy, trained) = (path(&folder, "copy.keras"), path(&folder, "trained.keras"));
    works(&["convert", &out, &copy]);
    assert_eq!(
        ifco::open_recipe(&copy).unwrap(),
        ifco::open_recipe(&out).unwrap()
    );
    // Arrays go the way of every model.
    let x = path(&folder, "x.npy");
    let window = ndarray::Array3::<f32>::from_elem((3, 8, 2), 500.0);
    ifco::arrays::npy::write(&x, window.into_dyn().view()).unwrap();
    let y = path(&folder, "y.npy");
    works(&["predict", &out, &x, "-o", &y]);
    let train = [
        "train", &out, "--x", &x, "--y", &y, "-o", &trained, "--json",
    ];
    let loss = told(&works(&train))["best"]["loss"].as_f64().unwrap();
    assert!(loss < 1e-6, "{loss}");
    assert!(matches!(
        ifco::open_recipe(&trained).unwrap(),
        Some(Recipe::Forecast(_))
    ));

    let short = write(&folder, "short.csv", &waves(7));
    let text = fails(1, &["predict", &out, &short]);
    assert!(
        text.contains("7 rows, and the model is told 8 steps"),
        "{text}"
    );
    let text = fails(
        1,
        &["predict", &out, &write(&folder, "b.csv", "a,b\n1,2\n")],
    );
    assert!(text.contains("there is no column \"other\""), "{text}");
}

#[test]
fn a_writer_learns_a_refrain() {
    let folder = folder("fit_generate");
    let text = write(&folder, "song.txt", &"la li lu, nur der mann\n".repeat(120));
    let out = path(&folder, "song.keras");
    let sizes = [
        "--units",
        "24",
        "--embedding",
        "8",
        "--length",
        "20",
        "--epochs",
        "40",
    ];
    let more = [
        "--batch-size",
        "8",
        "--learning-rate",
        "0.01",
        "-o",
        &out,
        "--json",
    ];
    let last = told(&works(
        &[&["fit", "generate", &text], &sizes[..], &more[..]].concat(),
    ));
    let perplexity = |key: &str| last["scores"][key]["perplexity"].as_f64().unwrap();
    assert!(perplexity("uniform") > perplexity("unigram"));
    assert!(perplexity("unigram") > perplexity("bigram"));
    assert!(perplexity("model") < 1.3, "{last}");
    assert!(perplexity("bigram") > 1.3, "{last}");

    let write = |more: &[&str]| works(&[&["generate", &out, "--length", "40"], more].concat());
    let first = write(&["--prompt", "la li", "--temperature", "0"]);
    assert_eq!(
        first,
        "la li lu, nur der mann\nla li lu, nur der mann\n"[..45].to_owned() + "\n"
    );
    let hot = |seed: &str| write(&["--temperature", "3", "--seed", seed]);
    assert_eq!(hot("1"), hot("1"));
    assert_ne!(hot("1"), hot("2"));
    let json = told(&write(&[
        "--prompt",
        "la li",
        "--temperature",
        "0",
        "--json",
    ]));
    assert_eq!(json["text"], first[5..45]);
    let text = fails(2, &["generate", &out, "--prompt", ""]);
    assert!(text.contains("the prompt is empty"), "{text}");
    let text = fails(1, &["generate", &model("stacked.keras")]);
    assert!(text.contains("ifco fit generate TEXT"), "{text}");
    let text = fails(2, &["predict", &out, "song.txt"]);
    assert!(text.contains("ifco generate"), "{text}");
}

/// Sentences whose words tell their labels by their endings, and each other.
fn sentences(first: usize, count: usize) -> String {
    let mut text = String::new();
    for number in first..first + count {
        let words = [
            ("The".to_owned(), "DET"),
            (format!("w{}ing", number % 7), "NOUN"),
            (format!("x{number}ed"), "VERB"),
            (".".to_owned(), "PUNCT"),
        ];
        let words = words.iter().skip(number % 2).zip(1..);
        for ((word, tag), id) in words {
            writeln!(text, "{id}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn a_tagger_knows_words_by_their_ends() {
    let folder = folder("fit_tag");
    let data = write(&folder, "train.conllu", &sentences(0, 150));
    let test = write(&folder, "test.conllu", &sentences(1000, 40));
    let out = path(&folder, "tagger.keras");
    let sizes = [
        "--units",
        "8",
        "--embedding",
        "8",
        "--epochs",
        "12",
        "--dropout",
        "0",
    ];
    let more = [
        "--learning-rate",
        "0.02",
        "--test",
        &test,
        "-o",
        &out,
        "--json",
    ];
    let last = told(&works(
        &[&["fit", "tag", &data], &sizes[..], &more[..]].concat(),
    ));
    assert_eq!(last["samples"]["test"], 40);
    let of = |key: &str, what: &str| last["scores"][key][what].as_f64().unwrap();
    assert!(of("model", "accuracy") > 0.99, "{last}");
    assert!(of("model", "accuracy_unknown") > 0.99, "{last}");
    assert!(of("most_frequent", "accuracy") <= 1.0);

    let untagged = write(
        &folder,
        "x.conllu",
        &sentences(2000, 2).replace("\tVERB", "\t_"),
    );
    assert_eq!(works(&["predict", &out, &untagged]), sentences(2000, 2));
    let plain = write(&folder, "x.txt", "The w1ing x9ed .\n\nw3ing x77ed .\n");
    let text = works(&["predict", &out, &plain, "--batch-size", "1"]);
    assert_eq!(text.lines().nth(2), Some("x9ed\tVERB"));
    assert_eq!(text.lines().count(), 9);
}

#[test]
fn a_classifier_of_texts_and_of_series() {
    let folder = folder("fit_classify");
    let mut texts = String::from("text,mood\n");
    let mut series = String::from("t0,t1,t2,t3,way\n");
    for i in 0..120 {
        let (word, mood) = [("good", "glad"), ("bad", "sad"), ("bad", "sad")][i % 3];
        writeln!(texts, "\"Well, a {word} day {}\",{mood}", i % 10).unwrap();
        let (slope, way) = [(1.0, "up"), (-1.0, "down")][i % 2];
        let at = |t: f64| 50.0 + slope * t * 3.0 + (i % 7) as f64;
        writeln!(
            series,
            "{},{},{},{},{way}",
            at(0.0),
            at(1.0),
            at(2.0),
            at(3.0)
        )
        .unwrap();
    }
    let texts = write(&folder, "texts.csv", &texts);
    let series = write(&folder, "series.csv", &series);
    let sizes = [
        "--units",
        "8",
        "--epochs",
        "20",
        "--batch-size",
        "8",
        "--json",
    ];
    let rate = ["--learning-rate", "0.02"];
    let out = path(&folder, "texts.keras");
    let all = [
        "fit", "classify", &texts, "--text", "text", "--label", "mood", "-o", &out,
    ];
    let last = told(&works(&[&all[..], &sizes, &rate].concat()));
    assert_eq!(last["scores"]["model"]["accuracy"], 1.0, "{last}");
    assert!(last["scores"]["majority"]["accuracy"].as_f64().unwrap() < 0.9);
    let new = write(
        &folder,
        "new.csv",
        "id,text\n1,a good one\n2,\"bad, bad!\"\n",
    );
    let said = works(&["predict", &out, &new]);
    let labels: Vec<&str> = said
        .lines()
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(labels, ["mood", "glad", "sad"]);

    let out = path(&folder, "series.keras");
    let all = [
        "fit", "classify", &series, "--series", "t0..t3", "--label", "way", "-o", &out,
    ];
    let last = told(&works(&[&all[..], &sizes, &rate].concat()));
    assert_eq!(last["scores"]["model"]["accuracy"], 1.0, "{last}");
    let csv = path(&folder, "said.csv");
    works(&["predict", &out, &series, "-o", &csv]);
    assert!(
        fs::read_to_string(&csv)
            .unwrap()
            .starts_with("way,chance\nup,")
    );
    let text = fails(
        1,
        &[
            "fit", "classify", &series, "--series", "t0..t9", "--label", "way",
        ],
    );
    assert!(text.contains("there is no column \"t9\""), "{text}");
}

/// Two channels of very different size, of which the difference in time tells the label: once with
/// the steps side by side, once a line for each step, of different lengths and not in order.
#[test]
fn a_classifier_of_several_channels() {
    let folder = folder("fit_channels");
    let mut wide = String::from("x0,x1,x2,x3,kind,y0,y1,y2,y3\n");
    let mut long = String::from("second,run,kind,big,small\n");
    for run in 0..120 {
        let kind = ["along", "against"][run % 2];
        let length = 3 + run % 4;
        let wave = |step: usize| f64::from((step * 7 + run * 5) as u32 % 11) - 5.0;
        let sign = [1.0, -1.0][run % 2];
        let big = |step| 1e4 + 100.0 * wave(step);
        let small = |step| 0.01 * sign * wave(step);
        let list = |of: &dyn Fn(usize) -> f64| {
            let steps: Vec<String> = (0..4).map(|step| of(step).to_string()).collect();
            steps.join(",")
        };
        writeln!(wide, "{},{kind},{}", list(&big), list(&small)).unwrap();
        for step in (0..length).rev() {
            let (big, small) = (big(step), small(step));
            writeln!(long, "{step},run {run},{kind},{big},{small}").unwrap();
        }
    }
    let wide = write(&folder, "wide.csv", &wide);
    let long = write(&folder, "long.csv", &long);
    let sizes = [
        "--label",
        "kind",
        "--units",
        "8",
        "--epochs",
        "25",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.02",
        "--json",
        "--early-stopping",
        "25",
    ];
    let out = path(&folder, "wide.keras");
    let series = ["--series", "x0..x3", "--series", "y0..y3", "-o", &out];
    let last = told(&works(
        &[&["fit", "classify", &wide][..], &series, &sizes].concat(),
    ));
    assert_eq!(last["scores"]["model"]["accuracy"], 1.0, "{last}");
    let shown = works(&["show", &out]);
    assert!(
        shown.contains("a series of 4 steps of 2 channels"),
        "{shown}"
    );
    let said = works(&["predict", &out, &wide]);
    assert!(said.starts_with("kind,chance\nalong,"), "{said}");

    let out = path(&folder, "long.keras");
    let series = [
        "--id",
        "run",
        "--time",
        "second",
        "--series",
        "big,small",
        "-o",
        &out,
    ];
    let last = told(&works(
        &[&["fit", "classify", &long][..], &series, &sizes].concat(),
    ));
    assert_eq!(last["scores"]["model"]["accuracy"], 1.0, "{last}");
    assert_eq!(last["samples"]["train"], 84);
    // The recordings come in the order of the file, whatever the order of their steps; batches of
    // other lengths say the same.
    let said = works(&["predict", &out, &long]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (121, "run,kind,chance"));
    assert!(lines[1].starts_with("run 0,along,") && lines[2].starts_with("run 1,against,"));
    let text = fs::read_to_string(&long).unwrap();
    let mut ordered: Vec<&str> = text.lines().skip(1).collect();
    ordered.sort_by_key(|line| line.split(',').next().unwrap().parse::<usize>().unwrap());
    let ordered = format!("{}\n{}\n", text.lines().next().unwrap(), ordered.join("\n"));
    let ordered = write(&folder, "ordered.csv", &ordered);
    let again = works(&["predict", &out, &ordered, "--batch-size", "1"]);
    for (line, again) in lines.iter().zip(again.lines()).skip(1) {
        let chance = |line: &str| line.rsplit(',').next().unwrap().parse::<f64>().unwrap();
        assert_eq!(line.split(',').next(), again.split(',').next());
        assert!(
            (chance(line) - chance(again)).abs() < 2e-4,
            "{line} and {again}"
        );
    }

    let fit = |code, file: &str, more: &[&str]| {
        let all = [&["fit", "classify", file, "--label", "kind"], more].concat();
        fails(code, &all)
    };
    let text = fit(2, &wide, &["--series", "x0..x3", "--series", "y0..y2"]);
    assert!(
        text.contains("the channel y0..y2 has 3 steps and the first one 4 steps"),
        "{text}"
    );
    let text = fit(2, &wide, &["--series", "x0", "--series", "y0"]);
    assert!(text.contains("these have one step"), "{text}");
    let text = fit(
        2,
        &long,
        &[
            "--id",
            "run",
            "--series",
            "big..small,second",
            "--time",
            "second",
        ],
    );
    assert!(text.contains("the time is among the columns"), "{text}");
    let text = fit(1, &long, &["--id", "second", "--series", "big"]);
    assert!(text.contains("are of one recording"), "{text}");
    let gap = write(
        &folder,
        "gap.csv",
        "run,kind,x\na,up,1\nb,down,nan\nc,up,2\nd,down,3\ne,up,1\nf,down,4\ng,up,1\n",
    );
    let text = fit(1, &gap, &["--id", "run", "--series", "x"]);
    assert!(text.contains("column \"x\" has NaN in row 2"), "{text}");
}

#[test]
fn says_what_is_wrong_with_data() {
    let folder = folder("fit_wrong");
    let data = write(&folder, "waves.csv", &waves(30));
    let out = path(&folder, "out.keras");
    let fit = |code, more: &[&str]| {
        fails(
            code,
            &[&["fit", "forecast", &data, "-o", &out], more].concat(),
        )
    };
    assert!(fit(1, &["--target", "laod"]).contains("did you mean \"load\"?"));
    assert!(fit(1, &["--window", "40"]).contains("no window of 40 steps"));
    assert!(fit(2, &["--split", "1,2"]).contains("is no split"));
    let text = fails(2, &["fit", "forecast", &data, "-o", "out.onnx"]);
    assert!(text.contains("a new model is saved as .keras"), "{text}");
    let text = fails(1, &["fit", "tag", &data, "-o", &out]);
    assert!(text.contains("CoNLL-U has 10"), "{text}");
    let short = write(&folder, "short.txt", "abc");
    let text = fails(1, &["fit", "generate", &short, "-o", &out]);
    assert!(
        text.contains("too few") || text.contains("a sample has"),
        "{text}"
    );
    assert!(!fs::exists(&out).unwrap());
}

#[test]
fn a_model_from_a_description() {
    let folder = folder("init");
    let spec = write(
        &folder,
        "net.toml",
        "input = [\"any\", 3]\n\n[[layers]]\nclass = \"LSTM\"\nunits = 5\n\n[[layers]]\n\
         class = \"Dense\"\nunits = 1\n\n[compile]\noptimizer = \"adam\"\nloss = \"mse\"\n",
    );
    let out = path(&folder, "model.keras");
    let text = works(&["init", &spec, "-o", &out]);
    assert!(text.contains("186 parameters, drawn from seed 0"), "{text}");
    let first = ifco::open(&out).unwrap().weights();
    works(&["init", &spec, "-o", &out, "--force", "--seed", "1"]);
    assert_ne!(ifco::open(&out).unwrap().weights(), first);
    // Keras's own JSON.
    let text = works(&[
        "init",
        &model("stacked.json"),
        "-o",
        &path(&folder, "b.keras"),
        "--json",
    ]);
    assert!(told(&text)["parameters"].as_u64().unwrap() > 0);
    let wrong = write(
        &folder,
        "wrong.toml",
        "input = [3]\n\n[[layers]]\nunits = 5\n",
    );
    let text = fails(1, &["init", &wrong, "-o", &path(&folder, "c.keras")]);
    assert!(text.contains("line 3: the layer has no class"), "{text}");
}
