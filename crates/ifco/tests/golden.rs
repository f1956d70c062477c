//! The golden cases of `fixtures/`: every model that Keras wrote must predict what Keras predicted.
//!
//! `fixtures/README.md` tells what is in them and how they are made again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use ifco::arrays::npz;
use ndarray::{ArrayD, Dimension};
use serde_json::Value;

/// What may differ: `ABSOLUTE + RELATIVE·|expected|`.
const ABSOLUTE: f64 = 1e-5;
const RELATIVE: f64 = 1e-4;

/// One entry of `cases.json`.
struct Case(Value);

impl Case {
    fn text(&self, key: &str) -> &str {
        self.0[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    fn number(&self, key: &str) -> usize {
        self.0[key]
            .as_u64()
            .and_then(|number| number.try_into().ok())
            .unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    /// The architecture beside the weights, where they are alone.
    fn architecture(&self) -> Option<&str> {
        self.0["architecture"].as_str()
    }

    /// Names of `inputs` or `outputs`; none for the files made by hand.
    fn names(&self, key: &str) -> Vec<&str> {
        let names = self.0[key].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).collect()
    }
}

fn fixture(path: &str) -> PathBuf {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures"];
    root.iter().collect::<PathBuf>().join(path)
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/cases.json");
    let list: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    list.into_iter().map(Case).collect()
}

/// Runs one case; the largest difference, or what is wrong.
fn run(case: &Case) -> Result<f64, String> {
    let arrays: BTreeMap<String, ArrayD<f32>> = npz::read(fixture(case.text("arrays")))
        .map_err(|error| error.to_string())?
        .into_iter()
        .collect();
    let file = fixture(case.text("file"));
    let model = match case.architecture() {
        None => ifco::open(file),
        Some(json) => ifco::open_with_architecture(file, fixture(json)),
    }
    .map_err(|error| error.to_string())?;
    check_names("inputs", model.inputs(), &case.names("inputs"))?;
    check_names("outputs", model.outputs(), &case.names("outputs"))?;

    let mut largest = 0.0_f64;
    let calls = case.number("calls");
    for call in 0..calls {
        let prefix = match calls {
            1 => String::new(),
            _ => format!("call{call}_"),
        };
        let inputs = numbered(&arrays, &format!("{prefix}x"));
        let expected = numbered(&arrays, &format!("{prefix}y"));
        if expected.is_empty() {
            return Err(format!("{} holds no {prefix}y0", case.text("arrays")));
        }
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let found = model
            .predict_all(&views, case.number("batch_size"), &mut |_| {})
            .map_err(|error| error.to_string())?;
        if found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            return Err(format!("{found} outputs instead of {expected}"));
        }
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let difference = compare(found, expected).map_err(|what| {
                let names = case.names("outputs");
                let name = names.get(index).unwrap_or(&"");
                format!("call {call}, output {index} {name}: {what}")
            })?;
            largest = largest.max(difference);
        }
    }
    Ok(largest)
}

/// Where Keras gives two outputs of one layer the same name, ifco counts: `lstm`, `lstm_1`.
fn check_names(what: &str, ports: &[ifco::Port], expected: &[&str]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    let counted: Vec<String> = expected
        .iter()
        .map(|name| {
            let count = seen
                .entry(name)
                .and_modify(|count| *count += 1)
                .or_insert(0);
            match count {
                0 => (*name).to_string(),
                count => format!("{name}_{count}"),
            }
        })
        .collect();
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    if !expected.is_empty() && names != counted {
        return Err(format!("{what} are named {names:?}, in Keras {expected:?}"));
    }
    Ok(())
}

/// `<prefix>0`, `<prefix>1`, … as far as there are any.
fn numbered(arrays: &BTreeMap<String, ArrayD<f32>>, prefix: &str) -> Vec<ArrayD<f32>> {
    (0..)
        .map_while(|index| arrays.get(&format!("{prefix}{index}")).cloned())
        .collect()
}

/// The largest difference, or where it is if that is too much.
fn compare(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> Result<f64, String> {
    if found.shape() != expected.shape() {
        let (found, expected) = (found.shape(), expected.shape());
        return Err(format!("shape {found:?} instead of {expected:?}"));
    }
    let mut largest = 0.0_f64;
    let mut wrong = 0;
    let mut worst = (0.0, String::new());
    for ((index, &found), &expected) in found.indexed_iter().zip(expected) {
        let mut difference = f64::from((found - expected).abs());
        if difference.is_nan() {
            difference = f64::INFINITY;
        }
        largest = largest.max(difference);
        if difference > ABSOLUTE + RELATIVE * f64::from(expected.abs()) {
            wrong += 1;
            if difference > worst.0 {
                let what = format!("{:?}: {found} instead of {expected}", index.slice());
                worst = (difference, what);
            }
        }
    }
    match wrong {
        0 => Ok(largest),
        _ => Err(format!(
            "{wrong} of {} values differ, the most at {}",
            expected.len(),
            worst.1
        )),
    }
}

/// Runs all cases of a family and fails with a table of those that do not agree.
fn check(family: &str) {
    let mut cases = cases();
    cases.retain(|case| case.text("family") == family);
    assert!(!cases.is_empty(), "cases.json has no case of {family}");
    let mut table = String::new();
    let mut failed = 0;
    let mut largest = 0.0_f64;
    for case in &cases {
        match run(case) {
            Ok(difference) => largest = largest.max(difference),
            Err(what) => {
                failed += 1;
                let (file, shows) = (case.text("file"), case.text("shows"));
                let _ = writeln!(table, "  {file} ({shows})\n      {what}");
            }
        }
    }
    assert!(
        failed == 0,
        "{failed} of {} cases of {family} do not agree with Keras:\n{table}\
         the largest difference of the others is {largest:.1e}",
        cases.len()
    );
}

/// A test for each family, so that a failure is named.
macro_rules! families {
    ($($family:ident)*) => {
        const FAMILIES: &[&str] = &[$(stringify!($family)),*];
        $(
            #[test]
            fn $family() {
                check(stringify!($family));
            }
        )*
    };
}

families! { lstm masks recurrent layers attention graphs files keras1 cudnn gates flow explain audio }

/// Nothing in `fixtures/` is left out: each family has its test, each file its case.
#[test]
fn every_fixture_is_a_case() {
    let cases = cases();
    let families: BTreeSet<&str> = cases.iter().map(|case| case.text("family")).collect();
    assert_eq!(families, FAMILIES.iter().copied().collect());

    let mut known = BTreeSet::new();
    for case in &cases {
        known.extend([case.text("file"), case.text("arrays")].map(String::from));
        known.extend(case.architecture().map(String::from));
    }
    let mut found = BTreeSet::new();
    for generation in ["keras1", "keras2", "keras3", "audio"] {
        for entry in std::fs::read_dir(fixture(generation)).expect("a folder of fixtures") {
            let name = entry.expect("an entry").file_name();
            found.insert(format!("{generation}/{}", name.display()));
        }
    }
    assert_eq!(known, found, "cases.json and the files in fixtures/ differ");
}
