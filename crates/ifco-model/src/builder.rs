//! A model made layer by layer by a program, instead of from Keras's JSON.

use ndarray::ArrayD;

use crate::from_config::finish;
use crate::graph::{Input, Node, Source};
use crate::layers::InputLayer;
use crate::{Generation, Layer, LayerEntry, Model, ModelError, Port, Shape};

/// One output of a layer that a [`ModelBuilder`] holds.
///
/// ```
/// use ifco_model::ModelBuilder;
///
/// let mut builder = ModelBuilder::new("Graph", "m");
/// let x = builder.input("x", Some(vec![None, Some(3)]));
/// assert_eq!(x.at(1), x.at(1)); // another output of the same layer
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    layer: usize,
    tensor: usize,
}

impl Output {
    /// The layer's output of this number, counted from 0.
    #[must_use]
    pub fn at(self, tensor: usize) -> Self {
        Self { tensor, ..self }
    }
}

/// Makes a [`Model`] of [`Layer`]s: each is added after those whose outputs it takes.
///
/// ```
/// use ifco_model::{Config, Generation, ModelBuilder, Port, layers};
/// use ndarray::array;
///
/// let json = serde_json::json!({"units": 1, "use_bias": false});
/// let dense = layers::build("Dense", &Config::new("double", Generation::Keras3, &json)?)?;
///
/// let mut builder = ModelBuilder::new("Graph", "m");
/// let x = builder.input("x", Some(vec![None, Some(1)]));
/// let double = builder.add("double", dense, &[x], vec![array![[2.0]].into_dyn()])?;
/// let y = Port { name: "y".into(), shape: None, batch_axis: Some(0) };
/// let model = builder.build(vec![(y, double)])?;
///
/// assert_eq!(model.predict(&array![[1.0], [5.0]].into_dyn())?, array![[2.0], [10.0]].into_dyn());
/// assert_eq!(model.outputs()[0].name, "y");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ModelBuilder {
    class: String,
    name: String,
    layers: Vec<LayerEntry>,
    nodes: Vec<Node>,
    inputs: Vec<Source>,
    batch_axes: Vec<Option<usize>>,
}

impl ModelBuilder {
    /// A model without layers. `class` is what [`Model`]'s `class_name` says as a layer.
    pub fn new(class: &str, name: &str) -> Self {
        Self {
            class: class.into(),
            name: name.into(),
            layers: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            batch_axes: Vec::new(),
        }
    }

    /// Adds an input of this shape, batch first unless [`set_batch_axis`](Self::set_batch_axis)
    /// says otherwise.
    pub fn input(&mut self, name: &str, shape: Option<Shape>) -> Output {
        let output = self.push(name, Box::new(InputLayer { shape }), &[]);
        self.inputs.push(source(output));
        self.batch_axes.push(Some(0));
        output
    }

    /// Adds a layer that takes these outputs of earlier ones and has these weights. The names
    /// of the layers must differ: [`build`](Self::build) does not look.
    ///
    /// # Errors
    /// When the weights are not the layer's.
    pub fn add(
        &mut self,
        name: &str,
        layer: Box<dyn Layer>,
        inputs: &[Output],
        weights: Vec<ArrayD<f32>>,
    ) -> Result<Output, ModelError> {
        let output = self.push(name, layer, inputs);
        if !weights.is_empty() {
            self.layers[output.layer].set_weights(weights)?;
        }
        Ok(output)
    }

    /// Says along which axis of an input the rows of a batch lie, or that this cannot be told:
    /// see [`Port::batch_axis`].
    pub fn set_batch_axis(&mut self, input: Output, axis: Option<usize>) {
        let index = self.inputs.iter().position(|known| *known == source(input));
        if let Some(own) = index.and_then(|index| self.batch_axes.get_mut(index)) {
            *own = axis;
        }
    }

    /// The model, with these outputs; a port's shape is what is told of an output where the
    /// layers do not tell it.
    ///
    /// # Errors
    /// When there is no input or no output, or a layer that is needed takes nothing.
    pub fn build(self, outputs: Vec<(Port, Output)>) -> Result<Model, ModelError> {
        let sources = outputs.iter().map(|(_, output)| source(*output));
        let sources = sources.collect();
        let class = (self.class.as_str(), Generation::Keras3);
        let mut model = finish(
            class,
            self.name,
            self.layers,
            self.nodes,
            self.inputs,
            sources,
        )?;
        for (port, axis) in model.inputs.iter_mut().zip(self.batch_axes) {
            port.batch_axis = axis;
        }
        for (port, (told, _)) in model.outputs.iter_mut().zip(outputs) {
            let shape = port.shape.take().or(told.shape);
            *port = Port { shape, ..told };
        }
        Ok(model)
    }

    fn push(&mut self, name: &str, layer: Box<dyn Layer>, inputs: &[Output]) -> Output {
        let index = self.layers.len();
        self.layers.push(LayerEntry::new(name.into(), layer, true));
        let inputs = inputs.iter().map(|input| Input::Tensor(source(*input)));
        self.nodes.push(Node {
            layer: index,
            inputs: inputs.collect(),
            ..Node::default()
        });
        Output {
            layer: index,
            tensor: 0,
        }
    }
}

/// Each layer has one node, of the same number.
fn source(output: Output) -> Source {
    Source {
        node: output.layer,
        tensor: output.tensor,
    }
}
