//! The pictures, as what reads them sees them: the SVG's elements and images, the PNG's pixels.

use base64::Engine;
use ifco_cell::{
    Activation, BackwardOptions, Cell, Dropout, GradientTrace, GruCell, GruWeights, LstmCell,
    LstmWeights, RecurrentLayer, SequenceGradient, SequenceOptions, SimpleRnnCell,
    SimpleRnnWeights, Trace, TraceOptions,
};
use ifco_view::color::Theme;
use ifco_view::plot::{self, PlotError, Sequence, Sort, Style};
use ndarray::{Array1, Array2, Array3};

/// Numbers between -1 and 1 that look random and are the same everywhere.
fn number(seed: usize) -> f32 {
    ((seed as f32 * 12.9898).sin() * 43758.547).fract()
}

fn matrix(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| number(i * columns + j + 1))
}

fn lstm(features: usize, units: usize) -> Cell {
    let bias = Array1::from_shape_fn(4 * units, number);
    let weights = LstmWeights::new(
        matrix(features, 4 * units),
        matrix(units, 4 * units),
        Some(bias),
    );
    LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid).into()
}

fn gru(features: usize, units: usize) -> Cell {
    let bias = matrix(2, 3 * units);
    let weights = GruWeights::new(
        matrix(features, 3 * units),
        matrix(units, 3 * units),
        Some(bias),
    );
    let (tanh, sigmoid) = (Activation::Tanh, Activation::Sigmoid);
    GruCell::new(weights.unwrap(), tanh, sigmoid, true)
        .unwrap()
        .into()
}

fn simple_rnn(features: usize, units: usize) -> Cell {
    let weights = SimpleRnnWeights::new(matrix(features, units), matrix(units, units), None);
    SimpleRnnCell::new(weights.unwrap(), Activation::Tanh).into()
}

/// Of two sequences; the second one ends after `counting` steps.
fn trace(cell: Cell, steps: usize, counting: usize) -> Trace {
    let x = Array3::from_shape_fn((2, steps, cell.features()), |(b, t, k)| {
        number(b + 7 * t + k)
    });
    let mask = Array2::from_shape_fn((2, steps), |(row, t)| row == 0 || t < counting);
    let layer = RecurrentLayer::new(vec![cell], SequenceOptions::default()).unwrap();
    let options = TraceOptions::default();
    let mut traces = layer
        .trace(x.view(), Some(mask.view()), None, &options)
        .unwrap();
    traces.remove(0)
}

/// The images of an SVG: x, y, width, height, columns, rows, and the distinct colours' number.
struct Image {
    area: [f32; 4],
    columns: usize,
    rows: usize,
    /// RGB of each cell.
    cells: Vec<[u8; 3]>,
}

fn images(svg: &str) -> Vec<Image> {
    svg.lines()
        .filter(|line| line.starts_with("<image "))
        .map(|line| {
            let value = |name: &str| {
                let (_, after) = line.split_once(&format!(" {name}=\"")).unwrap();
                after.split_once('"').unwrap().0.to_string()
            };
            let area = ["x", "y", "width", "height"].map(|name| value(name).parse().unwrap());
            let data = value("href");
            let data = data.strip_prefix("data:image/png;base64,").unwrap();
            let file = base64::engine::general_purpose::STANDARD
                .decode(data)
                .unwrap();
            let (columns, rows, cells) = decode(&file);
            Image {
                area,
                columns,
                rows,
                cells,
            }
        })
        .collect()
}

fn decode(file: &[u8]) -> (usize, usize, Vec<[u8; 3]>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let cells = bytes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
    (info.width as usize, info.height as usize, cells)
}

/// The texts of an SVG, as a reader finds them.
fn texts(svg: &str) -> Vec<String> {
    svg.split("<text ")
        .skip(1)
        .map(|text| {
            let (_, after) = text.split_once('>').unwrap();
            after.split_once("</text>").unwrap().0.trim().to_string()
        })
        .collect()
}

