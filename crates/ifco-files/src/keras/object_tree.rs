//! The weights of `.keras` and `.weights.h5`: a group for every object, its arrays in a group
//! `vars` below it, named `0`, `1`, ….
//!
//! A list of layers lies in a group `layers`, each in a group named by its class. Keras 2.12
//! and 2.13 call that group [`OLD_LAYERS`] and leave gaps in its numbering: a layer with
//! weights stood in their list twice, and both times were counted.

use ifco_model::Model;
use ndarray::ArrayD;

use super::json::some_of;
use crate::hdf5::{Hdf5, join};
use crate::{FileError, WeightsFile, WeightsGroup};

/// The group of layers.
const LAYERS: &str = "layers";
/// What Keras 2.12 and 2.13 call it.
pub(super) const OLD_LAYERS: &str = "_layer_checkpoint_dependencies";
/// The group of an object's own arrays.
const VARS: &str = "vars";
/// Groups at the root that hold no layer's weights.
const NOT_LAYERS: [&str; 4] = ["optimizer", "metrics", "loss_tracker", "_loss_tracker"];

/// Gives the model its weights.
pub(super) fn load(model: &mut Model, file: &Hdf5) -> Result<(), FileError> {
    file.children(LAYERS)?; // found all at once, not one by one
    let slots = model.weight_slots();
    let mut weights = Vec::with_capacity(slots.len());
    for slot in &slots {
        let group = join(&place(file, &slot.group)?, VARS);
        let name = slot.index.to_string();
        match file.read(&group, &name)? {
            Some(array) => weights.push(array),
            None => {
                return Err(FileError::MissingWeight {
                    path: file.path().into(),
                    weight: slot.name.clone(),
                    object: join(&group, &name),
                    found: what_there_is(file, &group)?,
                });
            }
        }
    }
    model
        .set_weights(weights)
        .map_err(|error| FileError::model(file.path(), error))
}

/// Where the group that Keras 3 would call `group` lies in this file. Keras 2 has some parts of
/// layers under names that begin with an underscore: `_query_dense`.
fn place(file: &Hdf5, group: &str) -> Result<String, FileError> {
    if file.has_group(group)? {
        return Ok(group.into());
    }
    let mut place = String::new();
    let mut parts = group.split('/');
    while let Some(part) = parts.next() {
        let old = join(&place, OLD_LAYERS);
        if part == LAYERS && !file.has_group(&join(&place, LAYERS))? && file.has_group(&old)? {
            let Some(layer) = parts.next() else {
                return Ok(old);
            };
            let actual = renumbered(file, &old, layer)?;
            place = join(&old, actual.as_deref().unwrap_or(layer));
        } else {
            let named = join(&place, part);
            let private = join(&place, &format!("_{part}"));
            let is_private = !file.has_group(&named)? && file.has_group(&private)?;
            place = if is_private { private } else { named };
        }
    }
    Ok(place)
}

/// The group in `layers` that is the `n`-th of its class, where `layer` is `class` or
/// `class_n`, and numbers may be left out.
fn renumbered(file: &Hdf5, layers: &str, layer: &str) -> Result<Option<String>, FileError> {
    let (class, nth) = split_number(layer);
    let mut of_class: Vec<(usize, String)> = file
        .children(layers)?
        .groups
        .into_iter()
        .filter_map(|group| {
            let (base, number) = split_number(&group);
            (base == class).then_some((number, group.clone()))
        })
        .collect();
    of_class.sort();
    Ok(of_class.into_iter().nth(nth).map(|(_, group)| group))
}

