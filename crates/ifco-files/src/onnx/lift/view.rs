//! How an array of the graph lies over a tensor of Keras: its axes are the tensor's, in another
//! order, joined, taken apart, or with axes of size 1 between them. What only does that is no
//! layer of Keras's model.

use super::sizes::Size;

/// An axis that nothing takes apart any more. Axes that have the same one go along the same data.
pub(super) type Atom = usize;

/// The rows of the batch.
pub(super) const BATCH: Atom = 0;

/// What one axis is made of: nothing for an axis of size 1 that the tensor does not have.
pub(super) type Group = Vec<Atom>;

/// An array of the graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// The number of the tensor.
    pub tensor: usize,
    pub axes: Vec<Group>,
    /// The axis along which its steps are the tensor's in reverse order.
    pub flipped: Option<Atom>,
    /// Whether its numbers are whole ones, cut off.
    pub is_int: bool,
}

/// The sizes of all atoms, as far as they are known.
#[derive(Debug)]
pub(super) struct Atoms(Vec<Option<usize>>);

impl Default for Atoms {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl Atoms {
    pub fn add(&mut self, size: Option<usize>) -> Atom {
        self.0.push(size);
        self.0.len() - 1
    }

    pub fn size(&self, atom: Atom) -> Option<usize> {
        self.0.get(atom).copied().flatten()
    }

    /// Of atoms that lie behind each other.
    pub fn product(&self, group: &[Atom]) -> Option<usize> {
        let mut sizes = group.iter().map(|atom| self.size(*atom));
        sizes.try_fold(1usize, |all, size| all.checked_mul(size?))
    }

    /// An axis's size as an integer of the graph.
    pub fn as_size(&self, group: &[Atom]) -> Size {
        match self.product(group) {
            Some(size) => Size::Known(size as i64),
            None => Size::Axis(group.to_vec()),
        }
    }

    /// The axes of an array of this shape, which has the same atoms in the same order.
    pub fn regrouped(&self, axes: &[Group], target: &[Size]) -> Option<Vec<Group>> {
        let all: Vec<Atom> = axes.iter().flatten().copied().collect();
        let open = target.iter().position(|size| *size == Size::Known(-1));
        let (front, back) = target.split_at(open.unwrap_or(target.len()));
        let mut from = 0;
        let mut groups = Vec::new();
        for (index, size) in front.iter().enumerate() {
            let same = axes.get(index).filter(|_| *size == Size::Known(0));
            let group = self.take(&all[from..], size, same, false)?;
            from += group.len();
            groups.push(group);
        }
        let mut to = all.len();
        let mut ends = Vec::new();
        for size in back.iter().skip(1).rev() {
            let group = self.take(all.get(from..to)?, size, None, true)?;
            to -= group.len();
            ends.push(group);
        }
        let rest = all.get(from..to)?;
        if open.is_some() {
            groups.push(rest.to_vec());
        } else if self.product(rest) == Some(1) {
            // Of size 1, they go with the axis before them, but not with the rows.
            match groups.last_mut() {
                Some(last) if !last.contains(&BATCH) => last.extend(rest),
                _ if rest.is_empty() => {}
                _ => return None,
            }
        } else {
            return None;
        }
        groups.extend(ends.into_iter().rev());
        Some(groups)
    }

    /// The first or the last atoms that have this size together.
    fn take(
        &self,
        atoms: &[Atom],
        size: &Size,
        same: Option<&Group>,
        from_end: bool,
    ) -> Option<Group> {
        let part = |count: usize| match from_end {
            true => &atoms[atoms.len() - count..],
            false => &atoms[..count],
        };
        let group = match (same, size) {
            (Some(group), _) => group.clone(),
            (None, Size::Axis(group)) => group.clone(),
            (None, Size::Known(wanted)) => {
                let wanted = usize::try_from(*wanted).ok()?;
                let fits = |count: &usize| self.product(part(*count)) == Some(wanted);
                // An axis of size 1 is the one that is there, if one is.
                let least = usize::from(!atoms.is_empty() && fits(&1));
                return (least..=atoms.len())
                    .find(fits)
                    .map(|count| part(count).to_vec());
            }
            (None, Size::Mixed) => return None,
        };
        let is_there = group.len() <= atoms.len() && part(group.len()) == group.as_slice();
        is_there.then_some(group)
    }
}

impl View {
    /// A whole tensor.
    pub fn of(tensor: usize, axes: Vec<Group>) -> Self {
        Self {
            tensor,
            axes,
            flipped: None,
            is_int: false,
        }
    }

