//! `ifco explain` from end to end: the list, the file, and what cannot be.

use ifco::arrays::npz;
use serde_json::Value;

mod common;

use common::{fails, folder, model, works};

#[test]
fn contributions_are_listed_and_add_up() {
    let (keras, x) = (model("training.keras"), model("training_x.npy"));
    let text = works(&["explain", &keras, &x, "--row", "2"]);
    assert!(text.starts_with("row 2: the sum of "), "{text}");
    assert!(text.contains("; of zeros it is "), "{text}");
    assert!(text.contains("│"), "{text}");
    assert!(text.contains("  they add up to "), "{text}");

    let text = works(&["explain", &keras, &x, "--json", "--points", "200"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["schema"], 1);
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 48);
    for row in rows {
        let steps = row["inputs"][0]["steps"].as_array().unwrap();
        let sum: f64 = steps.iter().map(|step| step.as_f64().unwrap()).sum();
        let whole = row["value"].as_f64().unwrap() - row["baseline"].as_f64().unwrap();
        assert!((sum - whole).abs() < 1e-3 * whole.abs().max(1.0), "{row}");
    }
}

#[test]
fn contributions_are_saved_in_the_shape_of_the_input() {
    let folder = folder("explain");
    let file = folder.join("parts.npz").display().to_string();
    let (keras, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let silent = works(&["explain", &keras, &x, "--method", "gradient", "-o", &file]);
    assert_eq!(silent, "");
    let arrays = npz::read(&file).unwrap();
    let input = ifco::arrays::npy::read(&x).unwrap();
    assert_eq!(arrays[0].1.shape(), input.shape());
    let names: Vec<&str> = arrays
        .iter()
        .skip(1)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["value", "baseline"]);
    assert_eq!(arrays[1].1.len(), input.shape()[0]);
}

/// Seven words, and nine steps of padding, which contribute nothing.
#[test]
fn words_are_the_labels_of_the_steps_that_count() {
    let folder = folder("explain_labels");
    let words = folder.join("words.txt");
    std::fs::write(&words, "why sir what's your conceit in that\n").unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/questions");
    let (keras, x) = (
        format!("{examples}/model.keras"),
        format!("{examples}/x.npy"),
    );
    let labels = words.display().to_string();
    let text = works(&["explain", &keras, &x, "--row", "3", "--labels", &labels]);
    let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap();
    assert!(line(" what's ").trim_start().starts_with("2 "), "{text}");
    assert!(line(" that ").trim_start().starts_with("6 "), "{text}");
}

#[test]
fn what_does_not_fit_is_told() {
    let (keras, x) = (model("stacked.keras"), model("stacked_x.npy"));
    let error = fails(2, &["explain", &keras, &x, "--row", "7"]);
    assert!(error.contains("there is no row 7"), "{error}");
    let error = fails(2, &["explain", &keras, &x, "-o", "parts.csv"]);
    assert!(error.contains("end the name in .npz"), "{error}");
    let error = fails(2, &["explain", &keras, &x, "--target", "most"]);
    assert!(error.contains("largest or sum"), "{error}");
}
