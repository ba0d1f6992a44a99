//! The sources that a caller may read.

/// Sources that a caller may read. Results are computed from these alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Names of the sources; `None` for all.
    pub sources: Option<Vec<String>>,
}

impl Scope {
    /// Returns the scope of a caller that may read everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Returns the scope of a caller that is limited to some sources.
    pub fn of(sources: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sources: Some(sources.into_iter().map(Into::into).collect()) }
    }

    /// Returns whether the caller may read this source.
    #[must_use]
    pub fn allows(&self, source: &str) -> bool {
        self.sources.as_ref().is_none_or(|sources| sources.iter().any(|allowed| allowed == source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_without_sources_allows_none_and_absent_scope_allows_all() {
        assert!(Scope::all().allows("bot"));
        assert!(Scope::of(["ci", "bot"]).allows("bot"));
        assert!(!Scope::of(["ci"]).allows("bot"));
        assert!(!Scope::of([""; 0]).allows("bot"));
    }
}
