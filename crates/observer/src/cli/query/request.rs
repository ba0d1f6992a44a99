//! Requests to the HTTP API.

/// Media type of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    JsonLines,
    Csv,
    Markdown,
}

/// Request to a query route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Request {
    /// Segments of the path, not encoded.
    pub(in crate::cli) path: Vec<String>,
    /// Parameters by name, not encoded.
    pub(in crate::cli) parameters: Vec<(String, String)>,
}

impl Media {
    /// Returns the value of `Accept`.
    pub(super) fn accept(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Markdown => "text/markdown",
        }
    }
}

impl Request {
    /// Creates a request to a path below `/v1`.
    pub(in crate::cli) fn new<const N: usize>(path: [&str; N]) -> Self {
        let path = ["v1"].into_iter().chain(path).map(str::to_owned).collect();
        Self { path, parameters: Vec::new() }
    }

    /// Creates a request to a path below `/v1` whose last segment is the value of a parameter.
    pub(super) fn of_one(path: &str, name: &str, value: &str) -> Self {
        // A URL has no such segments.
        if matches!(value, "." | "..") {
            return Self::new([path, "-"]).with(name, [value]);
        }
        Self::new([path, value])
    }

    /// Adds a parameter for each of the values.
    pub(in crate::cli) fn with<T: ToString>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(|value| (name.to_owned(), value.to_string()));
        self.parameters.extend(values);
        self
    }
}
