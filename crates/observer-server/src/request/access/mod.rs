//! Who may do what: tokens, and the scopes that they have.
//!
//! A token is a secret of high entropy that its holder sends as `Authorization: Bearer TOKEN` (RFC
//! 6750). The server knows the SHA-256 of it alone. A digest without salt and work factor is enough
//! for a secret that can't be guessed, and is computed for each request.

mod gate;
mod rate;
mod scope;
mod token;

pub use gate::Access;
pub(crate) use gate::Gate;
pub(crate) use rate::Charge;
pub use rate::Rate;
pub use scope::{Scope, Scopes};
pub use token::{InvalidDigest, Token, TokenDigest};
