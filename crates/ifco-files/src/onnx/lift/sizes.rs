//! The integers of a graph that say how large something is.

use ifco_model::onnx::Node;

use super::view::{Atom, Atoms};
use super::{Lift, Operand, Value};

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Size {
    Known(i64),
    /// The size of an axis that is open.
    Axis(Vec<Atom>),
    Mixed,
}

impl Size {
    /// As PyTorch's new exporter joins axes.
    fn times(&self, other: &Size) -> Size {
        match (self, other) {
            (Size::Known(1), other) => other.clone(),
            (one, Size::Known(1)) => one.clone(),
            (Size::Known(one), Size::Known(other)) => {
                one.checked_mul(*other).map_or(Size::Mixed, Size::Known)
            }
            _ => Size::Mixed,
        }
    }
}

/// Longer lists are no shapes.
const MOST: usize = 64;

impl Operand {
    /// The integers that it is, and whether they are one without axes.
    pub fn sizes(&self) -> Option<(Vec<Size>, bool)> {
        match self {
            Operand::Value(Value::Sizes(sizes, is_number)) => Some((sizes.clone(), *is_number)),
            Operand::Constant(constant) => {
                let data = &constant.data;
                let fits = data.ndim() < 2 && data.len() <= MOST;
                fits.then(|| {
                    let sizes = data.iter().map(|value| Size::Known(*value as i64));
                    (sizes.collect(), data.ndim() == 0)
                })
            }
            _ => None,
        }
    }

    /// Integers that are all known.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let (sizes, _) = self.sizes()?;
        let known = sizes.iter().map(|size| match size {
            Size::Known(value) => Some(*value),
            _ => None,
        });
        known.collect()
    }
}

impl Lift<'_> {
    /// What an operator makes of integers; `None` where its first operand is something else.
    pub(super) fn sizes(&self, node: &Node, operands: &[Operand]) -> Option<Value> {
        let first = operands.first()?;
        if let ("Shape", Operand::Value(Value::View(view))) = (node.op.as_str(), first) {
            let all: Vec<Size> = view.axes.iter().map(|g| self.atoms.as_size(g)).collect();
            let at = |key: &str, default: i64| {
                let value = node.int_or(key, default).ok()?;
                let value = if value < 0 {
                    value + all.len() as i64
                } else {
                    value
                };
                Some(usize::try_from(value).ok()?.min(all.len()))
            };
            let range = at("start", 0)?..at("end", all.len() as i64)?;
            return Some(Value::Sizes(all.get(range)?.to_vec(), false));
        }
        let is_sizes = |operand: &Operand| matches!(operand, Operand::Value(Value::Sizes(..)));
        // Of most, what their first operand is decides.
        let is_any = match node.op.as_str() {
            "ConstantOfShape" => false,
            "Concat" | "Add" | "Sub" | "Mul" | "Div" | "Less" | "Greater" | "And" | "Equal"
            | "Where" | "Range" | "Max" | "Min" => operands.iter().any(is_sizes),
            _ => is_sizes(first),
        };
        if !is_any {
            return None;
        }
        let own = || first.sizes();
        Some(match node.op.as_str() {
            "Identity" | "Cast" | "CastLike" => Value::Sizes(own()?.0, own()?.1),
            "Unsqueeze" => Value::Sizes(own()?.0, false),
            "Squeeze" => {
                let (sizes, _) = own()?;
                let is_number = sizes.len() == 1;
                Value::Sizes(sizes, is_number)
            }
            "Reshape" => {
                let to = operands.get(1)?.integers()?;
                Value::Sizes(own()?.0, to.is_empty())
            }
            "Concat" => {
                let parts = operands.iter().map(Operand::sizes);
                let parts: Vec<_> = parts.collect::<Option<_>>()?;
                let all: Vec<Size> = parts.into_iter().flat_map(|(sizes, _)| sizes).collect();
                (all.len() <= MOST).then_some(Value::Sizes(all, false))?
            }
            "Gather" => {
                let (sizes, _) = own()?;
                let (at, is_number) = match operands.get(1)? {
                    Operand::Constant(constant) => {
                        (operands[1].integers()?, constant.data.ndim() == 0)
                    }
                    _ => return None,
                };
                let picked = at.iter().map(|at| {
                    let at = if *at < 0 {
                        at + sizes.len() as i64
                    } else {
                        *at
                    };
                    sizes.get(usize::try_from(at).ok()?).cloned()
                });
                Value::Sizes(picked.collect::<Option<_>>()?, is_number)
            }
            "Slice" => {
                let (sizes, _) = own()?;
                let bound = |index: usize, key: &str| -> Option<i64> {
                    let listed = match node.ints(key).ok()? {
                        Some(listed) => listed,
                        None => operands.get(index)?.integers()?,
                    };
                    let value = *listed.first()?;
                    let length = sizes.len() as i64;
                    let value = if value < 0 {
                        value.saturating_add(length)
                    } else {
                        value
                    };
                    Some(value.clamp(0, length))
                };
                if operands
                    .get(4)
                    .is_some_and(|s| s.integers() != Some(vec![1]))
                {
                    return None;
                }
                let range = bound(1, "starts")? as usize..bound(2, "ends")? as usize;
                Value::Sizes(sizes.get(range)?.to_vec(), false)
            }
            "Expand" => match own()?.0.as_slice() {
                [one] => Value::Repeated(one.clone()),
                _ => return None,
            },
            "Mul" => {
                let ((one, is_number), (other, is_other)) = (own()?, operands.get(1)?.sizes()?);
                let count = one.len().max(other.len());
                let is_alike = |sizes: &[Size]| sizes.len() == count || sizes.len() == 1;
                if !is_alike(&one) || !is_alike(&other) {
                    return None;
                }
                // One number goes with all of them.
                let pairs = one.iter().cycle().zip(other.iter().cycle()).take(count);
                let products = pairs.map(|(one, other)| one.times(other));
                Value::Sizes(products.collect(), is_number && is_other)
            }
            // Another sum of sizes, or a comparison: somebody may need it no more.
            _ => Value::Sizes(vec![Size::Mixed; own()?.0.len()], own()?.1),
        })
    }
}

/// Whether these lengths say that every sequence is whole.
pub(super) fn is_whole(operand: &Operand, time: &[Atom], atoms: &Atoms) -> bool {
    match operand {
        Operand::Value(Value::Repeated(size)) => *size == atoms.as_size(time),
        Operand::Constant(constant) => {
            let size = atoms.product(time);
            size.is_some_and(|size| constant.data.iter().all(|length| *length == size as f32))
        }
        _ => false,
    }
}
