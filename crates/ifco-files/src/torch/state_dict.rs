//! The weights among what a file of PyTorch holds.
//!
//! `torch.save` saves anything: a `state_dict`, or a checkpoint that holds one somewhere beside
//! the optimizer's state and the epoch. A dictionary with tensors under names is a `state_dict`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

use ndarray::{ArrayD, Dimension, IxDyn};

use super::container::Saved;
use super::pickle::{Dialect, Element, Heap, Node, Tensor, Value};
use crate::arrays::dtype::Dtype;
use crate::weights::Tensors;
use crate::{FileError, Limits};

/// Keys under which checkpoints keep the weights, the first of them first.
const USUAL: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
];
/// Keys below which there are numbers of the training alone.
const TRAINING: [&str; 4] = ["optim", "sched", "scaler", "callbacks"];
/// How deep a checkpoint may hold its weights.
const DEEPEST: usize = 4;

/// What was found.
pub(super) struct Found {
    pub tensors: Tensors,
    /// What is to be said of how it was found.
    pub notes: Vec<String>,
}

/// A dictionary of tensors, and where it lies.
struct Candidate {
    keys: Vec<String>,
    value: Value,
}

impl Candidate {
    fn path(&self) -> String {
        self.keys.join(".")
    }
}

/// Reads the tensors of the weights: those below the key `wanted`, if the user told it.
pub(super) fn read(
    mut saved: Saved<'_>,
    wanted: Option<&str>,
    size: u64,
    limits: &Limits,
) -> Result<Found, FileError> {
    let path = saved.path();
    let mut notes = Vec::new();
    let named = if saved.dialect == Dialect::Script {
        script(&saved.heap, saved.root, limits)
    } else {
        let candidates = candidates(&saved.heap, saved.root);
        let chosen = choose(candidates, wanted, path, &mut notes)?;
        let joined = chosen.len() > 1;
        let mut named = Vec::new();
        for candidate in chosen {
            let prefix = if joined {
                candidate.path()
            } else {
                String::new()
            };
            named.extend(tensors_in(&saved.heap, candidate.value, &prefix));
        }
        named
    };
    if named.is_empty() {
        return Err(FileError::Missing {
            path: path.into(),
            part: "state_dict in the file: no dictionary of tensors by name".into(),
            remedy: super::RESAVE.into(),
        });
    }
    limits.check_tensors(named.len(), path)?;
    let mut tensors = Tensors::with_capacity(named.len());
    for (name, tensor) in last_of_each(named) {
        if let Some(array) = read_tensor(&mut saved, &name, &tensor, size, limits)? {
            tensors.push((name, array));
        }
    }
    Ok(Found { tensors, notes })
}

/// Every dictionary with tensors under names, those further out first.
fn candidates(heap: &Heap, root: Value) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Candidate {
        keys: Vec::new(),
        value: root,
    }]);
    while let Some(candidate) = queue.pop_front() {
        let (Value::Node(number), Some(Node::Dict(pairs))) =
            (candidate.value, heap.node(candidate.value))
        else {
            continue;
        };
        if !seen.insert(number) {
            continue;
        }
        let mut has_tensor = false;
        for (key, value) in pairs {
            let Some(key) = heap.text(*key) else {
                continue;
            };
            match heap.node(*value) {
                // A loss or an accuracy may be a tensor too, of no axes.
                Some(Node::Tensor(tensor)) => has_tensor |= !tensor.shape.is_empty(),
                Some(Node::Dict(_))
                    if candidate.keys.len() < DEEPEST
                        && !TRAINING.iter().any(|word| key.starts_with(word)) =>
                {
                    let mut keys = candidate.keys.clone();
                    keys.push(key.to_owned());
                    queue.push_back(Candidate {
                        keys,
                        value: *value,
                    });
                }
                _ => {}
            }
        }
        if has_tensor {
            found.push(candidate);
        }
    }
    found
}

/// The candidates that are meant: one, or all if none is more likely than the others.
fn choose(
    mut candidates: Vec<Candidate>,
    wanted: Option<&str>,
    path: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Candidate>, FileError> {
    if let Some(wanted) = wanted {
        let known: Vec<String> = candidates.iter().map(Candidate::path).collect();
        candidates.retain(|candidate| candidate.path() == wanted);
        if candidates.is_empty() {
            return Err(FileError::Missing {
                path: path.into(),
                part: format!("state_dict under {wanted:?}"),
                remedy: match known.as_slice() {
                    [only] if only.is_empty() => {
                        "the file itself is the state_dict: leave state_dict out".into()
                    }
                    _ => format!("there are: {}", known.join(", ")),
                },
            });
        }
        return Ok(candidates);
    }
    if candidates.len() <= 1 {
        return Ok(candidates);
    }
    let usual = USUAL.iter().find_map(|usual| {
        let is_it = |candidate: &Candidate| candidate.keys.last().is_some_and(|key| key == usual);
        candidates.iter().position(is_it)
    });
    // Tensors at the top are the weights, if none lie under such a key; what lies deeper belongs
    // to something else.
    let top = candidates.iter().position(|found| found.keys.is_empty());
    let Some(chosen) = usual.or(top) else {
        return Ok(candidates);
    };
    let chosen = candidates.remove(chosen);
    let others: Vec<String> = candidates
        .iter()
        .filter(|candidate| !candidate.keys.is_empty())
        .map(Candidate::path)
        .collect();
    if others.is_empty() || chosen.keys.is_empty() {
        return Ok(vec![chosen]);
    }
    notes.push(format!(
        "the weights are those under {:?}, not {} (state_dict = \"…\")",
        chosen.path(),
        others.join(", ")
    ));
    Ok(vec![chosen])
}

fn tensors_in(heap: &Heap, dict: Value, prefix: &str) -> Vec<(String, Tensor)> {
    let Some(Node::Dict(pairs)) = heap.node(dict) else {
        return Vec::new();
    };
    pairs
        .iter()
        .filter_map(|(key, value)| match heap.node(*value) {
            Some(Node::Tensor(tensor)) => {
                let name = join(prefix, heap.text(*key)?);
                Some((name, (**tensor).clone()))
            }
            _ => None,
        })
        .collect()
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// The tensors that are attributes of a script's modules, by their names in it.
fn script(heap: &Heap, root: Value, limits: &Limits) -> Vec<(String, Tensor)> {
    let mut named = Vec::new();
    let mut seen = HashSet::new();
    // The last is the next: modules in their order, each with what is in it.
    let mut stack = vec![(String::new(), root, 0)];
    while let Some((prefix, value, depth)) = stack.pop() {
        let (Value::Node(number), Some(Node::Object { attributes })) = (value, heap.node(value))
        else {
            continue;
        };
        if depth > limits.depth || !seen.insert(number) {
            continue;
        }
        named.extend(tensors_in(heap, *attributes, &prefix));
        if let Some(Node::Dict(pairs)) = heap.node(*attributes) {
            for (key, value) in pairs.iter().rev() {
                if let Some(key) = heap.text(*key) {
                    stack.push((join(&prefix, key), *value, depth + 1));
                }
            }
        }
    }
    named
}

/// A key that is set twice has its last value, as in Python.
fn last_of_each(named: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<(String, Tensor)> = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        match places.get(&name) {
            Some(&place) => kept[place].1 = tensor,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, tensor));
            }
        }
    }
    kept
}

