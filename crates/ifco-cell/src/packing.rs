//! How each framework packs an LSTM's gates, as one table.
//!
//! [`ALL`] has a row for each framework or file format: the order of the four gates, which way
//! they lie, what the arrays are called, what becomes of the bias. [`find`] looks one up by name.
//!
//! ```
//! use ifco_cell::Gate;
//! use ifco_cell::packing::{self, Part};
//!
//! let onnx = packing::find("ONNX").unwrap();
//! assert_eq!(onnx.position(Gate::Forget), 2); // i o f c
//! assert_eq!(onnx.slice(Part::Kernel, Gate::Forget), "W[0, 2*u:3*u, :]");
//! ```

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

use crate::Gate;

mod gru;
mod simple_rnn;
mod table;

pub use gru::{GRUS, GruPacking, find_gru};
pub use simple_rnn::{SIMPLE_RNNS, SimpleRnnPacking};
pub use table::ALL;

/// One framework's or file format's way of packing an LSTM.
///
/// In shapes and slices u is the number of units and n that of input features.
///
/// ```
/// use ifco_cell::packing::{ALL, Biases, Layout};
///
/// let torch = ALL.iter().find(|packing| packing.key == "pytorch").unwrap();
/// assert_eq!(torch.order_text(), "i f g o");
/// assert_eq!(torch.layout, Layout::Rows);
/// assert_eq!(torch.biases, Biases::Two); // their sum is Keras's bias
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// The short name, such as `pytorch`.
    pub key: &'static str,
    /// The full name, such as `PyTorch nn.LSTM`.
    pub name: &'static str,
    /// Other names under which [`find`] knows it.
    pub aliases: &'static [&'static str],
    /// The gates in the order in which they are stored, or listed where they are separate.
    pub order: [Gate; 4],
    /// What it calls each gate, in the order of [`Gate::ALL`].
    pub letters: [&'static str; 4],
    /// Which way the gates lie.
    pub layout: Layout,
    /// The input's weights, Keras's `kernel`.
    pub kernel: Arrays,
    /// The hidden state's weights, Keras's `recurrent_kernel`.
    pub recurrent_kernel: Arrays,
    /// The bias or biases.
    pub bias: Arrays,
    /// How many biases there are.
    pub biases: Biases,
    /// What is added to the forget gate when the model runs, and is not in the stored bias. A
    /// framework's default, which a model may have changed.
    pub forget_bias: Option<f32>,
    /// What else one must know.
    pub notes: &'static str,
}

/// Which way the gates of a packed array lie.
///
/// ```
/// use ifco_cell::packing::{Layout, find};
/// assert_eq!(find("keras").unwrap().layout, Layout::Columns);
/// assert_eq!(find("onnx").unwrap().layout, Layout::Rows);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Side by side: `(inputs, 4·u)`, as in Keras.
    Columns,
    /// Side by side as columns, but what stands in a gate's `(inputs, u)` columns is, read row by
    /// row, a `(u, inputs)` matrix.
    TransposedColumns,
    /// One above the other: `(4·u, inputs)`.
    Rows,
    /// Four arrays `(inputs, u)`.
    SeparateColumns,
    /// Four arrays `(u, inputs)`.
    SeparateRows,
}

/// The arrays that hold one part of the weights.
///
/// ```
/// use ifco_cell::packing::{Part, find};
/// let keras = find("keras").unwrap();
/// assert_eq!(keras.arrays(Part::Kernel).name, "kernel");
/// assert_eq!(keras.arrays(Part::Kernel).shape, "(n, 4*u)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrays {
    /// Their names, as the framework has them.
    pub name: &'static str,
    /// Their shape.
    pub shape: &'static str,
    slice: Slice,
}

/// How a gate is taken out of the arrays, in NumPy's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    /// Out of one array: `{4}` is the gate's range in 4·u values, and `{8}` and `{8+4}` those in
    /// the two halves of 8·u.
    Fused(&'static str),
    /// Each gate its own array, in the order of [`Gate::ALL`].
    Each([&'static str; 4]),
}

/// How many biases there are, and what they are added to.
///
/// ```
/// use ifco_cell::packing::{Biases, find};
/// assert_eq!(find("keras").unwrap().biases, Biases::One);
/// assert_eq!(find("pytorch").unwrap().biases, Biases::Two);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// One.
    One,
    /// Two, the input's and the recurrent one, both added: their sum is Keras's bias.
    Two,
    /// One, which stands with the recurrent weights.
    Recurrent,
}

/// A part of an LSTM's weights.
///
/// ```
/// use ifco_cell::{Gate, packing::{Part, find}};
/// let keras = find("keras").unwrap();
/// assert_eq!(keras.slice(Part::RecurrentKernel, Gate::Output), "recurrent_kernel[:, 3*u:]");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// W: the input's weights.
    Kernel,
    /// U: the hidden state's weights.
    RecurrentKernel,
    /// b.
    Bias,
}

