use super::*;
use ndarray::array;
use proptest::prelude::*;

#[test]
fn every_row_has_every_gate_and_its_own_names() {
    let mut names = Vec::new();
    for packing in ALL {
        let mut gates = packing.order;
        gates.sort();
        assert_eq!(gates, Gate::ALL, "{}", packing.key);
        for (gate, block) in Gate::ALL.into_iter().zip(packing.permutation()) {
            assert_eq!(packing.order[block], gate, "{}", packing.key);
        }
        for name in [packing.key, packing.name].iter().chain(packing.aliases) {
            assert_eq!(find(name), Some(packing), "{name}");
            assert_eq!(find(&name.to_uppercase()), Some(packing), "{name}");
            names.push(name.to_lowercase());
        }
        for part in [Part::Kernel, Part::RecurrentKernel, Part::Bias] {
            let slices: Vec<_> = Gate::ALL.map(|gate| packing.slice(part, gate)).into();
            for (k, slice) in slices.iter().enumerate() {
                assert!(!slice.contains(['{', '}']), "{slice}");
                assert!(!slices[..k].contains(slice), "{slice} twice");
            }
        }
    }
    assert!(find("").is_none());
    assert_eq!(ALL.len(), 18);
}

#[test]
fn slices_are_what_a_numpy_user_writes() {
    let expect = |key: &str, part: Part, gates: [&str; 4]| {
        let packing = find(key).unwrap();
        assert_eq!(Gate::ALL.map(|gate| packing.slice(part, gate)), gates);
    };
    expect(
        "keras",
        Part::Kernel,
        [
            "kernel[:, :u]",
            "kernel[:, u:2*u]",
            "kernel[:, 2*u:3*u]",
            "kernel[:, 3*u:]",
        ],
    );
    expect(
        "onnx",
        Part::Bias,
        [
            "B[0, :u] + B[0, 4*u:5*u]",
            "B[0, 2*u:3*u] + B[0, 6*u:7*u]",
            "B[0, 3*u:4*u] + B[0, 7*u:]",
            "B[0, u:2*u] + B[0, 5*u:6*u]",
        ],
    );
    expect(
        "tf1",
        Part::Kernel,
        [
            "kernel[:n, :u]",
            "kernel[:n, 2*u:3*u]",
            "kernel[:n, u:2*u]",
            "kernel[:n, 3*u:]",
        ],
    );
    expect(
        "nam",
        Part::RecurrentKernel,
        ["W[:u, n:]", "W[u:2*u, n:]", "W[2*u:3*u, n:]", "W[3*u:, n:]"],
    );
    expect("keras1", Part::Bias, ["b_i", "b_f", "b_c", "b_o"]);
    assert_eq!(find("openvino").unwrap().order_text(), "f i c o");
    assert_eq!(find("coreml").unwrap().order_text(), "i f o z");
}

/// What `tf_keras` 2.21 makes of the same numbers when it loads them into an LSTM of 2 units and
/// 3 features (`_convert_rnn_weights` in `saving/legacy/hdf5_format.py`).
#[test]
fn cudnn_lstm_is_converted_as_keras_2_does() {
    let packing = find("CuDNNLSTM").unwrap();
    let counted = |rows| Array2::from_shape_fn((rows, 8), |(r, c)| (8 * r + c) as f32);
    assert_eq!(
        packing.matrix_to_keras(counted(3).view()).unwrap(),
        array![
            [0., 9., 2., 11., 4., 13., 6., 15.],
            [1., 16., 3., 18., 5., 20., 7., 22.],
            [8., 17., 10., 19., 12., 21., 14., 23.],
        ]
    );
    assert_eq!(
        packing.matrix_to_keras(counted(2).view()).unwrap(),
        array![
            [0., 8., 2., 10., 4., 12., 6., 14.],
            [1., 9., 3., 11., 5., 13., 7., 15.],
        ]
    );
    let bias = Array1::from_iter((0..16).map(|k| k as f32));
    let halves = bias.view().split_at(Axis(0), 8);
    assert_eq!(
        packing.bias_to_keras(&[halves.0, halves.1], None).unwrap(),
        array![8., 10., 12., 14., 16., 18., 20., 22.]
    );
}

