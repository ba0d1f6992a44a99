//! Protocols and compressions of OTLP.

use std::fmt;

use serde::Deserialize;

/// Protocol that carries OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Protocol {
    /// OTLP/gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP/HTTP with bodies in Protobuf.
    #[serde(rename = "http/protobuf")]
    Http,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// Returns the name in configurations, which is that of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Compression of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// No compression.
    None,
    /// Gzip (RFC 1952), which every OTLP receiver must support.
    #[default]
    Gzip,
}

impl Compression {
    /// All compressions.
    pub const ALL: [Self; 2] = [Self::None, Self::Gzip];

    /// Returns the name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    #[test]
    fn names_are_those_of_the_configuration() {
        let parse =
            |name: &'static str| -> StrDeserializer<'static, Error> { name.into_deserializer() };
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::deserialize(parse(protocol.as_str())), Ok(protocol));
        }
        for compression in Compression::ALL {
            assert_eq!(Compression::deserialize(parse(compression.as_str())), Ok(compression));
        }
    }
}
