//! What went wrong, as the user reads it: what, where, and what to do.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use ifco::arrays::{ArrayFileError, ArrayProblem};
use ifco::{FileError, ModelError, SaveError};

/// An error on its way to stderr.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    place: Option<String>,
    help: Option<String>,
    is_usage: bool,
    /// The reader of our output has gone: nobody is left to tell.
    is_quiet: bool,
}

impl Failure {
    /// Something that cannot be used; exit code 1.
    pub fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            place: None,
            help: None,
            is_usage: false,
            is_quiet: false,
        }
    }

    /// A command line that is wrong; exit code 2.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self {
            is_usage: true,
            ..Self::new(what)
        }
    }

    /// The file, and where in it.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// The file, where none is known yet.
    pub fn at_file(self, path: &Path) -> Self {
        self.at_unknown(path.display())
    }

    /// The place, where none is known yet.
    pub fn at_unknown(self, place: impl fmt::Display) -> Self {
        if self.place.is_some() {
            return self;
        }
        self.at(place)
    }

    /// What to do.
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Prints it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.is_quiet {
            return ExitCode::SUCCESS;
        }
        // Where stderr cannot be written to, the exit code has to do.
        let _ = write!(io::stderr().lock(), "{self}");
        ExitCode::from(if self.is_usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        if let Some(place) = &self.place {
            writeln!(f, "  in: {place}")?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "  help: {help}")?;
        }
        Ok(())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Failure {
            help: error.help(),
            ..Failure::new(error.problem()).at_file(error.path())
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Failure {
            help: error.help(),
            ..Failure::new(error)
        }
    }
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Write(error) => error.into(),
            error => Failure {
                help: error.help(),
                ..Failure::new(error)
            },
        }
    }
}

impl From<ArrayFileError> for Failure {
    fn from(error: ArrayFileError) -> Self {
        let mut failure = match error.problem() {
            ArrayProblem::Io(source) if source.kind() == io::ErrorKind::BrokenPipe => Failure {
                is_quiet: true,
                ..Failure::new(source)
            },
            problem => Failure::new(problem),
        };
        let member = error.member().map(|member| format!("array {member:?}"));
        let path = error.path().map(|path| path.display().to_string());
        failure.place = match (path, member) {
            (Some(path), Some(member)) => Some(format!("{path}, {member}")),
            (path, member) => path.or(member),
        };
        failure.help = error.help().map(Into::into);
        failure
    }
}

/// For what is written to stdout.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure {
            is_quiet: error.kind() == io::ErrorKind::BrokenPipe,
            ..Failure::new(format_args!("the output cannot be written: {error}"))
        }
    }
}
