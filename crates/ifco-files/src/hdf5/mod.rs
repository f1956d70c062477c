//! A bounded reader of HDF5 files: groups, attributes, and numeric datasets as `f32`.
//!
//! The format itself is read by `hdf5-pure`. What is added here is that nothing is believed:
//!
//! - every dataset's claimed shape is checked against what is stored before a byte of it is
//!   reserved, and all arrays of a file together stay below [`Limits::unpacked`];
//! - `hdf5-pure` gets its bytes through a [`Metered`] source, which counts them. A file can
//!   make a reader fetch the same bytes over and over (four thousand references to one large
//!   string, an index whose nodes point at each other); the meter ends that, in memory per
//!   call and in time over the whole file.

mod attributes;
mod element;
mod meter;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, Error, File, FormatError, Group, Layout};
use ndarray::{ArrayD, IxDyn};

use crate::bytes::Bytes;
use crate::{FileError, Limits};
pub(crate) use attributes::Attributes;
use element::{ElementKind, describe_float, halves};
pub(crate) use element::{bf16_to_f32, f16_to_f32};
use meter::{Meter, Metered};
pub(crate) use write::Tree;

/// The first bytes of an HDF5 file.
pub(crate) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// What one call on metadata may read: far more than any Keras file needs, far less than
/// hurts.
const METADATA_PER_CALL: u64 = 128 << 20;
/// What all calls on metadata together may read, besides a multiple of the file.
const METADATA_TOTAL: u64 = 1 << 30;

/// An open HDF5 file.
pub(crate) struct Hdf5 {
    path: PathBuf,
    file: File,
    len: u64,
    meter: Arc<Meter>,
    /// Bytes of arrays that may still be handed out.
    budget: Cell<u64>,
    limits: Limits,
    groups: RefCell<HashMap<String, Option<Group>>>,
}

impl Hdf5 {
    /// Opens the file. `path` is for errors; `outer` is the size of the file that the user
    /// gave, whose multiple all arrays must stay below.
    pub fn open(bytes: Bytes, path: &Path, outer: u64, limits: &Limits) -> Result<Self, FileError> {
        let len = bytes.len();
        let meter = Arc::new(Meter {
            call: AtomicU64::new(0),
            total: AtomicU64::new(METADATA_TOTAL.saturating_add(len.saturating_mul(16))),
        });
        meter.allow(per_call(len));
        let source = Metered {
            bytes,
            meter: Arc::clone(&meter),
        };
        let file = File::from_source(source).map_err(|e| FileError::hdf5(path, "", reason(e)))?;
        check_whole(&file, len, path)?;
        Ok(Self {
            path: path.into(),
            file,
            len,
            meter,
            budget: Cell::new(limits.unpacked(outer)),
            limits: limits.clone(),
            groups: RefCell::default(),
        })
    }

    /// The path of the file that the user gave, for errors.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file may cost.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The attributes of a group; `None` when there is no such group.
    pub fn attributes(&self, group: &str) -> Result<Option<Attributes>, FileError> {
        let Some(handle) = self.group(group)? else {
            return Ok(None);
        };
        self.meter.allow(per_call(self.len));
        let values = handle.attrs().map_err(|e| self.error(group, e))?;
        Ok(Some(Attributes { values }))
    }

    /// The names of the groups and of the datasets in a group, in HDF5's order; both empty
    /// when there is no such group.
    pub fn children(&self, group: &str) -> Result<Children, FileError> {
        let Some(handle) = self.group(group)? else {
            return Ok(Children::default());
        };
        self.meter.allow(per_call(self.len));
        // Keeping the handles saves a search through the whole group for each of them later.
        let mut groups = Vec::new();
        let mut known = self.groups.borrow_mut();
        for (name, child) in handle.iter_groups().map_err(|e| self.error(group, e))? {
            if known.len() < self.limits.objects {
                known.insert(join(group, &name), Some(child));
            }
            groups.push(name);
        }
        drop(known);
        self.meter.allow(per_call(self.len));
        let datasets = handle.datasets().map_err(|e| self.error(group, e))?;
        Ok(Children { groups, datasets })
    }

    /// Whether there is a group of this name.
    pub fn has_group(&self, group: &str) -> Result<bool, FileError> {
        Ok(self.group(group)?.is_some())
    }

    /// A numeric dataset of any width as `f32`; `None` when there is none of this name.
    pub fn read(&self, group: &str, name: &str) -> Result<Option<ArrayD<f32>>, FileError> {
        let Some((object, dataset)) = self.dataset(group, name)? else {
            return Ok(None);
        };
        self.array(&object, &dataset).map(Some)
    }

