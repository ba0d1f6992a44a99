//! Keys in the form in which names are compared.

/// Key of a member without its case and its separators: ASCII letters in lower case, and digits.
///
/// `prompt_tokens`, `promptTokens`, `Prompt-Tokens` and `prompt.tokens` are the same key.
#[derive(Clone, Copy)]
pub(in super::super) struct Key {
    text: [u8; Key::MAX],
    length: usize,
}

impl Key {
    /// Length of the longest key. Every name in the tables is shorter.
    const MAX: usize = 64;

    /// Returns `None` for a key that can't be a name: it is too long, or not ASCII.
    pub(in super::super) fn of(key: &str) -> Option<Self> {
        let mut normal = Self { text: [0; Self::MAX], length: 0 };
        for byte in key.bytes() {
            if byte.is_ascii_alphanumeric() {
                *normal.text.get_mut(normal.length)? = byte.to_ascii_lowercase();
                normal.length += 1;
            } else if !byte.is_ascii() {
                return None;
            }
        }
        (normal.length > 0).then_some(normal)
    }

    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    pub(in super::super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a key is ASCII")
    }

    /// Returns the key without a prefix, if anything is left.
    pub(super) fn without_prefix(&self, prefix: &str) -> Option<Self> {
        let rest = self.as_bytes().strip_prefix(prefix.as_bytes())?;
        let mut shorter = Self { text: [0; Self::MAX], length: rest.len() };
        shorter.text[..rest.len()].copy_from_slice(rest);
        (!rest.is_empty()).then_some(shorter)
    }
}

/// Returns the hash (FNV-1a, 32 bits) of a name, without its case and its separators.
pub(super) const fn hash(name: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < name.len() {
        let byte = name[at];
        if byte.is_ascii_alphanumeric() {
            hash = (hash ^ byte.to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        }
        at += 1;
    }
    hash
}