/// A tensor's numbers; `None` for one of counters or indices.
fn read_tensor(
    saved: &mut Saved<'_>,
    name: &str,
    tensor: &Tensor,
    size: u64,
    limits: &Limits,
) -> Result<Option<ArrayD<f32>>, FileError> {
    let path = saved.path();
    let part = format!("tensor {name:?}");
    let damaged = |reason: String| FileError::Damaged {
        path: path.into(),
        part: part.clone(),
        reason,
    };
    let dtype = match tensor.storage.element {
        Element::Float(dtype) => saved.in_order(dtype),
        Element::Other(_) => return Ok(None),
        Element::Unsupported { what, .. } => {
            return Err(FileError::Unsupported {
                path: path.into(),
                what: format!("{part} holds {what}"),
                remedy: "save it as float32, float16 or bfloat16".into(),
            });
        }
        Element::Untyped => return Err(damaged("the type of its numbers is not told".into())),
    };
    let count = elements(&tensor.shape)
        .ok_or_else(|| damaged(format!("its shape is {:?}", tensor.shape)))?;
    if count == 0 {
        return Ok(Some(ArrayD::zeros(IxDyn(&tensor.shape))));
    }
    // From the first to the last number that it shows.
    let span = tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .try_fold(1usize, |span, (size, stride)| {
            span.checked_add((size - 1).checked_mul(*stride)?)
        });
    let end = span.and_then(|span| tensor.offset.checked_add(span as u64));
    let (Some(span), Some(end)) = (span, end) else {
        return Err(damaged("its strides reach beyond any storage".into()));
    };
    if end > tensor.storage.len {
        return Err(damaged(format!(
            "it reaches to number {end} of storage {:?}, which has {}",
            tensor.storage.key, tensor.storage.len
        )));
    }
    let width = dtype.size() as u64;
    saved.charge(4 * count.max(span) as u64, limits, size)?;
    let storage = saved.storage(&tensor.storage)?;
    let content = (tensor.storage.first + tensor.offset)
        .checked_mul(width)
        .and_then(|first| storage.slice(first, (span as u64).checked_mul(width)?))
        .ok_or_else(|| {
            damaged(format!(
                "it needs {} bytes of storage {:?}, which has {}",
                (tensor.storage.first + end).saturating_mul(width),
                tensor.storage.key,
                storage.len()
            ))
        })?;
    let raw = content
        .head(usize::try_from(content.len()).unwrap_or(usize::MAX))
        .map_err(|error| FileError::io(path, error))?;
    let values = decode(dtype, &raw, &part, path)?;
    let shape = IxDyn(&tensor.shape);
    if is_contiguous(tensor) {
        let array = ArrayD::from_shape_vec(shape, values);
        return array.map(Some).map_err(|error| damaged(error.to_string()));
    }
    Ok(Some(ArrayD::from_shape_fn(shape, |index| {
        let place: usize = index
            .as_array_view()
            .iter()
            .zip(&tensor.strides)
            .map(|(index, stride)| index * stride)
            .sum();
        values[place]
    })))
}

/// How many numbers a tensor of this shape has, if that can be.
fn elements(shape: &[usize]) -> Option<usize> {
    // An empty one may be as long as it likes along its other axes, but not longer than memory.
    let product = shape
        .iter()
        .filter(|size| **size > 0)
        .try_fold(1usize, |product, size| product.checked_mul(*size))
        .filter(|product| *product <= isize::MAX as usize / 8)?;
    Some(if shape.contains(&0) { 0 } else { product })
}

fn is_contiguous(tensor: &Tensor) -> bool {
    let mut expected = 1;
    tensor
        .shape
        .iter()
        .zip(&tensor.strides)
        .rev()
        .all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected *= size;
            fits
        })
}

/// Numbers as `f32`.
pub(crate) fn decode(
    dtype: Dtype,
    raw: &[u8],
    part: &str,
    path: &Path,
) -> Result<Vec<f32>, FileError> {
    dtype.decode(raw).map_err(|problem| FileError::Unsupported {
        path: path.into(),
        what: format!("{part}: {problem}"),
        remedy: "weights are float32 in ifco".into(),
    })
}