/// Arrays that are not packed as they should be.
///
/// ```
/// use ifco_cell::packing::find;
/// use ndarray::Array2;
///
/// let torch = find("pytorch").unwrap();
/// let error = torch.matrix_to_keras(Array2::zeros((7, 3)).view()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "matrix has shape [7, 3], but PyTorch nn.LSTM packs four gates, as 4·u rows",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has shape {found:?}, but {packing} packs {expected}")]
pub struct PackingError {
    /// The packing's name.
    pub packing: &'static str,
    /// `matrix`, `biases` or `peepholes`.
    pub what: &'static str,
    /// Its shape; of biases, their lengths.
    pub found: Vec<usize>,
    /// What would be right.
    pub expected: &'static str,
}

/// Finds a packing by its key, its name or an alias; case, spaces and `-_.` do not matter.
///
/// ```
/// use ifco_cell::packing::find;
/// assert_eq!(find("Torch").unwrap().key, "pytorch");
/// assert!(find("fortran").is_none());
/// ```
pub fn find(name: &str) -> Option<&'static Packing> {
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|letter| !matches!(letter, ' ' | '-' | '_' | '.'))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wanted = plain(name);
    ALL.iter().find(|packing| {
        let names = [packing.key, packing.name].into_iter();
        names
            .chain(packing.aliases.iter().copied())
            .any(|name| plain(name) == wanted)
    })
}

impl Packing {
    /// Where a gate stands in [`order`](Self::order), from 0.
    ///
    /// ```
    /// use ifco_cell::{Gate, packing::find};
    /// assert_eq!(find("onnx").unwrap().position(Gate::Cell), 3); // i o f c
    /// ```
    pub fn position(&self, gate: Gate) -> usize {
        // Every row of the table has every gate: a test holds it to that.
        self.order.iter().position(|g| *g == gate).unwrap_or(0)
    }

    /// For each of Keras's gates i f c o, which block of this packing it is.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// assert_eq!(find("tf1").unwrap().permutation(), [0, 2, 1, 3]); // i c f o
    /// ```
    pub fn permutation(&self) -> [usize; 4] {
        Gate::ALL.map(|gate| self.position(gate))
    }

    /// The letters of the gates in the order in which they are stored: `i f g o` for PyTorch.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// assert_eq!(find("keras").unwrap().order_text(), "i f c o");
    /// ```
    pub fn order_text(&self) -> String {
        self.order.map(|gate| self.letter(gate)).join(" ")
    }