/// The closed outlines of an SVG, as left, top, right, bottom.
fn outlines(svg: &str) -> Vec<[f32; 4]> {
    svg.lines()
        .filter(|line| line.starts_with("<polyline"))
        .filter_map(|line| {
            let (_, points) = line.split_once("points=\"")?;
            let points: Vec<(f32, f32)> = points
                .split_once('"')?
                .0
                .split_whitespace()
                .filter_map(|point| {
                    let (x, y) = point.split_once(',')?;
                    Some((x.parse().ok()?, y.parse().ok()?))
                })
                .collect();
            let [_, (_, top), (right, bottom), _, (left, _)] = points[..] else {
                return None;
            };
            Some([left, top, right, bottom])
        })
        .collect()
}

fn light() -> Style {
    Style::default()
}

#[test]
fn packing_has_each_gate_with_its_name_its_columns_and_its_borders() {
    let svg = plot::packing("lstm", &lstm(5, 6), &light())
        .unwrap()
        .svg()
        .unwrap();
    let texts = texts(&svg);
    for name in [
        "i · input gate",
        "f · forget gate",
        "c · cell candidate",
        "o · output gate",
    ] {
        assert_eq!(
            texts.iter().filter(|text| *text == name).count(),
            1,
            "{name}"
        );
    }
    for slice in [
        "kernel[:, 6:12]",
        "recurrent_kernel[:, 18:24]",
        "bias[12:18]",
        "(6, 24)",
    ] {
        assert!(
            texts.iter().any(|text| text.starts_with(slice)),
            "{slice} in {texts:?}"
        );
    }
    // kernel, recurrent_kernel, bias, and the scale of colours
    let images = images(&svg);
    let sizes: Vec<_> = images
        .iter()
        .map(|image| (image.columns, image.rows))
        .collect();
    assert_eq!(sizes[..3], [(24, 5), (24, 6), (24, 1)]);
    // Each array has four outlines, which divide it in four.
    let outlines = outlines(&svg);
    for image in &images[..3] {
        let [x, y, width, height] = image.area;
        for gate in 0..4 {
            let left = x + width * gate as f32 / 4.0;
            let wanted = [left, y, left + width / 4.0, y + height];
            let is_there = |found: &[f32; 4]| {
                found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| (found - wanted).abs() <= 1.0)
            };
            assert!(outlines.iter().any(is_there), "no border {wanted:?}");
        }
    }
}

#[test]
fn a_cell_has_the_colour_of_its_weight() {
    let mut kernel = Array2::zeros((2, 8));
    (kernel[[0, 0]], kernel[[1, 7]]) = (1.0, -1.0);
    let weights = LstmWeights::new(kernel, Array2::ones((2, 8)), None).unwrap();
    let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into();
    for theme in [Theme::Light, Theme::Dark] {
        let style = Style { theme, ..light() };
        let picture = plot::packing("lstm", &cell, &style).unwrap();
        let svg = picture.svg().unwrap();
        assert!(svg.contains(", no bias"));
        let cells = &images(&svg)[0].cells;
        let of = |value| {
            let color = theme.diverging(value);
            [color.0, color.1, color.2]
        };
        assert_eq!(
            (cells[0], cells[1], cells[15]),
            (of(1.0), of(0.0), of(-1.0))
        );
        // The same pixels in the PNG: in the middle of the first cell.
        let (width, height, pixels) = decode(&picture.png(1.0).unwrap());
        assert_eq!((width as u32, height as u32), picture.size());
        let [x, y, w, h] = images(&svg)[0].area.map(|value| value / 10.0);
        // Beside the number that stands in its middle.
        let at = (y + h / 2.0 * 0.2) as usize * width + (x + w / 8.0 * 0.15) as usize;
        assert_eq!(pixels[at], of(1.0), "{theme:?}");
    }
}

#[test]
fn gru_and_simple_rnn_have_their_own_columns() {
    let svg = plot::packing("gru", &gru(4, 3), &light())
        .unwrap()
        .svg()
        .unwrap();
    let found = texts(&svg);
    for text in ["z · update gate", "kernel[:, 3:6]", "bias[:, 6:9]"] {
        assert!(
            found.iter().any(|found| found == text),
            "{text} in {found:?}"
        );
    }
    assert_eq!((images(&svg)[2].columns, images(&svg)[2].rows), (9, 2));
    let svg = plot::packing("rnn", &simple_rnn(4, 3), &light())
        .unwrap()
        .svg()
        .unwrap();
    assert!(!svg.contains("gate"));
    assert_eq!((images(&svg)[1].columns, images(&svg)[1].rows), (3, 3));
}

