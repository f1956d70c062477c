//! What can be wrong with data, and with a recipe.

/// Raw data that a task cannot be done with.
///
/// ```
/// let error = ifco_tasks::DataError::new("there are 3 rows").help("30 would do");
/// assert_eq!(error.to_string(), "there are 3 rows");
/// assert_eq!(error.remedy(), Some("30 would do"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DataError {
    what: String,
    help: Option<String>,
}

impl DataError {
    /// What is wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: None,
        }
    }

    /// What to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What to do, if something is known.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// Something else stands in a recipe than should.
///
/// ```
/// let json = serde_json::json!({"ifco": 1, "task": "dream"});
/// let error = ifco_tasks::Recipe::from_json(&json).unwrap_err();
/// assert_eq!(error.place, "task");
/// assert!(error.expected.contains("forecast"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is {found}, expected {expected}")]
pub struct RecipeError {
    /// Where: `words[3]`.
    pub place: String,
    /// What is there, shortened.
    pub found: String,
    /// What should be.
    pub expected: String,
}