/// `lstm_2` is `lstm` and 2; `lstm` is `lstm` and 0.
fn split_number(name: &str) -> (&str, usize) {
    match name.rsplit_once('_') {
        Some((base, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            number.parse().map_or((name, 0), |number| (base, number))
        }
        _ => (name, 0),
    }
}

/// What lies in `group`, or in the nearest group above it that exists.
pub(super) fn what_there_is(file: &Hdf5, group: &str) -> Result<String, FileError> {
    let mut at = group;
    while !file.has_group(at)? {
        at = at.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    let children = file.children(at)?;
    let names = some_of(children.groups.iter().chain(&children.datasets));
    Ok(match at {
        "" => format!("at the root there is: {names}"),
        at => format!("in {at:?} there is: {names}"),
    })
}

/// Every group of arrays, for a file without its architecture.
pub(super) fn list(file: &Hdf5) -> Result<WeightsFile, FileError> {
    let mut walk = Walk {
        file,
        objects: 0,
        groups: Vec::new(),
    };
    walk.visit("", &Place::default(), 0)?;
    Ok(WeightsFile {
        groups: walk.groups,
        ..WeightsFile::default()
    })
}

struct Walk<'a> {
    file: &'a Hdf5,
    objects: usize,
    groups: Vec<WeightsGroup>,
}

/// Where a group stands, as its user sees it.
#[derive(Default, Clone)]
struct Place {
    /// The path without the groups `layers`.
    path: String,
    /// The layer's own name, below the names of the models around it.
    name: Option<String>,
}

impl Walk<'_> {
    fn visit(&mut self, group: &str, place: &Place, depth: usize) -> Result<(), FileError> {
        let limits = self.file.limits();
        if depth > limits.depth {
            return Err(self.limit(
                "the depth of groups in each other",
                depth,
                limits.depth,
                "depth",
            ));
        }
        let mut children = self.file.children(group)?;
        self.objects += children.groups.len() + children.datasets.len();
        if self.objects > limits.objects {
            let found = self.objects;
            return Err(self.limit(
                "the number of groups and datasets",
                found,
                limits.objects,
                "objects",
            ));
        }
        let vars = join(group, VARS);
        if children.groups.iter().any(|child| child == VARS) {
            let arrays = self.arrays(&vars)?;
            if !arrays.is_empty() {
                self.groups.push(WeightsGroup {
                    path: place.path.clone(),
                    name: place.name.clone(),
                    arrays,
                });
            }
        }
        children.groups.sort_by_cached_key(|child| {
            let (base, number) = split_number(child);
            (base.to_string(), number)
        });
        for child in &children.groups {
            let skipped = child == VARS || depth == 0 && NOT_LAYERS.contains(&child.as_str());
            if skipped {
                continue;
            }
            let below = join(group, child);
            if child == LAYERS || child == OLD_LAYERS {
                self.layers(&below, place, depth + 1)?;
            } else {
                let place = Place {
                    path: join(&place.path, child),
                    name: place.name.clone(),
                };
                self.visit(&below, &place, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A list of layers.
    fn layers(&mut self, group: &str, outer: &Place, depth: usize) -> Result<(), FileError> {
        let mut layers = self.file.children(group)?.groups;
        self.objects += layers.len();
        layers.sort_by_cached_key(|child| {
            let (base, number) = split_number(child);
            (base.to_string(), number)
        });
        for layer in &layers {
            let below = join(group, layer);
            let own = self
                .file
                .attributes(&join(&below, VARS))?
                .and_then(|vars| vars.string("name"));
            let place = Place {
                path: join(&outer.path, layer),
                name: own.map(|own| join(outer.name.as_deref().unwrap_or(""), &own)),
            };
            self.visit(&below, &place, depth + 1)?;
        }
        Ok(())
    }

    fn arrays(&self, vars: &str) -> Result<Vec<(String, ArrayD<f32>)>, FileError> {
        let mut names = self.file.children(vars)?.datasets;
        names.sort_by_key(|name| name.parse::<usize>().unwrap_or(usize::MAX));
        let mut arrays = Vec::with_capacity(names.len());
        for name in names {
            if let Some(array) = self.file.read(vars, &name)? {
                arrays.push((name, array));
            }
        }
        Ok(arrays)
    }

    fn limit(&self, what: &str, found: usize, limit: usize, field: &'static str) -> FileError {
        FileError::Limit {
            path: self.file.path().into(),
            what: format!("{what} (a link may lead back to its own group)"),
            found: found as u64,
            limit: limit as u64,
            field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_number;

    #[test]
    fn numbers_are_split_off() {
        assert_eq!(split_number("lstm"), ("lstm", 0));
        assert_eq!(split_number("lstm_12"), ("lstm", 12));
        assert_eq!(
            split_number("batch_normalization"),
            ("batch_normalization", 0)
        );
        assert_eq!(split_number("x_"), ("x_", 0));
        assert_eq!(
            split_number("x_99999999999999999999999"),
            ("x_99999999999999999999999", 0)
        );
    }
}
