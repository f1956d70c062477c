//! What ONNX Runtime, PyTorch, TensorFlow and TensorFlow Addons really compute of an LSTM's
//! options: see `golden/make_options.py`. Over 100 steps, to 1e-5 and 1e-4 of the value.

use std::collections::BTreeMap;

use ifco_cell::packing::{self, Packing};
use ifco_cell::{
    Activation, LayerNorm, LstmCell, LstmOptions, LstmWeights, Norm, NormedSums, RecurrentLayer,
    SequenceOptions, reference,
};
use ndarray::{
    Array1, Array2, Array3, ArrayD, ArrayView, Axis, Dimension, Ix1, Ix2, Ix3, concatenate, s,
    stack,
};

mod paragraphs;

/// One paragraph: options, and arrays by the framework's names.
struct Case<'a> {
    head: &'a str,
    options: BTreeMap<&'a str, &'a str>,
    arrays: BTreeMap<&'a str, ArrayD<f32>>,
}

impl<'a> Case<'a> {
    fn read(text: &'a str) -> Self {
        let (head, rest) = text.split_once('\n').unwrap();
        Self {
            head,
            options: head
                .split(' ')
                .map(|word| word.split_once('=').unwrap())
                .collect(),
            arrays: rest.lines().map(paragraphs::array).collect(),
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    fn number(&self, option: &str) -> Option<f32> {
        self.options
            .get(option)
            .map(|number| number.parse().unwrap())
    }

    fn vector(&self, name: &str) -> Array1<f32> {
        self.arrays[name]
            .clone()
            .into_dimensionality::<Ix1>()
            .unwrap()
    }

    fn matrix(&self, name: &str) -> Array2<f32> {
        self.arrays[name]
            .clone()
            .into_dimensionality::<Ix2>()
            .unwrap()
    }

    fn norm(&self, name: &str) -> Norm {
        Norm {
            gamma: self.vector(&format!("{name}/gamma")),
            beta: self.vector(&format!("{name}/beta")),
        }
    }
}

fn packing(name: &str) -> &'static Packing {
    packing::find(name).unwrap()
}

fn cell(weights: LstmWeights, activations: [Activation; 2], options: LstmOptions) -> LstmCell {
    let [sigma, phi] = activations;
    LstmCell::new(weights, phi, sigma)
        .with_options(options)
        .unwrap()
}

const USUAL: [Activation; 2] = [Activation::Sigmoid, Activation::Tanh];

fn onnx(case: &Case<'_>) -> LstmCell {
    let onnx = packing("onnx");
    // Of the only direction.
    let of = |name: &str| case.arrays[name].index_axis(Axis(0), 0);
    let matrix = |name: &str| {
        let matrix = of(name).into_dimensionality::<Ix2>().unwrap();
        onnx.matrix_to_keras(matrix).unwrap()
    };
    let bias = of("B").into_dimensionality::<Ix1>().unwrap();
    let half = bias.len() / 2;
    let biases = [bias.slice(s![..half]), bias.slice(s![half..])];
    let bias = onnx.bias_to_keras(&biases, None).unwrap();
    let mut weights = LstmWeights::new(matrix("W"), matrix("R"), Some(bias)).unwrap();
    if case.has("P") {
        let peepholes = of("P").into_dimensionality::<Ix1>().unwrap();
        let peepholes = onnx.peepholes_to_keras(peepholes).unwrap();
        weights = weights.with_peepholes(peepholes).unwrap();
    }
    let names = case
        .options
        .get("activations")
        .unwrap_or(&"Sigmoid,Tanh,Tanh");
    let activations: Vec<_> = names
        .split(',')
        .map(|name| match name {
            "Sigmoid" => Activation::Sigmoid,
            "Tanh" => Activation::Tanh,
            "Relu" => Activation::RELU,
            "Softsign" => Activation::Softsign,
            "HardSigmoid" => Activation::HardSigmoidKeras2, // alpha 0.2, beta 0.5
            _ => panic!("{name}"),
        })
        .collect();
    let options = LstmOptions {
        clip: case.number("clip"),
        input_forget: case.has("input_forget"),
        output_activation: Some(activations[2]),
        ..LstmOptions::default()
    };
    cell(weights, [activations[0], activations[1]], options)
}

fn torch(case: &Case<'_>) -> LstmCell {
    let torch = packing("torch");
    let matrix = |name: &str| torch.matrix_to_keras(case.matrix(name).view()).unwrap();
    let bias = (!case.has("bias")).then(|| {
        let (ih, hh) = (case.vector("bias_ih_l0"), case.vector("bias_hh_l0"));
        torch.bias_to_keras(&[ih.view(), hh.view()], None).unwrap()
    });
    let projection = case.matrix("weight_hr_l0").reversed_axes();
    let (kernel, recurrent) = (matrix("weight_ih_l0"), matrix("weight_hh_l0"));
    let weights = LstmWeights::projected(kernel, recurrent, bias, projection).unwrap();
    cell(weights, USUAL, LstmOptions::default())
}

fn tensorflow(case: &Case<'_>) -> LstmCell {
    let tf = packing("tf1");
    let whole = tf.matrix_to_keras(case.matrix("kernel").view()).unwrap();
    let (kernel, recurrent) = whole.view().split_at(Axis(0), 3);
    let (kernel, recurrent) = (kernel.to_owned(), recurrent.to_owned());
    // As it is stored: the forget bias is an option.
    let bias = case.arrays.contains_key("bias").then(|| {
        tf.bias_to_keras(&[case.vector("bias").view()], Some(0.0))
            .unwrap()
    });
    let mut weights = match case.has("num_proj") {
        true => {
            let projection = case.matrix("projection/kernel");
            LstmWeights::projected(kernel, recurrent, bias, projection).unwrap()
        }
        false => LstmWeights::new(kernel, recurrent, bias).unwrap(),
    };
    if case.has("use_peepholes") {
        let rows = ["w_i_diag", "w_f_diag", "w_o_diag"].map(|name| case.vector(name));
        let rows = rows.each_ref().map(|row| row.view());
        weights = weights
            .with_peepholes(stack(Axis(0), &rows).unwrap())
            .unwrap();
    }
    if case.has("layer_norm") {
        // i c f o by their names.
        let norms = ["input", "forget", "transform", "output"].map(|gate| case.norm(gate));
        let join = |of: fn(&Norm) -> &Array1<f32>| {
            let views: Vec<_> = norms.iter().map(|norm| of(norm).view()).collect();
            concatenate(Axis(0), &views).unwrap()
        };
        let layer_norm = LayerNorm {
            sums: NormedSums::Gates(Norm {
                gamma: join(|norm| &norm.gamma),
                beta: join(|norm| &norm.beta),
            }),
            state: case.norm("state"),
            epsilon: 1e-12,
        };
        weights = weights.with_layer_norm(layer_norm).unwrap();
    }
    let options = LstmOptions {
        forget_bias: case.number("forget_bias").unwrap(),
        cell_clip: case.number("cell_clip"),
        projection_clip: case.number("proj_clip"),
        ..LstmOptions::default()
    };
    cell(weights, USUAL, options)
}

fn addons(case: &Case<'_>) -> LstmCell {
    let bias = (!case.has("bias")).then(|| case.vector("bias"));
    let weights = LstmWeights::new(case.matrix("kernel"), case.matrix("recurrent_kernel"), bias);
    let weights = weights.unwrap().with_layer_norm(LayerNorm {
        sums: NormedSums::Products {
            kernel: case.norm("kernel_norm"),
            recurrent: case.norm("recurrent_norm"),
        },
        state: case.norm("state_norm"),
        epsilon: 1e-3,
    });
    cell(weights.unwrap(), USUAL, LstmOptions::default())
}

/// Holds all cases of a file to what is right.
fn hold(text: &str, build: fn(&Case<'_>) -> LstmCell, count: usize) {
    let mut texts = text.trim_end().split("\n\n");
    let (_, inputs) = paragraphs::array(texts.next().unwrap());
    let inputs: Array3<f32> = inputs.into_dimensionality::<Ix3>().unwrap();
    assert_eq!(inputs.dim().1, 100);
    let mut found_cases = 0;
    for text in texts {
        let case = Case::read(text);
        let options = SequenceOptions {
            return_sequences: true,
            go_backwards: case.has("go_backwards"),
            ..SequenceOptions::default()
        };
        let layer = RecurrentLayer::new(vec![build(&case).into()], options).unwrap();
        let initial = case.arrays.contains_key("initial_h");
        let initial = initial.then(|| ["initial_h", "initial_c"].map(|name| case.matrix(name)));
        let views = initial
            .as_ref()
            .map(|states| states.each_ref().map(|state| state.view()));
        let views = views.as_ref().map(|views| &views[..]);
        let found = layer.forward(inputs.view(), None, views).unwrap();
        let outputs = found.output.sequences().unwrap().slice(s![.., ..;9, ..]);
        close(outputs, &case, "output", "engine");
        close(found.states[0].view(), &case, "h", "engine");
        close(found.states[1].view(), &case, "c", "engine");

        let wide = initial.map(|states| states.map(|state| state.mapv(f64::from)));
        let wide = wide
            .as_ref()
            .map(|states| states.each_ref().map(|state| state.view()));
        let wide = wide.as_ref().map(|states| &states[..]);
        let right = reference::sequence(&layer, inputs.mapv(f64::from).view(), None, wide);
        let outputs = right.outputs.slice(s![.., ..;9, ..]).mapv(|y| y as f32);
        close(outputs.view(), &case, "output", "textbook");
        close(
            right.states[1].mapv(|c| c as f32).view(),
            &case,
            "c",
            "textbook",
        );
        found_cases += 1;
    }
    assert_eq!(found_cases, count);
}

fn close<D: Dimension>(found: ArrayView<'_, f32, D>, case: &Case<'_>, name: &str, who: &str) {
    let right = &case.arrays[name];
    assert_eq!(found.shape(), right.shape(), "{name} of {}", case.head);
    for (found, right) in found.iter().zip(right) {
        // Written so that a NaN fails.
        assert!(
            (found - right).abs() <= 1e-5 + 1e-4 * right.abs(),
            "{who}, {name} of {}: {found} and not {right}",
            case.head
        );
    }
}

#[test]
fn options_are_those_of_onnx_runtime() {
    hold(include_str!("golden/options_onnx.txt"), onnx, 10);
}

#[test]
fn a_projection_is_that_of_pytorch() {
    hold(include_str!("golden/options_torch.txt"), torch, 3);
}

#[test]
fn options_are_those_of_tensorflow() {
    hold(include_str!("golden/options_tf.txt"), tensorflow, 9);
}

#[test]
fn layer_normalization_is_that_of_tensorflow_addons() {
    hold(include_str!("golden/options_addons.txt"), addons, 2);
}
