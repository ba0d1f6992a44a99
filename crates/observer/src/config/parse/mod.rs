//! Conversion of TOML tables to checked types.
//!
//! [`substitute`] fills environment variables and files into string values and records which values
//! it changed. [`reader`] deserializes a table and reports every error at once, with its
//! [`key_path`]. [`value`] is the deserializer, whose errors keep their parts.

pub(crate) mod key_path;
pub(super) mod one_or_more;
pub(crate) mod reader;
pub(crate) mod substitute;
mod value;
