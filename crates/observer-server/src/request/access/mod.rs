//! Access control: tokens, their scopes, and their rate limits.
//!
//! A token is a secret of high entropy that a client sends as `Authorization: Bearer TOKEN` (RFC
//! 6750). The server stores only its SHA-256. A digest without salt and work factor suffices for a
//! secret that can't be guessed, and is cheap enough to compute for each request.
//!
//! [`scope`] and [`token`] define the configuration. The [`gate`] identifies the [`caller`] of a
//! request by it, and [`rate`] limits how many events and bytes a token may send.

mod caller;
mod gate;
mod rate;
mod scope;
mod token;

pub(crate) use caller::Caller;
pub use gate::Access;
pub(crate) use gate::Gate;
pub(crate) use rate::Charge;
pub use rate::Rate;
pub use scope::{Scope, Scopes};
pub use token::{InvalidDigest, Token, TokenDigest};
