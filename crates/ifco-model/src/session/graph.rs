//! The steps of a model's layers in the order of its graph, and the values between them.

use super::step::copy;
use super::{NotStreamable, SessionError, Step, StepShape, Time};
use crate::graph::{Input, Source};
use crate::{Call, Model};

/// A model's part of a session. A model inside a model has one of its own.
#[derive(Debug)]
pub(crate) struct StepGraph {
    /// The model's input, numbers that stand in its graph, and the outputs of its nodes: each
    /// behind all that it is computed from.
    slots: Vec<Slot>,
    nodes: Vec<Node>,
    /// Which slot is the model's output.
    output: usize,
    /// Whether each node reads the slot before its own, and nothing else.
    is_chain: bool,
}

/// Values between two layers.
#[derive(Debug)]
struct Slot {
    values: Vec<f32>,
    /// False where the step is masked.
    counts: bool,
    shape: StepShape,
}

/// One call of a layer.
#[derive(Debug)]
struct Node {
    name: String,
    step: Box<dyn Step>,
    /// The slots that it reads.
    from: Vec<usize>,
    /// The slot that says whether a step counts, where the graph itself passes a mask.
    mask: Option<usize>,
    /// Where there are several: their values, one after the other.
    gathered: Vec<f32>,
    /// The slot that it writes.
    to: usize,
}

impl StepGraph {
    /// The steps of all layers that `output` needs, where `input` is what the model takes at
    /// `fed`.
    pub fn new(
        model: &Model,
        fed: Source,
        input: StepShape,
        output: Source,
    ) -> Result<Self, SessionError> {
        let mut graph = Self {
            slots: Vec::new(),
            nodes: Vec::new(),
            output: 0,
            is_chain: false,
        };
        let first = graph.slot(input, 0.0);
        let mut slot_of: Vec<Option<usize>> = vec![None; model.nodes.len()];
        slot_of[fed.node] = Some(first);
        let needed = needed(model, output);
        for &index in &model.order {
            if index == fed.node || !needed[index] {
                continue;
            }
            let entry = &model.layers[model.nodes[index].layer];
            let refuse = |why| SessionError::Layer {
                layer: entry.name.clone(),
                class: entry.layer.class_name().into(),
                why,
            };
            slot_of[index] = Some(graph.add(model, index, &slot_of).map_err(refuse)?);
        }
        graph.output = slot_of[output.node]
            .filter(|_| output.tensor == 0)
            .ok_or_else(|| {
                let why = "this output is a state that a layer returns, and not what it puts out";
                let help = "take the state from Session::states";
                SessionError::Model(NotStreamable::new(why).help(help))
            })?;
        let mut nodes = graph.nodes.iter().enumerate();
        // Without a node the output is the input, in its slot.
        graph.is_chain = !graph.nodes.is_empty() && graph.output == graph.nodes.len();
        graph.is_chain &= nodes.all(|(index, node)| {
            (&node.from[..], node.to, node.mask) == (&[index], index + 1, None)
        });
        Ok(graph)
    }

    fn slot(&mut self, shape: StepShape, value: f32) -> usize {
        self.slots.push(Slot {
            values: vec![value; shape.len()],
            counts: true,
            shape,
        });
        self.slots.len() - 1
    }

