//! Callbacks against what Keras 3's do over recorded epochs (`golden/make_callbacks.py`).

mod common;

use common::cases;
use ifco_train::Direction;
use ifco_train::callback::{
    Checkpoint, CsvLog, EarlyStopping, EventLog, Mode, Monitor, ReduceOnPlateau, SaveFrequency,
    is_lost,
};
use serde_json::Value;

fn of_kind(kind: &str) -> Vec<Value> {
    let found: Vec<Value> = cases("callbacks.json")
        .into_iter()
        .filter(|c| c["kind"] == kind)
        .collect();
    assert!(!found.is_empty(), "{kind}");
    found
}

fn monitor(options: &Value, min_delta: f64) -> Monitor {
    let mode = if options["mode"] == "max" {
        Mode::Max
    } else {
        Mode::Auto
    };
    let min_delta = options["min_delta"].as_f64().unwrap_or(min_delta);
    Monitor::new("val_loss", mode, min_delta, &[]).expect("a loss has a direction")
}

fn count(options: &Value, key: &str) -> usize {
    options[key].as_u64().unwrap_or(0) as usize
}

/// Each epoch's logs: none where the value is null.
fn epochs(case: &Value) -> Vec<Vec<(&'static str, f64)>> {
    let values = case["values"].as_array().expect("values").iter();
    values
        .map(|value| match value {
            Value::Null => Vec::new(),
            Value::String(word) => {
                let value: f64 = word.parse().expect("a number");
                vec![("val_loss", value), ("loss", 2.0 * value)]
            }
            number => {
                let value = number.as_f64().expect("a number");
                vec![("val_loss", value), ("loss", 2.0 * value)]
            }
        })
        .collect()
}

#[test]
fn early_stopping_stops_and_keeps_as_keras() {
    for case in of_kind("EarlyStopping") {
        let options = &case["options"];
        let mut stopping = EarlyStopping::new(monitor(options, 0.0), count(options, "patience"));
        stopping.baseline = options["baseline"].as_f64();
        stopping.start_from_epoch = count(options, "start_from_epoch");
        let (mut stops, mut kept) = (Vec::new(), Vec::new());
        for (epoch, logs) in epochs(&case).iter().enumerate() {
            let answer = stopping.epoch(logs);
            stops.push(Value::from(answer.stop));
            if answer.keep_weights {
                kept.push(epoch as u64);
            }
        }
        assert_eq!(Value::from(stops), case["stops"], "{case}");
        let expected = case["kept"].as_array().expect("epochs").iter();
        let mut expected: Vec<u64> = expected.map(|e| e.as_u64().expect("an epoch")).collect();
        expected.dedup(); // of the first epoch Keras takes the weights twice
        assert_eq!(kept, expected, "{case}");
        assert_eq!(
            stopping.best_epoch() as u64,
            case["best_epoch"].as_u64().expect("one"),
            "{case}"
        );
    }
}

#[test]
fn rates_fall_as_in_keras() {
    for case in of_kind("ReduceLROnPlateau") {
        let options = &case["options"];
        let factor = options["factor"].as_f64().expect("a factor");
        let mut plateau =
            ReduceOnPlateau::new(monitor(options, 1e-4), factor, count(options, "patience"));
        plateau.cooldown = count(options, "cooldown");
        plateau.min_lr = options["min_lr"].as_f64().unwrap_or(0.0);
        let mut rate = 0.1_f32;
        for (epoch, logs) in epochs(&case).iter().enumerate() {
            rate = plateau.epoch(logs, rate).unwrap_or(rate);
            let expected = case["rates"][epoch].as_f64().expect("a rate");
            assert_eq!(rate, expected as f32, "epoch {epoch} of {case}");
        }
    }
}