#[test]
fn a_large_layer_makes_no_large_file_and_no_border_is_blurred() {
    let cell = lstm(1024, 512);
    let picture = plot::packing("lstm", &cell, &light()).unwrap();
    let svg = picture.svg().unwrap();
    assert!(svg.len() < 1_500_000, "{} bytes", svg.len());
    for image in &images(&svg)[..2] {
        assert_eq!(image.columns % 4, 0);
        assert!(image.columns <= 960 && image.rows <= 600);
    }
    assert!(svg.contains("furthest from 0"));
    assert!(picture.png(2.0).unwrap().len() < 6_000_000);
    let trace = trace(lstm(1, 40), 20_000, 5);
    let sequence = Sequence::new(&trace, 0, None).unwrap();
    for picture in [
        plot::gates("lstm", &sequence, Sort::Unit, &light()).unwrap(),
        plot::cell("lstm", &sequence, &[], &light()).unwrap(),
    ] {
        let bytes = picture.svg().unwrap().len();
        assert!(bytes < 1_500_000, "{bytes}");
    }
}

#[test]
fn one_unit_is_a_picture_too() {
    // Nor does a kernel without a feature do any harm.
    let none = plot::packing("none", &lstm(0, 2), &light()).unwrap();
    assert!(none.svg().unwrap().contains("(0, 8)"));
    none.png(1.0).unwrap();
    for cell in [lstm(1, 1), gru(1, 1), simple_rnn(1, 1)] {
        let picture = plot::packing("one", &cell, &light()).unwrap();
        let svg = picture.svg().unwrap();
        // There is room for the number itself.
        let weight = (number(1) * 1000.0).abs().round() / 1000.0;
        assert!(svg.contains(&format!("{weight}")), "{weight}");
        picture.png(1.0).unwrap();
    }
}

#[test]
fn gates_units_by_time_with_masked_steps_hatched() {
    let trace = trace(lstm(3, 7), 10, 6);
    let labels: Vec<String> = "abcdefghij".chars().map(String::from).collect();
    let sequence = Sequence::new(&trace, 1, Some(&labels)).unwrap();
    let svg = plot::gates("lstm", &sequence, Sort::Unit, &light())
        .unwrap()
        .svg()
        .unwrap();
    let found = texts(&svg);
    for text in [
        "f · forget gate",
        "c · cell state",
        "h · hidden state",
        "a",
        "j",
    ] {
        assert!(
            found.iter().any(|found| found == text),
            "{text} in {found:?}"
        );
    }
    assert!(svg.contains("4 masked"));
    let images = images(&svg);
    let maps: Vec<&Image> = images.iter().filter(|image| image.columns == 10).collect();
    assert_eq!(maps.len(), 6);
    let f = trace.get("f").unwrap();
    for (unit, t) in [(0, 0), (6, 5), (3, 2)] {
        let color = Theme::Light.sequential((f[[1, t, unit]] * 100.0).round() / 100.0);
        assert_eq!(maps[1].cells[unit * 10 + t], [color.0, color.1, color.2]);
    }
    let blank = Theme::Light.blank();
    assert_eq!(maps[1].cells[6], [blank.0, blank.1, blank.2]);
}

#[test]
fn units_sorted_by_what_they_do() {
    let trace = trace(lstm(3, 5), 12, 12);
    let sequence = Sequence::new(&trace, 0, None).unwrap();
    let f = trace.get("f").unwrap();
    let mean = |unit: usize| (0..12).map(|t| f[[0, t, unit]]).sum::<f32>();
    let mut order: Vec<usize> = (0..5).collect();
    order.sort_by(|&a, &b| mean(b).total_cmp(&mean(a)));
    let svg = plot::gates("lstm", &sequence, Sort::Memory, &light())
        .unwrap()
        .svg()
        .unwrap();
    let map = &images(&svg)
        .into_iter()
        .filter(|image| image.columns == 12)
        .nth(1)
        .unwrap();
    for (row, unit) in order.iter().enumerate() {
        let color = Theme::Light.sequential((f[[0, 4, *unit]] * 100.0).round() / 100.0);
        assert_eq!(map.cells[row * 12 + 4], [color.0, color.1, color.2]);
    }
}