    /// A dataset with its path; `None` when there is none of this name.
    fn dataset(&self, group: &str, name: &str) -> Result<Option<(String, Dataset)>, FileError> {
        let object = join(group, name);
        let Some(handle) = self.group(group)? else {
            return Ok(None);
        };
        self.meter.allow(per_call(self.len));
        match handle.dataset(name) {
            Ok(dataset) => Ok(Some((object, dataset))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.error(&object, error)),
        }
    }

    /// A whole number on its own; `None` where there is none of this name, or something else.
    pub fn count(&self, group: &str, name: &str) -> Result<Option<i64>, FileError> {
        let Some((object, dataset)) = self.dataset(group, name)? else {
            return Ok(None);
        };
        let fail = |error| self.error(&object, error);
        let datatype = dataset.datatype().map_err(fail)?;
        let shape = dataset.shape().map_err(fail)?;
        if !matches!(datatype, Datatype::FixedPoint { .. }) || !shape.is_empty() {
            return Ok(None);
        }
        self.meter.allow(per_call(self.len));
        Ok(dataset.read_i64().map_err(fail)?.first().copied())
    }

    fn array(&self, object: &str, dataset: &Dataset) -> Result<ArrayD<f32>, FileError> {
        let fail = |error| self.error(object, error);
        let shape = dataset.shape().map_err(fail)?;
        let datatype = dataset.datatype().map_err(fail)?;
        let kind = self.element_kind(object, dataset, &datatype)?;
        let elements =
            self.check_storage(object, dataset, &shape, u64::from(datatype.type_size()))?;

        // Stored bytes are read once; an index of chunks besides.
        self.meter
            .allow(per_call(self.len).saturating_add(self.len.min(elements.saturating_mul(8))));
        let values = match kind {
            ElementKind::Native => dataset.read_f32().map_err(fail)?,
            ElementKind::Half(order, decode) => {
                let raw = dataset.read_raw().map_err(fail)?;
                halves(&raw, order).map(decode).collect()
            }
        };
        let dims: Option<Vec<usize>> = shape.iter().map(|&d| usize::try_from(d).ok()).collect();
        dims.and_then(|dims| ArrayD::from_shape_vec(IxDyn(&dims), values).ok())
            .ok_or_else(|| {
                self.damaged(
                    object,
                    format!("holds fewer values than its shape {shape:?}"),
                )
            })
    }

    /// How the elements of a dataset become `f32`.
    fn element_kind(
        &self,
        object: &str,
        dataset: &Dataset,
        datatype: &Datatype,
    ) -> Result<ElementKind, FileError> {
        match datatype {
            Datatype::FixedPoint { .. } => Ok(ElementKind::Native),
            Datatype::FloatingPoint { size: 4 | 8, .. } => Ok(ElementKind::Native),
            Datatype::FloatingPoint {
                size: 2,
                byte_order,
                layout,
            } => match (layout.exponent_size, layout.mantissa_size) {
                (5, 10) => Ok(ElementKind::Half(*byte_order, f16_to_f32)),
                (8, 7) => Ok(ElementKind::Half(*byte_order, bf16_to_f32)),
                _ => Err(self.not_numeric(object, &describe_float(layout))),
            },
            // h5py cannot name bfloat16: Keras 3 writes two opaque bytes and an attribute.
            Datatype::Opaque { size: 2, .. } => {
                self.meter.allow(per_call(self.len));
                let attributes = Attributes {
                    values: dataset.attrs().map_err(|e| self.error(object, e))?,
                };
                if attributes.string("dtype").as_deref() == Some("bfloat16") {
                    Ok(ElementKind::Half(
                        DatatypeByteOrder::LittleEndian,
                        bf16_to_f32,
                    ))
                } else {
                    Err(self.not_numeric(object, "two opaque bytes an element"))
                }
            }
            Datatype::Enumeration { .. } => Ok(ElementKind::Native),
            other => Err(self.not_numeric(
                object,
                &format!(
                    "elements of {} bytes that are no numbers",
                    other.type_size()
                ),
            )),
        }
    }

