//! Tests over a knowledge base.

mod answers;
mod injection;
mod sizes;
mod support;

/// Returns the number of tokens of a text in `o200k_base`.
pub(crate) fn tokens(text: &str) -> usize {
    tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len()
}
