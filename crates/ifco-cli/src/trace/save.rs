//! The traces in an `.npz`, written as they come.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use ifco::arrays::npz::Growing;
use ifco::{GradientTrace, Trace};
use ndarray::{Array2, Array3};

use super::{Args, Cell};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// What the activations are applied to: of any cell by this name; the file has each by its own
/// ([`ifco::CellKind::pre_activations_name`]).
const SUMS: &str = "pre_activations";
const MASK: &str = "mask";

/// The file that is written.
pub struct Save {
    path: PathBuf,
    file: Growing,
    /// Only these arrays; empty for all that are kept.
    arrays: Vec<String>,
    sums: bool,
    /// Whether the arrays have the path of their cell before their names.
    with_paths: bool,
    /// What each cell has, by its path.
    members: Vec<(String, Vec<Member>)>,
}

/// An array of a cell: its name, and the length of its last axis; a mask has none.
type Member = (String, Option<usize>);

/// The name has to end in `.npz`.
pub fn check_name(path: &Path) -> Result<(), Failure> {
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("npz") => Ok(()),
        _ => {
            let name = path.display().to_string();
            let failure = Failure::usage(format_args!("traces are saved as .npz, not as {name:?}"));
            Err(failure.help("end the name in .npz"))
        }
    }
}

/// Whether each array that is asked for is one of a cell's.
pub fn check_arrays(cells: &[(String, Cow<'_, ifco::Cell>)], args: &Args) -> Result<(), Failure> {
    let mut known: Vec<&str> = Vec::new();
    for (_, cell) in cells {
        for name in cell.kind().trace_names() {
            if !known.contains(name) {
                known.push(name);
            }
        }
        if args.gradient.gradient {
            for name in GradientTrace::names(cell.kind()) {
                if !known.contains(name) {
                    known.push(name);
                }
            }
        }
        let sums = cell.kind().pre_activations_name();
        if sums != SUMS && !known.contains(&sums) {
            known.push(sums);
        }
    }
    known.extend([SUMS, MASK]);
    match args
        .arrays
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(
            Failure::usage(format_args!("there is no array {name:?} in the trace"))
                .help(format_args!("it has {}", known.join(", "))),
        ),
    }
}

impl Save {
    pub fn new(path: &Path, args: &Args, cells: usize) -> Result<Self, Failure> {
        Ok(Self {
            path: path.into(),
            file: Growing::new(path)?,
            arrays: args.arrays.clone(),
            sums: args.pre_activations,
            with_paths: cells > 1,
            members: Vec::new(),
        })
    }

    pub fn wants_sums(&self) -> bool {
        self.sums || [SUMS, "z"].iter().any(|name| self.asks(name))
    }

    /// Whether an array is asked for by its name.
    fn asks(&self, name: &str) -> bool {
        self.arrays.iter().any(|wanted| wanted == name)
    }

    fn wants(&self, name: &str) -> bool {
        self.arrays.is_empty() || self.asks(name)
    }

    /// An array of the cell at `path` in the file.
    fn name(&self, path: &str, array: &str) -> String {
        match path.rsplit_once('#') {
            // A further call of the one cell.
            Some((_, call)) if !self.with_paths => format!("{array}#{call}"),
            _ if self.with_paths => format!("{path}/{array}"),
            _ => array.into(),
        }
    }

    /// Adds what follows.
    pub fn append(
        &mut self,
        path: &str,
        trace: &Trace,
        gradients: &[(&'static str, Array3<f32>)],
    ) -> Result<(), Failure> {
        let own = trace.kind().pre_activations_name();
        let asks = self.sums || self.asks(SUMS) || self.asks(own);
        let sums = trace.pre_activations.as_ref().filter(|_| asks);
        let sums = sums.map(|sums| (own, sums.view()));
        let gradients = gradients.iter().map(|(name, array)| (*name, array.view()));
        let arrays: Vec<_> = trace
            .iter()
            .chain(gradients)
            .filter(|(name, _)| self.wants(name))
            .chain(sums)
            .collect();
        let mut widths = Vec::new();
        for (name, array) in arrays {
            let member = self.name(path, name);
            widths.push((name.to_string(), Some(array.dim().2)));
            self.file.append(&member, array.into_dyn())?;
        }
        // Who asks for it by its name gets it also where every step counts.
        let all = || Array2::from_elem((trace.batch(), trace.time()), true);
        let mask = match &trace.mask {
            Some(mask) if self.wants(MASK) => Some(mask.clone()),
            None if self.asks(MASK) => Some(all()),
            _ => None,
        };
        if let Some(mask) = mask {
            widths.push((MASK.into(), None));
            let member = self.name(path, MASK);
            self.file.append_bools(&member, mask.view().into_dyn())?;
        }
        if !self.members.iter().any(|(known, _)| known == path) {
            self.members.push((path.into(), widths));
        }
        Ok(())
    }

    /// Writes the file, whose arrays have the names of the cells before them if there are several.
    pub fn finish(self, cells: &[Cell]) -> Result<(), Failure> {
        let mut shapes = Vec::new();
        for (path, arrays) in &self.members {
            let Some(cell) = cells.iter().find(|cell| cell.path == *path) else {
                continue;
            };
            for (name, width) in arrays {
                let mut shape = vec![cell.sequences, cell.time];
                shape.extend(width);
                shapes.push((self.name(path, name), shape));
            }
        }
        let pressed = interrupt::watch();
        let values = shapes
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>());
        // All but the masks, which are small, have 4 bytes.
        let mut progress = Progress::new(4 * values.sum::<usize>() as u64, "bytes");
        let written = self.file.finish(&shapes, &mut |bytes| {
            progress.show(bytes);
            !pressed.load(Ordering::Relaxed)
        });
        drop(progress);
        if pressed.load(Ordering::Relaxed) && written.is_err() {
            eprintln!("interrupted: {} is not written", self.path.display());
            std::process::exit(interrupt::INTERRUPTED);
        }
        Ok(written?)
    }
}
