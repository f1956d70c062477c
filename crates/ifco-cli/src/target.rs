//! Which of a model's numbers is meant: `--target` and `--at`.

use std::str::FromStr;

use ifco::{Model, Target, Unit};

use crate::failure::Failure;

#[derive(clap::Args)]
pub struct TargetArgs {
    /// What of the output: the number of a unit, largest, or sum; of several outputs NAME:UNIT
    /// [default: sum, or largest where the output is a softmax]
    #[arg(long, value_name = "UNIT")]
    target: Option<Chosen>,

    /// Only this step of an output that is a sequence, from its end where negative
    #[arg(long, value_name = "STEP", allow_negative_numbers = true)]
    at: Option<isize>,
}

/// `largest`, `3`, `out:3`.
#[derive(Debug, Clone)]
struct Chosen {
    output: Option<String>,
    unit: Unit,
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (output, unit) = match text.rsplit_once(':') {
            Some((output, unit)) => (Some(output.to_string()), unit),
            None => (None, text),
        };
        let unit = match unit {
            "sum" => Unit::Sum,
            "largest" => Unit::Largest,
            number => Unit::Number(number.parse().map_err(|_| {
                "expected the number of a unit, counted from 0, largest or sum".to_string()
            })?),
        };
        Ok(Self { output, unit })
    }
}

impl TargetArgs {
    /// Whether anything was said.
    pub fn is_given(&self) -> bool {
        self.target.is_some() || self.at.is_some()
    }

    /// Among what the model puts out, which `outputs` are for some rows.
    pub fn of(&self, model: &Model, outputs: &[ifco::Tensor]) -> Result<Target, Failure> {
        let fitting = Target {
            step: self.at,
            ..Target::fitting(outputs)
        };
        let Some(chosen) = &self.target else {
            return Ok(fitting);
        };
        let output = match &chosen.output {
            None => 0,
            Some(name) => {
                let mut ports = model.outputs().iter();
                ports.position(|port| port.name == *name).ok_or_else(|| {
                    let known = model.outputs().iter().map(|port| port.name.as_str());
                    let known: Vec<&str> = known.collect();
                    Failure::usage(format_args!("the model has no output named {name:?}"))
                        .help(format_args!("it has {}", known.join(", ")))
                })?
            }
        };
        Ok(Target {
            output,
            unit: chosen.unit,
            step: self.at,
        })
    }
}

/// A target in words: `unit 1 of out, step 3`.
pub fn words(target: &Target, model: &Model) -> String {
    let unit = match target.unit {
        Unit::Sum => "the sum".to_string(),
        Unit::Largest => "the largest unit".to_string(),
        Unit::Number(unit) => format!("unit {unit}"),
    };
    let name = model.outputs().get(target.output);
    let name = name.map_or(String::new(), |port| format!(" of {}", port.name));
    let step = match target.step {
        Some(step) if step < 0 => format!(", step {step} from its end"),
        Some(step) => format!(", step {step}"),
        None => String::new(),
    };
    format!("{unit}{name}{step}")
}