#[test]
fn curves_of_the_units_chosen() {
    let trace = trace(lstm(3, 9), 30, 30);
    let sequence = Sequence::new(&trace, 0, None).unwrap();
    let svg = plot::cell("lstm", &sequence, &[7, 2], &light())
        .unwrap()
        .svg()
        .unwrap();
    let found = texts(&svg);
    assert!(found.contains(&"unit 7".into()) && found.contains(&"unit 2".into()));
    assert!(!found.contains(&"unit 0".into()));
    // A curve of 30 points for each of the six arrays, for each unit.
    let curves = svg
        .lines()
        .filter(|line| line.starts_with("<polyline") && line.matches(',').count() == 30);
    assert_eq!(curves.count(), 12);
    let error = plot::cell("lstm", &sequence, &[9], &light()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no unit 9: the layer has 9, counted from 0"
    );
    assert!(plot::cell("lstm", &sequence, &[0, 1, 2, 3, 4, 5, 6], &light()).is_err());
}

#[test]
fn saturation_is_where_the_shares_are() {
    // Unit 0's forget gate is open at every step, unit 1's closed; i and o are half open.
    let bias = Array1::from_vec(vec![0.0, 0.0, 9.0, -9.0, 0.0, 0.0, 0.0, 0.0]);
    let weights = LstmWeights::new(Array2::zeros((1, 8)), Array2::zeros((2, 8)), Some(bias));
    let cell = LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid);
    let trace = trace(cell.into(), 8, 4);
    let svg = plot::saturation("lstm", &trace.digest(), &light())
        .unwrap()
        .svg()
        .unwrap();
    assert_eq!(svg.matches("<circle").count(), 6);
    assert!(svg.contains("12 steps")); // eight, and four that are not masked
    let found = texts(&svg);
    assert!(found.contains(&"unit 0".into()) && found.contains(&"unit 1".into()));
    // Open at every step: at the upper left; closed: at the lower right.
    let dots: Vec<(f32, f32)> = svg
        .lines()
        .filter(|line| line.starts_with("<circle"))
        .map(|line| {
            let value = |name: &str| {
                let (_, after) = line.split_once(&format!(" {name}=\"")).unwrap();
                after.split_once('"').unwrap().0.parse::<f32>().unwrap()
            };
            (value("cx"), value("cy"))
        })
        .collect();
    let [open, closed] = dots[2..4] else {
        panic!("{dots:?}")
    };
    assert!(open.0 < closed.0 && open.1 < closed.1);
    // As far to the right as down, to the tenth of a point that an SVG is drawn in.
    assert!(((closed.0 - open.0) - (closed.1 - open.1)).abs() <= 2.0);
    assert_eq!((dots[0], dots[4].1), ((dots[0].0, closed.1), closed.1));
    let rnn = crate::trace(simple_rnn(1, 2), 3, 3);
    let error = plot::saturation("rnn", &rnn.digest(), &light()).unwrap_err();
    assert!(error.to_string().contains("no gates"), "{error}");
}

#[test]
fn hostile_names_are_text() {
    let hostile = "</title></svg><script>alert(1)</script>\u{0}\u{202e}&\"'<b>";
    let style = Style {
        title: Some(hostile.into()),
        ..light()
    };
    let trace = trace(lstm(1, 2), 3, 3);
    let labels = vec![hostile.to_string(); 3];
    let sequence = Sequence::new(&trace, 0, Some(&labels)).unwrap();
    for picture in [
        plot::packing(hostile, &lstm(1, 2), &light()).unwrap(),
        plot::packing("x", &lstm(1, 2), &style).unwrap(),
        plot::cell(hostile, &sequence, &[], &light()).unwrap(),
        plot::gates(hostile, &sequence, Sort::Unit, &light()).unwrap(),
    ] {
        let svg = picture.svg().unwrap();
        for forbidden in ["<script", "<b>", "\u{0}", "\u{202e}", "</title></svg>"] {
            assert!(!svg.contains(forbidden), "{forbidden:?}");
        }
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.trim_end().ends_with("</svg>"));
        picture.png(1.0).unwrap();
    }
}

