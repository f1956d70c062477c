//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ArrayFileError;

/// Writes a file so that nobody ever sees half of it: the content goes to a temporary file in
/// the same folder, which then takes the place of `path`. When anything fails the temporary
/// file is removed and what was at `path` before is still there.
///
/// A `path` that is something else than a file (a pipe, `/dev/stdout`) is written to directly.
///
/// # Errors
/// When the folder cannot be written to, or `content` fails.
///
/// ```
/// use std::io::Write;
/// let path = std::env::temp_dir().join("ifco-write-example.txt");
/// ifco_files::arrays::write_file(&path, |file| Ok(file.write_all(b"all or nothing")?))?;
/// assert_eq!(std::fs::read(&path)?, b"all or nothing");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_file(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), ArrayFileError>,
) -> Result<(), ArrayFileError> {
    let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    let result = if is_special {
        write_into(OpenOptions::new().write(true).open(path), content)
    } else {
        write_beside(path, content)
    };
    result.map_err(|error| error.at(path))
}

fn write_beside(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), ArrayFileError>,
) -> Result<(), ArrayFileError> {
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder").into());
    }
    // A link stays a link: the file that it points to is the one replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let temporary = temporary_path(&target)?;
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary);
    if created.is_err() {
        return write_into(created, content);
    }
    let written = write_into(created, content).and_then(|()| {
        if let Ok(old) = fs::metadata(&target) {
            // The new file keeps the old one's permissions; where that is refused, it has
            // those of any new file.
            let _ = fs::set_permissions(&temporary, old.permissions());
        }
        Ok(fs::rename(&temporary, &target)?)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_into(
    file: io::Result<File>,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), ArrayFileError>,
) -> Result<(), ArrayFileError> {
    let mut writer = BufWriter::with_capacity(1 << 16, file?);
    content(&mut writer)?;
    writer.flush()?;
    Ok(())
}

/// `.name.1234.tmp` beside `name`: two processes never choose the same.
fn temporary_path(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file")
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::ArrayProblem;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ifco-write-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = folder("failure");
        let path = folder.join("x");
        fs::write(&path, "old").unwrap();
        let error = write_file(&path, |file| {
            file.write_all(b"half")?;
            Err(ArrayProblem::Unwritable("no".into()).into())
        })
        .unwrap_err();
        assert_eq!(error.to_string(), format!("{}: no", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_or_a_missing_folder_is_an_error_with_its_path() {
        let folder = folder("missing");
        for path in [folder.clone(), folder.join("no/such/x"), PathBuf::from("/")] {
            let error = write_file(&path, |_| Ok(())).unwrap_err();
            assert_eq!(error.path(), Some(path.as_path()));
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = folder("link");
        let (file, link) = (folder.join("file"), folder.join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, |out| Ok(out.write_all(b"new")?)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        fs::remove_dir_all(folder).unwrap();
    }
}