    /// What this framework calls a gate.
    ///
    /// ```
    /// use ifco_cell::{Gate, packing::find};
    /// assert_eq!(find("pytorch").unwrap().letter(Gate::Cell), "g");
    /// ```
    pub fn letter(&self, gate: Gate) -> &'static str {
        self.letters[gate as usize]
    }

    /// The arrays that hold a part.
    ///
    /// ```
    /// use ifco_cell::packing::{Part, find};
    /// let torch = find("pytorch").unwrap();
    /// assert_eq!(torch.arrays(Part::Kernel).name, "weight_ih_l{k}"); // in layer k
    /// ```
    pub fn arrays(&self, part: Part) -> &Arrays {
        match part {
            Part::Kernel => &self.kernel,
            Part::RecurrentKernel => &self.recurrent_kernel,
            Part::Bias => &self.bias,
        }
    }

    /// How one takes a gate out of this framework's arrays, in NumPy's notation.
    ///
    /// What it gives has the framework's own orientation: `(u, n)` where the gates are rows.
    ///
    /// ```
    /// use ifco_cell::{Gate, packing::{Part, find}};
    /// let torch = find("pytorch").unwrap();
    /// assert_eq!(torch.slice(Part::Kernel, Gate::Forget), "weight_ih_l0[u:2*u, :]");
    /// assert_eq!(
    ///     torch.slice(Part::Bias, Gate::Forget),
    ///     "bias_ih_l0[u:2*u] + bias_hh_l0[u:2*u]",
    /// );
    /// ```
    pub fn slice(&self, part: Part, gate: Gate) -> String {
        let template = match self.arrays(part).slice {
            Slice::Each(names) => return names[gate as usize].to_string(),
            Slice::Fused(template) => template,
        };
        let block = self.position(gate);
        template
            .replace("{4}", &range(block, 4))
            .replace("{8}", &range(block, 8))
            .replace("{8+4}", &range(block + 4, 8))
    }

    /// How one reads a single weight in this framework's arrays: that of one unit's gate, for the
    /// input (a feature, or a unit of the hidden state) that `input` names.
    ///
    /// `index` writes where the unit stands, given the block of u values that it is in. `None`
    /// where a weight has no place of its own to name: gates that are separate or transposed, and
    /// W and U in one matrix.
    ///
    /// ```
    /// use ifco_cell::{Gate, packing::{Part, find}};
    ///
    /// let (units, unit) = (24, 5);
    /// let index = |block: usize| (block * units + unit).to_string();
    /// let torch = find("pytorch").unwrap().element(Part::Kernel, Gate::Forget, index, "3");
    /// assert_eq!(torch.unwrap(), "weight_ih_l0[29, 3]");
    /// let onnx = find("onnx").unwrap().element(Part::Bias, Gate::Forget, index, "");
    /// assert_eq!(onnx.unwrap(), "B[0, 53] + B[0, 149]");
    /// ```
    pub fn element(
        &self,
        part: Part,
        gate: Gate,
        index: impl Fn(usize) -> String,
        input: &str,
    ) -> Option<String> {
        let template = match (self.arrays(part).slice, self.layout) {
            (Slice::Fused(template), Layout::Columns | Layout::Rows) => template,
            _ => return None,
        };
        let is_shared = self.kernel.name == self.recurrent_kernel.name;
        if is_shared && part != Part::Bias {
            return None;
        }
        let block = self.position(gate);
        let element = template
            .replace(':', input)
            .replace("{4}", &index(block))
            .replace("{8}", &index(block))
            .replace("{8+4}", &index(block + 4));
        Some(element)
    }

    /// Brings peepholes that are packed one after the other, `(3·u)`, into what
    /// [`LstmWeights::with_peepholes`](crate::LstmWeights::with_peepholes) takes: `(3, u)`, of i, f
    /// and o. They stand in [`order`](Self::order), without the candidate, which has none.
    ///
    /// # Errors
    /// When they are not three of the same length.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// use ndarray::array;
    ///
    /// let onnx = find("onnx").unwrap(); // P[0] of ONNX: i o f
    /// let p = array![1.0, 1.1, 3.0, 3.1, 2.0, 2.1];
    /// let keras = onnx.peepholes_to_keras(p.view())?;
    /// assert_eq!(keras, array![[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]]);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    pub fn peepholes_to_keras(
        &self,
        peepholes: ArrayView1<'_, f32>,
    ) -> Result<Array2<f32>, PackingError> {
        let units = peepholes.len() / 3;
        if peepholes.len() != 3 * units {
            return Err(PackingError {
                packing: self.name,
                what: "peepholes",
                found: peepholes.shape().to_vec(),
                expected: "three gates, as 3·u values",
            });
        }
        let places = self.peephole_places();
        Ok(Array2::from_shape_fn((3, units), |(gate, unit)| {
            peepholes[places[gate] * units + unit]
        }))
    }

    /// The inverse of [`peepholes_to_keras`](Self::peepholes_to_keras).
    ///
    /// ```
    /// use ifco_cell::packing;
    /// use ndarray::array;
    ///
    /// let onnx = packing::find("onnx").unwrap(); // i o f
    /// let keras = array![[1.0, 1.1], [2.0, 2.1], [3.0, 3.1]]; // i f o
    /// let p = onnx.peepholes_from_keras(keras.view());
    /// assert_eq!(p, array![1.0, 1.1, 3.0, 3.1, 2.0, 2.1]);
    /// assert_eq!(onnx.peepholes_to_keras(p.view())?, keras);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    pub fn peepholes_from_keras(&self, peepholes: ArrayView2<'_, f32>) -> Array1<f32> {
        let units = peepholes.ncols();
        let mut own = Array1::zeros(peepholes.len());
        for (row, place) in peepholes.rows().into_iter().zip(self.peephole_places()) {
            own.slice_mut(s![place * units..(place + 1) * units])
                .assign(&row);
        }
        own
    }

    /// Where the peepholes of i, f and o stand among the three.
    fn peephole_places(&self) -> [usize; 3] {
        let candidate = self.position(Gate::Cell);
        [Gate::Input, Gate::Forget, Gate::Output].map(|gate| {
            let position = self.position(gate);
            position - usize::from(position > candidate)
        })
    }

    /// Brings a packed matrix into Keras's layout: `(inputs, 4·u)`, columns i f c o.
    ///
    /// `matrix` is `kernel`, `recurrent_kernel`, or both in one, where they are stored so. Separate
    /// arrays come joined, in [`order`](Self::order), along their gate axis.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// use ndarray::array;
    ///
    /// let onnx = find("onnx").unwrap(); // rows i o f c
    /// let keras = onnx.matrix_to_keras(array![[1.0], [4.0], [2.0], [3.0]].view())?;
    /// assert_eq!(keras, array![[1.0, 2.0, 3.0, 4.0]]);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    ///
    /// # Errors
    /// When the gate axis is not four times as long as something.
    pub fn matrix_to_keras(
        &self,
        matrix: ArrayView2<'_, f32>,
    ) -> Result<Array2<f32>, PackingError> {
        let columns = match self.layout {
            Layout::Rows | Layout::SeparateRows => matrix.t(),
            _ => matrix,
        };
        let units = self.units_of(columns, &matrix)?;
        let blocks = self.permutation().map(|block| {
            let block = columns.slice(s![.., block * units..(block + 1) * units]);
            match self.layout {
                Layout::TransposedColumns => reread(block).reversed_axes(),
                _ => block.to_owned(),
            }
        });
        Ok(side_by_side(blocks))
    }

    /// The inverse of [`matrix_to_keras`](Self::matrix_to_keras).
    ///
    /// # Errors
    /// When there are not 4·u columns.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// use ndarray::array;
    ///
    /// let torch = find("pytorch").unwrap(); // rows i f g o
    /// let kernel = array![[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]; // (features, 4·u)
    /// let weight_ih = torch.matrix_from_keras(kernel.view())?; // (4·u, features)
    /// assert_eq!(weight_ih, kernel.t());
    /// assert_eq!(torch.matrix_to_keras(weight_ih.view())?, kernel);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    pub fn matrix_from_keras(
        &self,
        keras: ArrayView2<'_, f32>,
    ) -> Result<Array2<f32>, PackingError> {
        let units = self.units_of(keras, &keras)?;
        let blocks = self.order.map(|gate| {
            let block = keras.slice(s![.., gate.columns(units)]);
            match self.layout {
                Layout::TransposedColumns => {
                    let flat = Array1::from_iter(block.t().iter().copied());
                    let shape = block.raw_dim();
                    Array2::from_shape_fn(shape, |(row, column)| flat[row * units + column])
                }
                _ => block.to_owned(),
            }
        });
        let columns = side_by_side(blocks);
        Ok(match self.layout {
            Layout::Rows | Layout::SeparateRows => {
                columns.reversed_axes().as_standard_layout().into_owned()
            }
            _ => columns,
        })
    }

    /// Brings the bias into Keras's form: `(4·u)`, in the order i f c o, two biases summed and the
    /// run-time forget bias added.
    ///
    /// `biases` has one array of 4·u values, or with [`Biases::Two`] two; where those are stored
    /// one behind the other, give the halves. `forget_bias` replaces the framework's default.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// use ndarray::array;
    ///
    /// let tf1 = find("tf1").unwrap(); // i c f o, and 1 is added to f
    /// let keras = tf1.bias_to_keras(&[array![1.0, 3.0, 2.0, 4.0].view()], None)?;
    /// assert_eq!(keras, array![1.0, 3.0, 3.0, 4.0]);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    ///
    /// # Errors
    /// When there are more or fewer biases, or they are not of one length that is 4·u.
    pub fn bias_to_keras(
        &self,
        biases: &[ArrayView1<'_, f32>],
        forget_bias: Option<f32>,
    ) -> Result<Array1<f32>, PackingError> {
        let (count, expected) = match self.biases {
            Biases::Two => (2, "two biases of 4·u values"),
            Biases::One | Biases::Recurrent => (1, "one bias of 4·u values"),
        };
        let length = biases.first().map_or(0, |bias| bias.len());
        let fits = biases.len() == count
            && length > 0
            && length.is_multiple_of(4)
            && biases.iter().all(|bias| bias.len() == length);
        if !fits {
            return Err(PackingError {
                packing: self.name,
                what: "biases",
                found: biases.iter().map(|bias| bias.len()).collect(),
                expected,
            });
        }
        let units = length / 4;
        // Nothing is added where there is 0, which would make 0 of −0.
        let add = |own: &mut f32, more: f32| {
            if more != 0.0 {
                *own += more;
            }
        };
        let mut keras = biases[0].to_owned();
        for gate in Gate::ALL {
            let first = self.position(gate) * units;
            let mut own = keras.slice_mut(s![gate.columns(units)]);
            for (index, bias) in biases.iter().enumerate() {
                let bias = bias.slice(s![first..first + units]);
                match index {
                    0 => own.assign(&bias),
                    _ => own.zip_mut_with(&bias, |own, more| add(own, *more)),
                }
            }
            if gate == Gate::Forget {
                let more = forget_bias.or(self.forget_bias).unwrap_or(0.0);
                own.mapv_inplace(|mut own| {
                    add(&mut own, more);
                    own
                });
            }
        }
        Ok(keras)
    }

    /// The inverse of [`bias_to_keras`](Self::bias_to_keras): one array, or with [`Biases::Two`]
    /// two, of which the second is zeros.
    ///
    /// # Errors
    /// When there are not 4·u values.
    ///
    /// ```
    /// use ifco_cell::packing::find;
    /// use ndarray::array;
    ///
    /// let torch = find("pytorch").unwrap();
    /// let biases = torch.bias_from_keras(array![1.0, 2.0, 3.0, 4.0].view(), None)?;
    /// assert_eq!(biases, [array![1.0, 2.0, 3.0, 4.0], array![0.0, 0.0, 0.0, 0.0]]);
    /// # Ok::<(), ifco_cell::packing::PackingError>(())
    /// ```
    pub fn bias_from_keras(
        &self,
        keras: ArrayView1<'_, f32>,
        forget_bias: Option<f32>,
    ) -> Result<Vec<Array1<f32>>, PackingError> {
        let row = keras.insert_axis(Axis(0));
        let units = self.units_of(row, &row)?;
        let mut bias = Array1::zeros(keras.len());
        for (block, gate) in self.order.into_iter().enumerate() {
            let mut own = bias.slice_mut(s![block * units..(block + 1) * units]);
            own += &keras.slice(s![gate.columns(units)]);
            if gate == Gate::Forget {
                own -= forget_bias.or(self.forget_bias).unwrap_or(0.0);
            }
        }
        Ok(match self.biases {
            Biases::Two => vec![bias, Array1::zeros(keras.len())],
            Biases::One | Biases::Recurrent => vec![bias],
        })
    }

    fn units_of(
        &self,
        columns: ArrayView2<'_, f32>,
        given: &ArrayView2<'_, f32>,
    ) -> Result<usize, PackingError> {
        match columns.ncols() {
            count if count > 0 && count.is_multiple_of(4) => Ok(count / 4),
            _ => Err(PackingError {
                packing: self.name,
                what: "matrix",
                found: given.shape().to_vec(),
                expected: match self.layout {
                    Layout::Rows | Layout::SeparateRows => "four gates, as 4·u rows",
                    _ => "four gates, as 4·u columns",
                },
            }),
        }
    }
}

/// A block's range in an array of `blocks` of them, as NumPy has it: `:u`, `u:2*u`, `3*u:`.
fn range(block: usize, blocks: usize) -> String {
    let at = |block: usize| match block {
        1 => "u".to_string(),
        block => format!("{block}*u"),
    };
    match block {
        0 => format!(":{}", at(1)),
        _ if block + 1 == blocks => format!("{}:", at(block)),
        _ => format!("{}:{}", at(block), at(block + 1)),
    }
}

/// The `(u, inputs)` matrix that an `(inputs, u)` block is when it is read row by row.
fn reread(block: ArrayView2<'_, f32>) -> Array2<f32> {
    let (inputs, units) = block.dim();
    let flat = Array1::from_iter(block.iter().copied());
    Array2::from_shape_fn((units, inputs), |(unit, input)| flat[unit * inputs + input])
}

fn side_by_side(blocks: [Array2<f32>; 4]) -> Array2<f32> {
    let views = blocks.each_ref().map(|block| block.view());
    let joined = concatenate(Axis(1), &views);
    joined
        .expect("four blocks of one shape")
        .as_standard_layout()
        .into_owned()
}

#[cfg(test)]
mod tests;