#[test]
fn arrays_that_are_not_packed_so_are_errors() {
    let torch = find("torch").unwrap();
    let error = torch.matrix_to_keras(Array2::zeros((6, 8)).view());
    assert_eq!(
        error.unwrap_err().to_string(),
        "matrix has shape [6, 8], but PyTorch nn.LSTM packs four gates, as 4·u rows"
    );
    let bias = Array1::zeros(8);
    let error = torch.bias_to_keras(&[bias.view()], None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "biases has shape [8], but PyTorch nn.LSTM packs two biases of 4·u values"
    );
    for packing in ALL {
        assert!(
            packing
                .matrix_to_keras(Array2::zeros((0, 0)).view())
                .is_err()
        );
        assert!(
            packing
                .matrix_from_keras(Array2::zeros((2, 6)).view())
                .is_err()
        );
        assert!(packing.bias_to_keras(&[], None).is_err());
        let (short, long) = (Array1::zeros(4), Array1::zeros(8));
        assert!(
            packing
                .bias_to_keras(&[short.view(), long.view()], None)
                .is_err()
        );
        assert!(
            packing
                .bias_from_keras(Array1::zeros(7).view(), None)
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn there_and_back_is_the_same(
        which in 0..ALL.len(), inputs in 0usize..5, u in 1usize..5,
        forget_bias in proptest::option::of(-2i8..3),
    ) {
        let packing = &ALL[which];
        let keras = Array2::from_shape_fn((inputs, 4 * u), |(r, c)| (4 * u * r + c) as f32);
        let packed = packing.matrix_from_keras(keras.view()).unwrap();
        prop_assert_eq!(&packing.matrix_to_keras(packed.view()).unwrap(), &keras);
        // A gate's own values stand where `position` says.
        for gate in Gate::ALL {
            let block = packing.position(gate);
            let own = match packing.layout {
                Layout::Columns | Layout::SeparateColumns =>
                    packed.slice(s![.., block * u..(block + 1) * u]),
                Layout::Rows | Layout::SeparateRows =>
                    packed.slice(s![block * u..(block + 1) * u, ..]).reversed_axes(),
                Layout::TransposedColumns => continue,
            };
            prop_assert_eq!(own, keras.slice(s![.., gate.columns(u)]));
        }

        let forget_bias = forget_bias.map(f32::from);
        let bias = Array1::from_iter((0..4 * u).map(|k| k as f32));
        let packed = packing.bias_from_keras(bias.view(), forget_bias).unwrap();
        let views: Vec<_> = packed.iter().map(|bias| bias.view()).collect();
        prop_assert_eq!(packing.bias_to_keras(&views, forget_bias).unwrap(), bias);
    }
}

/// A weight that is read where `element` says is the one that `matrix_from_keras` put there.
#[test]
fn an_element_is_where_the_packing_puts_it() {
    let (inputs, units) = (3, 2);
    let keras = Array2::from_shape_fn((inputs, 4 * units), |(row, column)| {
        (100 * row + column) as f32
    });
    let mut told = 0;
    for packing in ALL {
        let packed = packing.matrix_from_keras(keras.view()).unwrap();
        for (gate, unit, input) in every_weight(inputs, units) {
            let index = |block: usize| (block * units + unit).to_string();
            let row = input.to_string();
            let Some(element) = packing.element(Part::Kernel, gate, index, &row) else {
                continue;
            };
            // RTNeural has `weights[0]` before it.
            let inside = element.rsplit_once('[').unwrap().1.trim_end_matches(']');
            let mut places: Vec<usize> = inside.split(", ").map(|n| n.parse().unwrap()).collect();
            if places.len() == 3 {
                assert_eq!(places.remove(0), 0, "{element}"); // the direction
            }
            let expected = keras[[input, gate.columns(units).start + unit]];
            assert_eq!(
                packed[[places[0], places[1]]],
                expected,
                "{} {element}",
                packing.key
            );
            told += 1;
        }
    }
    // Keras, PyTorch's two, ONNX, Core ML, OpenVINO and Haste at least.
    assert!(told >= 7 * 4 * inputs * units, "{told}");
}

fn every_weight(inputs: usize, units: usize) -> impl Iterator<Item = (Gate, usize, usize)> {
    Gate::ALL.into_iter().flat_map(move |gate| {
        (0..units).flat_map(move |unit| (0..inputs).map(move |input| (gate, unit, input)))
    })
}