    /// The number of elements, once it is certain that the file can hold them and that they
    /// may be handed out.
    fn check_storage(
        &self,
        object: &str,
        dataset: &Dataset,
        shape: &[u64],
        element: u64,
    ) -> Result<u64, FileError> {
        let overflow = || self.damaged(object, format!("claims the shape {shape:?}"));
        // A zero anywhere makes the product zero whatever the rest claims, so the rest is
        // multiplied on its own: an ndarray of shape (0, 2^40, 2^40) cannot be made.
        shape
            .iter()
            .filter(|&&d| d != 0)
            .try_fold(4u64, |n, &d| n.checked_mul(d))
            .filter(|&n| i64::try_from(n).is_ok())
            .ok_or_else(overflow)?;
        let elements: u64 = shape.iter().product();
        let stored = elements.checked_mul(element).ok_or_else(overflow)?;
        let layout = dataset.layout().map_err(|e| self.error(object, e))?;
        match &layout {
            Layout::Contiguous {
                address: Some(address),
                size,
            } => {
                let inside = address
                    .checked_add(*size)
                    .is_some_and(|end| end <= self.len);
                if !inside || *size < stored {
                    return Err(self.damaged(
                        object,
                        format!(
                            "claims the shape {shape:?}, {stored} bytes, of which the file \
                             holds fewer; was it cut off?"
                        ),
                    ));
                }
            }
            Layout::Chunked { chunk_shape, .. } => {
                // A chunk is unpacked whole, and may be larger than the array itself.
                let chunk = chunk_shape
                    .iter()
                    .try_fold(element, |n, &d| n.checked_mul(d))
                    .ok_or_else(overflow)?;
                self.check_budget(object, chunk)?;
            }
            Layout::Contiguous { address: None, .. } | Layout::Compact { .. } => {}
            // Virtual: its data is in other files.
            _ => return Err(self.not_numeric(object, "data that is kept elsewhere")),
        }
        let cost = stored.max(elements.saturating_mul(4));
        self.check_budget(object, cost)?;
        self.budget.set(self.budget.get().saturating_sub(cost));
        Ok(elements)
    }

    fn check_budget(&self, object: &str, cost: u64) -> Result<(), FileError> {
        let left = self.budget.get();
        if cost <= left {
            return Ok(());
        }
        Err(FileError::Limit {
            path: self.path.clone(),
            what: format!("dataset {object:?}, after what was read before it,"),
            found: cost,
            limit: left,
            field: "expansion",
        })
    }

    fn group(&self, group: &str) -> Result<Option<Group>, FileError> {
        if group.is_empty() {
            return Ok(Some(self.file.root()));
        }
        if let Some(known) = self.groups.borrow().get(group) {
            return Ok(known.clone());
        }
        // Step by step, so that the ancestors are found once for all their descendants.
        let (parent, name) = group.rsplit_once('/').unwrap_or(("", group));
        let found = match self.group(parent)? {
            None => None,
            Some(parent) => {
                self.meter.allow(per_call(self.len));
                match parent.group(name) {
                    Ok(found) => Some(found),
                    Err(error) if is_absent(&error) => None,
                    Err(error) => return Err(self.error(group, error)),
                }
            }
        };
        let mut groups = self.groups.borrow_mut();
        if groups.len() < self.limits.objects {
            groups.insert(group.to_string(), found.clone());
        }
        Ok(found)
    }

    fn error(&self, object: &str, error: Error) -> FileError {
        FileError::hdf5(&self.path, object, reason(error))
    }

    fn damaged(&self, object: &str, reason: String) -> FileError {
        FileError::hdf5(&self.path, object, reason)
    }

    fn not_numeric(&self, object: &str, found: &str) -> FileError {
        FileError::Unsupported {
            path: self.path.clone(),
            what: format!("dataset {object:?} holds {found}"),
            remedy: "ifco reads integers and floats of 16, 32 and 64 bits: save the model with \
                     such weights"
                .into(),
        }
    }
}

/// What lies in a group.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub groups: Vec<String>,
    pub datasets: Vec<String>,
}

/// Refuses a file that was cut off, even where the missing part would not be read.
fn check_whole(file: &File, len: u64, path: &Path) -> Result<(), FileError> {
    let superblock = file.superblock();
    let end = superblock.eof_address;
    if end <= len || end == u64::MAX {
        return Ok(());
    }
    Err(FileError::hdf5(path, "", cut_off(end, len)))
}

fn cut_off(needed: u64, len: u64) -> String {
    format!("{needed} bytes are needed, but it ends after {len}: was it cut off as it was copied?")
}

/// What `hdf5-pure` found wrong, without the layers of its own errors.
fn reason(error: Error) -> String {
    match error {
        Error::Format(FormatError::UnexpectedEof {
            expected,
            available,
        }) => cut_off(expected as u64, available as u64),
        Error::Format(FormatError::Source(reason)) => reason,
        Error::Format(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(
        error,
        Error::Format(FormatError::PathNotFound(_)) | Error::NotAGroup(_) | Error::NotADataset(_)
    )
}

/// `group/name`, or `name` at the root.
pub(crate) fn join(group: &str, name: &str) -> String {
    match (group.is_empty(), name.is_empty()) {
        (true, _) => name.into(),
        (_, true) => group.into(),
        _ => format!("{group}/{name}"),
    }
}

fn per_call(len: u64) -> u64 {
    len.saturating_mul(2).clamp(1 << 20, METADATA_PER_CALL)
}
