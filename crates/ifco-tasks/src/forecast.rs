//! The next values of a series, from a window of the last ones.
//!
//! The network is told by how much the last steps of some columns differ from the latest one, in
//! standard deviations of the training part, and answers by how much the target will:
//!
//! ```text
//! y[t + 1 .. t + horizon] = x_target[t] + σ_target · Dense(LSTM((x[t − window + 1 .. t] − x[t]) / σ))
//! ```
//!
//! So a series that drifts to a level it never had in training is forecast as well as before. On
//! ETTh1's oil temperature, which does, the mean error is a third less than that of a network that
//! is told the level.
//!
//! Scaling is part of the network (`Normalization`, `Rescaling`), so that whoever opens it, Keras
//! too, feeds raw values and gets raw values.

use std::ops::Range;
use std::sync::Arc;

use ifco_train::{Data, FitError, Samples};
use ndarray::{Array2, Array3, ArrayView1, s};
use serde_json::{Value, json};

use crate::layers::{Graph, Recurrent, Size, compile};
use crate::{DataError, Split};

/// What a forecasting model needs to know of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The columns that it is told, in order.
    pub columns: Vec<String>,
    /// Which of them it forecasts.
    pub target: usize,
    /// How many steps it is told.
    pub window: usize,
    /// How many steps it forecasts.
    pub horizon: usize,
}

/// Mean and standard deviation of each column.
///
/// ```
/// use ifco_tasks::forecast::Scaling;
/// let table = ndarray::array![[1.0, 5.0], [3.0, 5.0]];
/// let scaling = Scaling::of(table.view());
/// assert_eq!(scaling.mean, [2.0, 5.0]);
/// assert_eq!(scaling.deviation, [1.0, 1.0]); // of what never changes: 1
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// The mean of each.
    pub mean: Vec<f64>,
    /// The standard deviation of each, 1 where it is 0.
    pub deviation: Vec<f64>,
}

impl Scaling {
    /// Of a table `(rows, columns)`.
    pub fn of(table: ndarray::ArrayView2<'_, f32>) -> Self {
        let rows = table.nrows().max(1) as f64;
        let mut scaling = Self {
            mean: Vec::new(),
            deviation: Vec::new(),
        };
        for column in table.columns() {
            let mean = column.iter().map(|x| f64::from(*x)).sum::<f64>() / rows;
            let square = column.iter().map(|x| (f64::from(*x) - mean).powi(2));
            let deviation = (square.sum::<f64>() / rows).sqrt();
            scaling.mean.push(mean);
            let varies = deviation > f64::from(f32::EPSILON) * mean.abs();
            scaling.deviation.push(if varies { deviation } else { 1.0 });
        }
        scaling
    }
}

impl Forecast {
    /// The network, in Keras's words.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ifco_tasks::{Size, forecast::{Forecast, Scaling}};
    /// use ndarray::{Array, array};
    ///
    /// let task = Forecast { columns: vec!["y".into()], target: 0, window: 8, horizon: 3 };
    /// let scaling = Scaling { mean: vec![10.0], deviation: vec![2.0] };
    /// let size = Size { units: 4, layers: 1, dropout: 0.0, embedding: 0 };
    /// let json = task.architecture(&size, &scaling);
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// ifco_train::initialize(&mut model, 0)?;
    /// let y = model.predict(&Array::from_elem((2, 8, 1), 10.0).into_dyn())?;
    /// assert_eq!(y.shape(), [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn architecture(&self, size: &Size, scaling: &Scaling) -> Value {
        let (time, columns) = (Some(self.window), Some(self.columns.len()));
        let variance: Vec<f64> = scaling.deviation.iter().map(|d| d * d).collect();
        let mut graph = Graph::default();
        graph.input("window", &[time, columns], "float32");
        let whole: &[Option<usize>] = &[time, columns];
        graph.last_step("latest", columns, "window");
        graph.add("Subtract", "moves", json!({}), &["window", "latest"], whole);
        let mean = vec![0.0; self.columns.len()];
        let scaled = json!({"axis": [-1], "mean": mean, "variance": variance});
        graph.add("Normalization", "scaled", scaled, &["moves"], whole);
        let kind = Recurrent {
            all_steps: false,
            both_ways: false,
        };
        let last = graph.recurrent(size, "scaled", time, kind);
        let steps: &[Option<usize>] = &[Some(self.horizon)];
        graph.add(
            "Dense",
            "steps",
            json!({"units": self.horizon}),
            &[&last],
            steps,
        );
        let scale = scaling.deviation.get(self.target).copied().unwrap_or(1.0);
        graph.add(
            "Rescaling",
            "change",
            json!({"scale": scale, "offset": 0.0}),
            &["steps"],
            steps,
        );
        graph.last_value("last", self.target, "window");
        graph.add("Add", "forecast", json!({}), &["change", "last"], steps);
        graph.model("forecaster", "forecast")
    }

    /// What it is trained by: the squared error in units of the target's variance, so that neither
    /// the loss nor the steps depend on what the target is measured in.
    pub fn compile(&self, learning_rate: f32, scaling: &Scaling) -> Value {
        let deviation = scaling.deviation.get(self.target).copied().unwrap_or(1.0);
        let weight = (deviation * deviation).recip() as f32;
        compile(learning_rate, "mse", Some(weight), "mae")
    }

    /// Samples whose forecasts lie in each part of the table, `(rows, columns)`. A window may reach
    /// back into the part before: what it is told lies in the past either way.
    ///
    /// # Errors
    /// When a part has too few rows, or there is a number that is none.
    pub fn samples(&self, table: Array2<f32>, split: &Split) -> Result<Parts, DataError> {
        let parts = split.parts(table.nrows())?;
        let used = table.slice(s![..parts[2].end, ..]);
        if let Some(((row, column), _)) = used.indexed_iter().find(|(_, x)| !x.is_finite()) {
            let what = format!(
                "column {:?} has no number in row {}",
                self.columns.get(column).map_or("", String::as_str),
                row + 1
            );
            return Err(DataError::new(what).help("fill it in, or leave the row out"));
        }
        let scaling = Scaling::of(table.slice(s![parts[0].clone(), ..]));
        let table = Arc::new(table);
        let windows = parts.clone().map(|part| Windows {
            table: Arc::clone(&table),
            task: self.clone(),
            first: part.start.max(self.window),
            end: part.end,
        });
        let [train, validation, test] = windows;
        for (part, what) in [(&train, "train"), (&validation, "validate")] {
            if part.count() == 0 {
                let what = format!(
                    "no window of {} steps and {} to forecast lies in the rows that {what}",
                    self.window, self.horizon
                );
                let help = "give more rows, a shorter --window or --horizon, or another --split";
                return Err(DataError::new(what).help(help));
            }
        }
        Ok(Parts {
            train,
            validation,
            test,
            rows: parts,
            scaling,
        })
    }
}