#[test]
fn checkpoints_are_due_as_in_keras() {
    for case in of_kind("ModelCheckpoint") {
        let options = &case["options"];
        let mut checkpoint = Checkpoint::new(options["filepath"].as_str().expect("a path"));
        checkpoint.best_only = (options["save_best_only"] == true).then(|| monitor(options, 0.0));
        checkpoint.best = options["initial_value_threshold"].as_f64();
        for (epoch, logs) in epochs(&case).iter().enumerate() {
            let saved = checkpoint
                .epoch(epoch, logs)
                .expect("a name that can be filled");
            assert_eq!(
                saved.as_deref(),
                case["saved"][epoch].as_str(),
                "epoch {epoch} of {case}"
            );
        }
    }
    for case in of_kind("batches") {
        let mut checkpoint = Checkpoint::new("{epoch}-{batch}.keras");
        checkpoint.frequency = SaveFrequency::Batches(5);
        let mut saved = case["saved"].as_array().expect("a list").iter();
        for (epoch, length) in case["lengths"]
            .as_array()
            .expect("a list")
            .iter()
            .enumerate()
        {
            for batch in 0..length.as_u64().expect("a length") as usize {
                let found = checkpoint
                    .batch(epoch, batch, &[])
                    .expect("a name that can be filled");
                let expected = saved.next().expect("as many").as_str();
                assert_eq!(found.as_deref(), expected, "batch {batch} of epoch {epoch}");
            }
        }
    }
}

#[test]
fn tables_are_keras_s_to_the_byte() {
    for case in of_kind("CSVLogger") {
        let (mut log, mut file) = (CsvLog::new(','), Vec::new());
        for (epoch, logs) in case["epochs"]
            .as_array()
            .expect("epochs")
            .iter()
            .enumerate()
        {
            let logs = logs.as_object().expect("logs").iter();
            let logs: Vec<(&str, f64)> = logs
                .map(|(name, value)| {
                    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                    (name.as_str(), number.expect("a number"))
                })
                .collect();
            log.epoch(epoch, &logs, &mut file).expect("memory");
        }
        assert_eq!(
            String::from_utf8(file).expect("text"),
            case["text"],
            "{case}"
        );
    }
    let (mut log, mut file) = (CsvLog::appending(';'), Vec::new());
    log.epoch(4, &[("loss", 1.0), ("val_loss", 2.0)], &mut file)
        .expect("memory");
    assert_eq!(file, b"4;1.0;2.0\r\n");
}

#[test]
fn events_are_tensorflow_s_to_the_byte() {
    for case in of_kind("events") {
        let mut file = Vec::new();
        let mut log = EventLog::start(&mut file, 1.5).expect("memory");
        for scalar in case["scalars"].as_array().expect("scalars") {
            let tag = scalar[0].as_str().expect("a tag");
            let step = scalar[1].as_u64().expect("a step");
            let value = scalar[2].as_f64().expect("a value");
            if step < 2 {
                let name = format!("val_{}", tag.trim_start_matches("epoch_"));
                log.epoch(step, &[(&name, value)], 2.5).expect("memory");
            } else {
                log.scalar(tag, step, value as f32, 2.5).expect("memory");
            }
        }
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, case["bytes"]);
    }
}

#[test]
fn a_metric_says_which_way_is_better() {
    let directions = [("accuracy", Direction::Up)];
    let monitor = Monitor::new("val_accuracy", Mode::Auto, 0.0, &directions).expect("known");
    assert!(monitor.improves(0.6, Some(0.5)));
    assert!(!monitor.improves(f64::NAN, Some(0.5)));
    let error = Monitor::new("val_mystery", Mode::Auto, 0.0, &directions).unwrap_err();
    assert!(error.to_string().contains("val_mystery"), "{error}");
}

#[test]
fn what_ends_training_or_cannot_be_named() {
    assert!(is_lost(&[("loss", f64::INFINITY)]) && is_lost(&[("loss", f64::NAN)]));
    assert!(!is_lost(&[("loss", 1.0)]) && !is_lost(&[("accuracy", f64::NAN)]));
    for path in [
        "{val_loss}.keras",
        "{epoch",
        "{epoch:x}.keras",
        "{loss:.2e}.keras",
        "{loss:.999999999f}",
    ] {
        let error = Checkpoint::new(path)
            .epoch(0, &[("loss", 1.0)])
            .unwrap_err();
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
}