#[test]
fn weights_that_are_no_numbers_are_shown_as_such() {
    let mut kernel = matrix(2, 8);
    kernel[[1, 3]] = f32::NAN;
    kernel[[0, 0]] = f32::INFINITY;
    let weights = LstmWeights::new(kernel, matrix(2, 8), None).unwrap();
    let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into();
    let svg = plot::packing("lstm", &cell, &light())
        .unwrap()
        .svg()
        .unwrap();
    let alarm = Theme::Light.alarm();
    assert_eq!(images(&svg)[0].cells[11], [alarm.0, alarm.1, alarm.2]);
    assert!(svg.contains("2 not finite"));
    let trace = trace(cell_with_nan(), 5, 5);
    let sequence = Sequence::new(&trace, 0, None).unwrap();
    plot::gates("lstm", &sequence, Sort::Activity, &light())
        .unwrap()
        .svg()
        .unwrap();
    plot::cell("lstm", &sequence, &[], &light())
        .unwrap()
        .svg()
        .unwrap();
}

fn cell_with_nan() -> Cell {
    let mut recurrent_kernel = matrix(3, 12);
    recurrent_kernel[[0, 0]] = f32::NAN;
    let weights = LstmWeights::new(matrix(1, 12), recurrent_kernel, None).unwrap();
    LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into()
}

#[test]
fn sizes_are_kept_or_refused() {
    let sized = |width, height| Style {
        size: Some((width, height)),
        ..light()
    };
    let cell = lstm(3, 4);
    let picture = plot::packing("lstm", &cell, &sized(1200, 700)).unwrap();
    let (width, height, _) = decode(&picture.png(1.0).unwrap());
    assert_eq!((width, height), (1200, 700));
    for (width, height) in [(10, 700), (1200, 50), (20_000, 700)] {
        let error = plot::packing("lstm", &cell, &sized(width, height)).unwrap_err();
        assert!(matches!(error, PlotError::Size { .. }), "{error}");
    }
    let large = plot::packing("lstm", &cell, &sized(5000, 5000)).unwrap();
    assert!(matches!(large.png(2.0), Err(PlotError::TooLarge { .. })));
    let trace = trace(lstm(1, 2), 3, 3);
    let sequence = Sequence::new(&trace, 0, None).unwrap();
    let picture = plot::cell("lstm", &sequence, &[], &sized(700, 800)).unwrap();
    assert_eq!(picture.size(), (700, 800));
    assert!(plot::gates("lstm", &sequence, Sort::Unit, &sized(700, 100)).is_err());
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    let picture = || plot::packing("lstm", &lstm(3, 4), &light()).unwrap();
    assert_eq!(picture().svg().unwrap(), picture().svg().unwrap());
    assert_eq!(picture().png(1.5).unwrap(), picture().png(1.5).unwrap());
}

#[test]
fn rows_and_labels_that_are_not_there() {
    let trace = trace(lstm(1, 2), 6, 4);
    let error = Sequence::new(&trace, 2, None).unwrap_err().to_string();
    assert_eq!(error, "there is no row 2: the input has 2, counted from 0");
    let labels = vec!["a".to_string(); 5];
    let error = Sequence::new(&trace, 1, Some(&labels))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "there are 5 labels for 6 steps, 4 of which are not masked"
    );
    assert!(Sequence::new(&trace, 1, Some(&labels[..4])).is_ok());
}

/// h of a projected LSTM has other rows than the units: the gates' picture shows them below, and
/// among the curves of chosen units it has curves and a key of its own.
#[test]
fn a_projected_lstm_is_drawn() {
    let (kernel, recurrent) = (Array2::ones((1, 16)), Array2::ones((2, 16)));
    let weights = LstmWeights::projected(kernel, recurrent, None, Array2::ones((4, 2)));
    let cell: Cell = LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid).into();
    let layer = RecurrentLayer::new(vec![cell], SequenceOptions::default()).unwrap();
    let x = Array3::from_shape_fn((1, 9, 1), |(_, t, _)| (t as f32).sin());
    let traces = layer.trace(x.view(), None, None, &TraceOptions::default());
    let trace = &traces.unwrap()[0];
    let sequence = Sequence::new(trace, 0, None).unwrap();
    let style = Style::default();
    let svg = |picture: plot::Picture| picture.svg().unwrap();
    let gates = svg(plot::gates("lstm", &sequence, Sort::Memory, &style).unwrap());
    assert!(gates.contains("h is projected to 2 values") && gates.contains("hidden state"));
    let cell = svg(plot::cell("lstm", &sequence, &[3], &style).unwrap());
    assert!(cell.contains("h is projected") && cell.contains("cell state"));
    assert!(cell.contains("hidden state") && cell.contains("unit 3"));
    assert!(cell.contains("value 0") && cell.contains("value 1") && !cell.contains("value 2"));
}

