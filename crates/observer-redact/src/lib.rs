//! Redaction of secrets in JSON: formats of credentials, and keys that hold them.
//!
//! A [`Redactor`] replaces secrets in the string values of a JSON text. A secret is
//! - a text in the format of a credential, such as `ghp_…`, a JSON Web Token or a private key,
//!   anywhere in a string, also where characters of it are escaped;
//! - the string of a key such as `password` or `API-KEY`.
//!
//! The result is valid JSON. Redacting it again changes nothing.
//!
//! ```
//! use observer_redact::Redactor;
//!
//! let redactor = Redactor::default();
//! let token = format!("ghp_{}", "16C7e42F292c6912E7710c838347Ae178B4a");
//! let json = format!(r#"{{"log":"push with {token}: denied","sha":"8f3e2a91"}}"#);
//! assert!(redactor.may_match(&json));
//! assert_eq!(
//!     redactor.redact(&json, |_| Some(())).unwrap().json,
//!     r#"{"log":"push with [redacted:github]: denied","sha":"8f3e2a91"}"#
//! );
//! assert!(!redactor.may_match(r#"{"log":"pushed","sha":"8f3e2a91"}"#));
//! ```
//!
//! Most texts have no secret, and are not walked for one: [`Redactor::may_match`] searches the raw
//! text for prefixes of formats, and [`Redactor::key_filter`] is for the parser that passes over
//! the keys anyway. Neither allocates. Only a text that passes one of them is given to
//! [`Redactor::redact`].
//!
//! | module | content |
//! |---|---|
//! | `rule`, `built_in` | rules of a configuration; the built-in ones |
//! | `redactor` | [`Redactor`] and its builder |
//! | `filter` | the automaton over the prefixes of all formats |
//! | `formats` | matchers of formats |
//! | `keys` | names of keys, and the filter of keys |
//! | `walk`, `text` | redaction of a JSON text; unescaping of its strings |
//! | `mark` | replacements of secrets |
//! | `counts` | numbers of redacted secrets by rule |

mod built_in;
mod counts;
mod filter;
mod formats;
mod keys;
mod mark;
mod redactor;
mod rule;
mod text;
mod walk;

pub use self::counts::RedactionCounts;
pub use self::keys::KeyFilter;
pub use self::redactor::{Redactor, RedactorBuilder};
pub use self::rule::{Action, Rule, RuleError};
pub use self::walk::{Found, Redacted};
