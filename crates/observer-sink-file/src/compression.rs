//! Formats of compressed files.

use serde::Deserialize;

/// Compression of closed files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Closed files stay uncompressed.
    #[default]
    None,
    /// gzip (RFC 1952), suffix `.gz`.
    Gzip,
    /// Zstandard (RFC 8878), suffix `.zst`.
    Zstd,
}

impl Compression {
    /// All variants.
    pub const ALL: [Self; 3] = [Self::None, Self::Gzip, Self::Zstd];

    /// Returns the value of the configuration key `compression` for this variant.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the suffix of a compressed file's name, with its dot; empty without compression.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// Splits the suffix of a compressed file off its name.
    pub(crate) fn split_suffix(name: &str) -> (&str, Self) {
        [Self::Gzip, Self::Zstd]
            .into_iter()
            .find_map(|compression| Some((name.strip_suffix(compression.suffix())?, compression)))
            .unwrap_or((name, Self::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_values_of_the_configuration() {
        for compression in Compression::ALL {
            let value = format!("{:?}", compression.as_str());
            assert_eq!(serde_json::from_str::<Compression>(&value).unwrap(), compression);
        }
    }

    #[test]
    fn suffix_is_split_off_a_name() {
        for compression in Compression::ALL {
            let name = format!("x.jsonl{}", compression.suffix());
            assert_eq!(Compression::split_suffix(&name), ("x.jsonl", compression));
        }
    }
}