/// The way back through two sequences, of the second of which only some steps count.
fn way_back(cell: Cell, steps: usize, counting: usize, options: SequenceOptions) -> GradientTrace {
    let outputs = cell.outputs();
    let x = Array3::from_shape_fn((2, steps, cell.features()), |(b, t, k)| {
        number(b + 7 * t + k)
    });
    let mask = Array2::from_shape_fn((2, steps), |(row, t)| row == 0 || t < counting);
    let layer = RecurrentLayer::new(vec![cell], options).unwrap();
    let mut traces = layer
        .trace(x.view(), Some(mask.view()), None, &TraceOptions::default())
        .unwrap();
    let (_, tape) = layer
        .forward_for_training(x.view(), Some(mask.view()), None, &Dropout::default())
        .unwrap();
    let keep = BackwardOptions {
        states: true,
        ..BackwardOptions::default()
    };
    let of_output = Array2::ones((2, outputs));
    let of_output = SequenceGradient::Last(of_output.view());
    let found = tape.backward_with(&layer, of_output, None, &keep).unwrap();
    GradientTrace::new(traces.remove(0), found.states.unwrap()).unwrap()
}

#[test]
fn the_way_back_is_drawn() {
    let style = Style::default();
    for (cell, arrays, alone) in [
        (lstm(2, 5), 3, Some("‖∂L/∂c‖ by the forget gates alone")),
        (gru(2, 5), 2, Some("‖∂L/∂h‖ by the update gates alone")),
        (simple_rnn(2, 5), 1, None),
    ] {
        let gradient = way_back(cell, 20, 12, SequenceOptions::default());
        for row in [0, 1] {
            let sequence = Sequence::new(&gradient.trace, row, None).unwrap();
            let picture =
                plot::gradient("rnn", &sequence, &gradient, "the sum", Sort::Unit, &style);
            let svg = picture.unwrap().svg().unwrap();
            // A heat map and the scale of its colours for each array.
            assert_eq!(svg.matches("<image").count(), 2 * arrays);
            assert!(svg.contains("L is the sum") && svg.contains("‖∂L/∂h‖"));
            assert!(alone.is_none_or(|alone| svg.contains(alone)));
            assert_eq!(svg.contains("masked, hatched"), row == 1);
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
        let other = trace(lstm(2, 7), 20, 20);
        let sequence = Sequence::new(&other, 0, None).unwrap();
        let wrong = plot::gradient("rnn", &sequence, &gradient, "", Sort::Unit, &style);
        assert!(matches!(wrong, Err(PlotError::Nothing(_))));
    }
}

/// The largest gradient has the darkest colour, a ten-thousandth of it and less the paper's, and
/// what is no number the alarming one.
#[test]
fn sizes_are_colours_by_their_powers_of_ten() {
    let trace = trace(simple_rnn(1, 2), 2, 2);
    let states = Array3::from_shape_vec(
        (2, 2, 2),
        vec![1.0, -1e-2, 1e-6, f32::NAN, 0.0, 0.0, 0.0, 0.0],
    );
    let gradient = GradientTrace::new(trace, vec![states.unwrap()]).unwrap();
    let sequence = Sequence::new(&gradient.trace, 0, None).unwrap();
    let style = Style::default();
    let picture = plot::gradient("rnn", &sequence, &gradient, "L", Sort::Unit, &style).unwrap();
    let svg = picture.svg().unwrap();
    let image = images(&svg).remove(0);
    assert_eq!((image.columns, image.rows), (2, 2));
    let theme = Theme::Light;
    let right = [
        theme.sequential(1.0),
        theme.sequential(0.0),
        theme.sequential(0.5),
        theme.alarm(),
    ];
    // A row for each unit, a column for each step.
    assert_eq!(image.cells, right.map(|color| [color.0, color.1, color.2]));
    // Nothing at all is a picture too.
    let sequence = Sequence::new(&gradient.trace, 1, None).unwrap();
    let picture = plot::gradient("rnn", &sequence, &gradient, "L", Sort::Unit, &style).unwrap();
    assert!(
        picture
            .svg()
            .unwrap()
            .contains("norm 0 at the last step read, 0 at the first")
    );
}