    /// Adds a call of a layer; the slot of its output.
    fn add(
        &mut self,
        model: &Model,
        index: usize,
        slot_of: &[Option<usize>],
    ) -> Result<usize, NotStreamable> {
        let node = &model.nodes[index];
        let entry = &model.layers[node.layer];
        if let Some(name) = node.tensors.keys().find(|name| *name != "mask") {
            let why = format!("its call takes {name:?} besides its input");
            let help = "run whole sequences with predict";
            return Err(NotStreamable::new(why).help(help));
        }
        let mask = match node.tensors.get("mask").map(Vec::as_slice) {
            None => None,
            Some(masks) => Some(
                self.mask(masks, slot_of)
                    .filter(|_| node.inputs.len() == 1)
                    .ok_or_else(|| {
                        NotStreamable::new("its call takes a mask of more than steps")
                            .help("run whole sequences with predict")
                    })?,
            ),
        };
        let calls = model
            .order
            .iter()
            .filter(|other| model.nodes[**other].layer == node.layer);
        if entry.layer.is_stateful() && calls.count() > 1 {
            return Err(NotStreamable::new(
                "it is stateful and called more than once: each call goes on from where the \
                 other one ended",
            ));
        }
        let mut from = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            from.push(match input {
                Input::Number(number) => self.slot(
                    StepShape {
                        sizes: Vec::new(),
                        time: Time::Gone,
                        masked: false,
                    },
                    *number,
                ),
                Input::Tensor(Source { node, tensor }) => {
                    slot_of[*node].filter(|_| *tensor == 0).ok_or_else(|| {
                        let name = &model.layers[model.nodes[*node].layer].name;
                        NotStreamable::new(format!(
                            "it takes a state of layer {name:?}, and not what that layer puts out"
                        ))
                    })?
                }
            });
        }
        let call = Call {
            positional: node.positional.clone(),
            values: node.values.clone(),
            ..Call::default()
        };
        let mut shapes: Vec<StepShape> = from
            .iter()
            .map(|slot| self.slots[*slot].shape.clone())
            .collect();
        if mask.is_some() {
            shapes.iter_mut().for_each(|shape| shape.masked = true);
        }
        let streamed = entry.layer.stream(&shapes, &call)?;
        let to = self.slot(streamed.output, 0.0);
        let calls = self.nodes.iter().filter(|other| {
            other.name == entry.name || other.name.starts_with(&format!("{}#", entry.name))
        });
        let name = match calls.count() {
            0 => entry.name.clone(),
            // A layer that is called several times has as many streams.
            count => format!("{}#{count}", entry.name),
        };
        let gathered = match shapes.len() {
            1 => 0,
            _ => shapes.iter().map(StepShape::len).sum(),
        };
        self.nodes.push(Node {
            name,
            step: streamed.step,
            from,
            mask,
            gathered: vec![0.0; gathered],
            to,
        });
        Ok(to)
    }

    /// The slot of a mask `(batch, time)`.
    fn mask(&self, masks: &[Source], slot_of: &[Option<usize>]) -> Option<usize> {
        let [Source { node, tensor: 0 }] = *masks else {
            return None;
        };
        let slot = slot_of[node]?;
        let shape = &self.slots[slot].shape;
        let is_of_steps = shape.sizes.is_empty() && shape.time != Time::Gone;
        is_of_steps.then_some(slot)
    }

    /// What comes out of the model at each step.
    pub fn output_shape(&self) -> Option<&StepShape> {
        self.slots.get(self.output).map(|slot| &slot.shape)
    }

    /// Runs all nodes; whether the output counts.
    pub fn run(&mut self, x: &[f32], counts: bool) -> bool {
        if self.is_chain
            && self
                .slots
                .first()
                .is_some_and(|input| input.values.len() == x.len())
        {
            return self.run_chain(x, counts);
        }
        if let Some(input) = self.slots.first_mut() {
            copy(x, &mut input.values);
            input.counts = counts;
        }
        self.run_graph();
        self.slots.get(self.output).is_some_and(|slot| slot.counts)
    }

    /// As [`run_graph`](Self::run_graph), with less to look up: a step of a small layer takes no
    /// longer than that does.
    fn run_chain(&mut self, x: &[f32], mut counts: bool) -> bool {
        let mut from = x;
        for (node, to) in self.nodes.iter_mut().zip(self.slots.iter_mut().skip(1)) {
            counts = node.step.step(from, counts, &mut to.values) || !to.shape.masked;
            to.counts = counts;
            from = &to.values;
        }
        counts
    }

    fn run_graph(&mut self) {
        for node in &mut self.nodes {
            let Some((done, [to, ..])) = self.slots.split_at_mut_checked(node.to) else {
                continue; // no node is without its slot
            };
            let counts = match node.from[..] {
                [from] => done.get(from).is_some_and(|from| {
                    let mask = node.mask.and_then(|mask| done.get(mask)?.values.first());
                    let counts = mask.map_or(from.counts, |counts| *counts != 0.0);
                    node.step.step(&from.values, counts, &mut to.values)
                }),
                _ => {
                    let values = node.from.iter().filter_map(|from| done.get(*from));
                    let values = values.flat_map(|slot| slot.values.iter());
                    node.gathered
                        .iter_mut()
                        .zip(values)
                        .for_each(|(own, value)| *own = *value);
                    // No layer of several inputs takes masked ones.
                    node.step.step(&node.gathered, true, &mut to.values)
                }
            };
            // Where a layer lets no mask pass, all its steps count.
            to.counts = counts || !to.shape.masked;
        }
    }

    /// The output of the latest step.
    pub fn output(&self) -> &[f32] {
        self.slots
            .get(self.output)
            .map(|slot| &slot.values[..])
            .unwrap_or_default()
    }

    /// The nodes that read the model's input itself.
    fn first_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.from == [0])
    }
}

impl Step for StepGraph {
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool {
        let counts = self.run(x, counts);
        copy(self.output(), out);
        counts
    }

    fn reset(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.step.reset());
    }

    fn states(&self) -> Vec<(String, &[f32])> {
        self.nodes
            .iter()
            .flat_map(|node| {
                let states = node.step.states().into_iter();
                states.map(|(name, state)| (format!("{}/{name}", node.name), state))
            })
            .collect()
    }

    fn states_mut(&mut self) -> Vec<(String, &mut [f32])> {
        self.nodes
            .iter_mut()
            .flat_map(|node| {
                let name = &node.name;
                let states = node.step.states_mut().into_iter();
                states.map(move |(state, values)| (format!("{name}/{state}"), values))
            })
            .collect()
    }

    fn check(&self, x: &[f32]) -> Result<(), (String, String)> {
        self.first_nodes().try_for_each(|node| node.step.check(x))
    }
}

/// The nodes that an output needs.
pub(crate) fn needed(model: &Model, output: Source) -> Vec<bool> {
    let mut needed = vec![false; model.nodes.len()];
    needed[output.node] = true;
    // Each node comes after those it takes from.
    for &index in model.order.iter().rev() {
        if needed[index] {
            let sources = model.nodes[index].sources();
            sources.for_each(|source| needed[source.node] = true);
        }
    }
    needed
}