    /// The same over another tensor, whose last axis is another one than `from`'s.
    pub fn over(&self, tensor: usize, from: &Group, to: &Group) -> Self {
        let axes = self.axes.iter();
        let axes = axes.map(|group| {
            if group == from {
                to.clone()
            } else {
                group.clone()
            }
        });
        Self {
            tensor,
            axes: axes.collect(),
            ..self.clone()
        }
    }

    pub fn transposed(&self, order: &[usize]) -> Option<Self> {
        let axes = order.iter().map(|axis| self.axes.get(*axis).cloned());
        Some(Self {
            axes: axes.collect::<Option<_>>()?,
            ..self.clone()
        })
    }

    /// Without these axes, which must be of size 1.
    pub fn squeezed(&self, axes: &[usize], atoms: &Atoms) -> Option<Self> {
        let is_one = |axis: &usize| {
            let group = self.axes.get(*axis);
            group.is_some_and(|group| group.is_empty() || atoms.product(group) == Some(1))
        };
        // An axis of size 1 that the tensor has stays with the one before it.
        let mut kept: Vec<Group> = Vec::new();
        let mut lost: Group = Vec::new();
        for (axis, group) in self.axes.iter().enumerate() {
            if axes.contains(&axis) {
                if !is_one(&axis) {
                    return None;
                }
                match kept.last_mut() {
                    Some(last) if !group.is_empty() && !last.contains(&BATCH) => {
                        last.extend(group);
                    }
                    _ => lost.extend(group),
                }
            } else {
                let mut whole = std::mem::take(&mut lost);
                if group.contains(&BATCH) && !whole.is_empty() {
                    return None;
                }
                whole.extend(group);
                kept.push(whole);
            }
        }
        lost.is_empty().then(|| Self {
            axes: kept,
            ..self.clone()
        })
    }

    /// With axes of size 1 at these places of the result.
    pub fn unsqueezed(&self, axes: &[usize]) -> Option<Self> {
        let mut all = self.axes.clone();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        for axis in axes {
            if axis > all.len() {
                return None;
            }
            all.insert(axis, Group::new());
        }
        Some(Self {
            axes: all,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reshape_joins_and_takes_apart_what_is_there() {
        let mut atoms = Atoms::default();
        let (time, way, units) = (atoms.add(None), atoms.add(Some(2)), atoms.add(Some(4)));
        let axes = [vec![BATCH], vec![time], vec![way], vec![units]];
        let known = Size::Known;
        // Both directions side by side.
        let joined = atoms.regrouped(&axes, &[known(0), known(0), known(8)]);
        let side_by_side = vec![vec![BATCH], vec![time], vec![way, units]];
        assert_eq!(joined, Some(side_by_side.clone()));
        let joined = atoms.regrouped(&axes, &[known(0), known(0), known(-1)]);
        assert_eq!(joined.as_ref(), Some(&side_by_side));
        // Rows and steps behind each other, and apart again by a size that was asked for.
        let flat = atoms.regrouped(&side_by_side, &[known(-1), known(8)]);
        let flat = flat.expect("it has a last axis of 8");
        assert_eq!(flat, [vec![BATCH, time], vec![way, units]]);
        let apart = atoms.regrouped(&flat, &[known(-1), Size::Axis(vec![time]), known(8)]);
        assert_eq!(apart, Some(side_by_side));
        assert_eq!(atoms.regrouped(&flat, &[known(-1), known(3)]), None);
        // One unit: its axis is the last, and no part of the rows' or of what is before it.
        let unit = vec![atoms.add(Some(1))];
        let axes = [vec![time], vec![BATCH], vec![], unit.clone()];
        let wanted = Some(vec![vec![time], vec![BATCH], unit.clone()]);
        let sizes = [Size::Axis(vec![time]), known(-1), known(1)];
        assert_eq!(atoms.regrouped(&axes, &sizes), wanted);
        let sizes = [Size::Axis(vec![time]), Size::Axis(vec![BATCH]), known(1)];
        assert_eq!(atoms.regrouped(&axes, &sizes), wanted);
        let axes = [vec![time], vec![BATCH], vec![way], unit.clone()];
        let joined = vec![vec![time], vec![BATCH], vec![way, unit[0]]];
        let sizes = [Size::Axis(vec![time]), Size::Axis(vec![BATCH]), known(2)];
        assert_eq!(atoms.regrouped(&axes, &sizes), Some(joined));
    }
}
