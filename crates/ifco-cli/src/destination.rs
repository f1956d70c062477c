//! Where a command writes.

use std::fs;
use std::path::Path;

use crate::failure::Failure;

/// What can be told before the work: a folder is missing, or something is there already. `read`
/// are the files that the command reads.
pub fn check_place(path: &Path, read: &[&Path], force: bool) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(Failure::new("there is no such folder to write to").at_file(path));
    }
    if path.is_dir() {
        return Err(Failure::new("this is a folder, expected the name of a file").at_file(path));
    }
    let real = |path: &Path| fs::canonicalize(path).ok();
    let is_read = |read: &&Path| real(path).is_some() && real(read) == real(path);
    if read.iter().any(is_read) {
        let what = "this is the file that the model is read from";
        return Err(Failure::new(what).at_file(path).help("give another name"));
    }
    if path.exists() && !force {
        let what = "the file is there already";
        return Err(Failure::new(what).at_file(path).help("--force replaces it"));
    }
    Ok(())
}