/// The samples of each part.
#[derive(Debug)]
pub struct Parts {
    /// To train on.
    pub train: Windows,
    /// To judge each epoch by.
    pub validation: Windows,
    /// To judge the model by; perhaps none.
    pub test: Windows,
    /// The rows of the table in each part.
    pub rows: [Range<usize>; 3],
    /// Of the rows that train.
    pub scaling: Scaling,
}

/// Windows over a table, made when they are asked for.
#[derive(Debug, Clone)]
pub struct Windows {
    table: Arc<Array2<f32>>,
    task: Forecast,
    /// The first row that is forecast.
    first: usize,
    /// Behind the last one.
    end: usize,
}

impl Windows {
    /// How many there are.
    pub fn count(&self) -> usize {
        (self.end + 1).saturating_sub(self.first + self.task.horizon)
    }
}

impl Samples for Windows {
    fn samples(&self) -> Result<usize, FitError> {
        Ok(self.count())
    }

    fn rows(&self, rows: &[usize]) -> Result<Data, FitError> {
        let (window, horizon) = (self.task.window, self.task.horizon);
        let mut x = Array3::zeros((rows.len(), window, self.table.ncols()));
        let mut y = Array2::zeros((rows.len(), horizon));
        for (sample, row) in rows.iter().enumerate() {
            let now = self.first + row;
            let told = self.table.slice(s![now - window..now, ..]);
            x.slice_mut(s![sample, .., ..]).assign(&told);
            let wanted = self.table.slice(s![now..now + horizon, self.task.target]);
            y.row_mut(sample).assign(&wanted);
        }
        Ok(Data::new(x.into_dyn(), y.into_dyn()))
    }
}

/// How far forecasts are from what came, in the target's own units.
///
/// ```
/// use ifco_tasks::forecast::Errors;
/// let mut errors = Errors::default();
/// errors.add(&[1.0, 2.0], &[1.0, 5.0]);
/// assert_eq!((errors.mae(), errors.rmse()), (1.5, 4.5_f64.sqrt()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Errors {
    absolute: f64,
    squared: f64,
    count: usize,
}

impl Errors {
    /// Takes up a forecast and what came.
    pub fn add(&mut self, forecast: &[f32], came: &[f32]) {
        for (forecast, came) in forecast.iter().zip(came) {
            let error = f64::from(*forecast) - f64::from(*came);
            self.absolute += error.abs();
            self.squared += error * error;
            self.count += 1;
        }
    }

    /// The mean absolute error.
    pub fn mae(&self) -> f64 {
        self.absolute / self.count.max(1) as f64
    }

    /// The root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        (self.squared / self.count.max(1) as f64).sqrt()
    }
}

/// What one can forecast without a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naive {
    /// Everything stays as it is.
    Last,
    /// Everything comes again after so many steps.
    Season(usize),
}

impl Naive {
    /// The season that forecasts the training part best over this horizon, among those of at most
    /// `longest` steps; `None` where the last value does better.
    ///
    /// ```
    /// use ifco_tasks::forecast::Naive;
    /// let week: Vec<f32> = (0..70).map(|day| [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0][day % 7]).collect();
    /// let best = Naive::season(ndarray::ArrayView1::from(&week), 3, 20);
    /// assert_eq!(best, Some(Naive::Season(7)));
    /// ```
    pub fn season(series: ArrayView1<'_, f32>, horizon: usize, longest: usize) -> Option<Self> {
        let lags = longest + horizon;
        // The mean change over each number of steps.
        let change: Vec<f64> = (0..=lags.min(series.len().saturating_sub(1)))
            .map(|lag| {
                let later = series.iter().skip(lag);
                let changes = later.zip(series).map(|(y, x)| f64::from((y - x).abs()));
                changes.sum::<f64>() / (series.len() - lag).max(1) as f64
            })
            .collect();
        let error = |naive: Naive| -> Option<f64> {
            let steps = (1..=horizon).map(|step| change.get(step + naive.back(step)).copied());
            Some(steps.sum::<Option<f64>>()? / horizon.max(1) as f64)
        };
        let seasons = (2..=longest).map(Naive::Season);
        let judged = seasons.filter_map(|season| Some((season, error(season)?)));
        let best = judged.min_by(|one, other| one.1.total_cmp(&other.1))?;
        error(Naive::Last)
            .is_none_or(|last| best.1 < last)
            .then_some(best.0)
    }

    /// How many steps before now lies what is forecast for so many steps after it.
    fn back(self, step: usize) -> usize {
        match self {
            Naive::Last => 0,
            Naive::Season(season) => season * step.div_ceil(season.max(1)) - step,
        }
    }

    /// The errors of these forecasts.
    pub fn errors(self, windows: &Windows) -> Errors {
        let series = windows.table.column(windows.task.target);
        let mut errors = Errors::default();
        for sample in 0..windows.count() {
            let now = windows.first + sample;
            for step in 1..=windows.task.horizon {
                let before = (now - 1).checked_sub(self.back(step));
                if let (Some(before), came) = (before, series[now + step - 1]) {
                    errors.add(&[series[before]], &[came]);
                }
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Forecast {
        Forecast {
            columns: vec!["a".into(), "b".into()],
            target: 1,
            window: 3,
            horizon: 2,
        }
    }

    /// Row t has t and -t.
    fn table(rows: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, 2), |(row, column)| row as f32 * [1.0, -1.0][column])
    }

    #[test]
    fn no_part_sees_what_another_forecasts() {
        let split = Split::new([0.5, 0.25, 0.25]).unwrap();
        let parts = task().samples(table(40), &split).unwrap();
        let targets = |windows: &Windows| {
            let all: Vec<usize> = (0..windows.count()).collect();
            let data = windows.rows(&all).unwrap();
            let rows: Vec<i32> = data.targets[0].iter().map(|y| -*y as i32).collect();
            (rows[0], rows[rows.len() - 1])
        };
        assert_eq!(targets(&parts.train), (3, 19));
        assert_eq!(targets(&parts.validation), (20, 29));
        assert_eq!(targets(&parts.test), (30, 39));
        // Scaling knows the rows that train alone.
        assert_eq!(parts.scaling.mean, [9.5, -9.5]);
        let first = parts.validation.rows(&[0]).unwrap();
        assert_eq!(
            first.inputs[0].as_slice().unwrap(),
            [17.0, -17.0, 18.0, -18.0, 19.0, -19.0]
        );
    }

    #[test]
    fn the_level_makes_no_difference() {
        let scaling = Scaling {
            mean: vec![5.0, 7.0],
            deviation: vec![2.0, 3.0],
        };
        let size = Size {
            units: 3,
            layers: 1,
            dropout: 0.0,
            embedding: 0,
        };
        let json = task().architecture(&size, &scaling);
        let mut model =
            ifco_model::Model::from_config(&json, ifco_model::Generation::Keras3).unwrap();
        ifco_train::initialize(&mut model, 0).unwrap();
        let window = ndarray::array![[[1.0, 4.0], [2.0, 0.0], [4.0, 1.0]]];
        let low = model.predict(&window.clone().into_dyn()).unwrap();
        let high = model.predict(&(window + 64.0).into_dyn()).unwrap();
        assert_eq!(high, low + 64.0);
    }

    #[test]
    fn too_few_rows_and_holes_are_errors() {
        let split = Split::new([0.5, 0.25, 0.25]).unwrap();
        assert!(task().samples(table(10), &split).is_ok());
        assert!(task().samples(table(6), &split).is_err());
        let mut holed = table(40);
        holed[[4, 1]] = f32::NAN;
        let error = task().samples(holed, &split).unwrap_err().to_string();
        assert_eq!(error, "column \"b\" has no number in row 5");
    }

    #[test]
    fn naive_forecasts() {
        let split = Split::new([0.5, 0.25, 0.25]).unwrap();
        let parts = task().samples(table(40), &split).unwrap();
        // It falls by 1 each step: 1 and 2 below the last.
        assert_eq!(Naive::Last.errors(&parts.test).mae(), 1.5);
        assert_eq!(Naive::Season(4).errors(&parts.test).mae(), 4.0);
        assert_eq!([1, 4, 5].map(|step| Naive::Season(4).back(step)), [3, 0, 3]);
        assert_eq!(Naive::season(table(40).column(0), 2, 10), None);
    }
}
