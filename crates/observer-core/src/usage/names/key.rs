//! Keys in the form in which names are compared.

/// Key of a member without its case and its separators: ASCII letters in lower case, and digits.
///
/// `prompt_tokens`, `promptTokens`, `Prompt-Tokens` and `prompt.tokens` are the same key.
#[derive(Clone, Copy)]
pub(in super::super) struct Key {
    text: [u8; Key::MAX],
    length: usize,
    hash: Hash,
    /// True if `token` is a part of the key.
    pub(in super::super) has_token: bool,
    /// True if `cost` is a part of the key.
    pub(super) has_cost: bool,
    /// True if `usd` is a part of the key.
    pub(super) has_usd: bool,
}

/// Result of [`Key::of`].
pub(in super::super) enum Normalized {
    Key(Key),
    /// The key is empty, too long for a name, or not ASCII.
    NoName,
    /// The key has an escape.
    Escaped,
}

/// Class of a byte: the byte in lower case if it is a letter or a digit, else one of the others.
static CLASSES: [u8; 256] = classes();
const SEPARATOR: u8 = 0;
const NOT_ASCII: u8 = 1;
const ESCAPE: u8 = 2;

const fn classes() -> [u8; 256] {
    let mut classes = [SEPARATOR; 256];
    let mut byte = 0;
    while byte < classes.len() {
        let character = byte as u8;
        classes[byte] = if character.is_ascii_alphanumeric() {
            character.to_ascii_lowercase()
        } else if !character.is_ascii() {
            NOT_ASCII
        } else if character == b'\\' {
            ESCAPE
        } else {
            SEPARATOR
        };
        byte += 1;
    }
    classes
}

impl Key {
    /// Length of the longest key. Every name in the tables is shorter.
    const MAX: usize = 64;

    pub(in super::super) fn of(key: &str) -> Normalized {
        let mut normal = Self {
            text: [0; Self::MAX],
            length: 0,
            hash: Hash::START,
            has_token: false,
            has_cost: false,
            has_usd: false,
        };
        let mut last = 0_u32;
        for byte in key.bytes() {
            let class = CLASSES[usize::from(byte)];
            match class {
                SEPARATOR => continue,
                NOT_ASCII => return Normalized::NoName,
                ESCAPE => return Normalized::Escaped,
                _ => {}
            }
            let Some(slot) = normal.text.get_mut(normal.length) else { return Normalized::NoName };
            *slot = class;
            normal.length += 1;
            normal.hash = normal.hash.with(class);
            last = last << 8 | u32::from(class);
            normal.has_token |= last == u32::from_be_bytes(*b"oken");
            normal.has_cost |= last == u32::from_be_bytes(*b"cost");
            normal.has_usd |= last << 8 == u32::from_be_bytes(*b"usd\0");
        }
        if normal.length == 0 { Normalized::NoName } else { Normalized::Key(normal) }
    }

    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    pub(super) fn hash(&self) -> Hash {
        self.hash
    }

    /// Returns whether the key has a part.
    pub(super) fn has(&self, part: &[u8]) -> bool {
        self.as_bytes().windows(part.len()).any(|window| window == part)
    }

    /// Returns the key without a prefix, if anything is left.
    pub(super) fn without_prefix(&self, prefix: &[u8]) -> Option<Self> {
        let rest = self.as_bytes().strip_prefix(prefix)?;
        if rest.is_empty() {
            return None;
        }
        let mut shorter = Self { length: rest.len(), hash: Hash::of(rest), ..*self };
        shorter.text[..rest.len()].copy_from_slice(rest);
        Some(shorter)
    }
}

/// Hash (FNV-1a, 32 bits) of a name without its case and its separators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(pub(super) u32);

impl Hash {
    const START: Self = Self(0x811c_9dc5);

    const fn with(self, letter: u8) -> Self {
        Self((self.0 ^ letter as u32).wrapping_mul(0x0100_0193))
    }

    pub(super) const fn of(name: &[u8]) -> Self {
        let mut hash = Self::START;
        let mut at = 0;
        while at < name.len() {
            if name[at].is_ascii_alphanumeric() {
                hash = hash.with(name[at].to_ascii_lowercase());
            }
            at += 1;
        }
        hash
    }

    /// Returns the slot in an index of this many slots.
    pub(super) const fn slot(self, slots: usize) -> usize {
        self.0 as usize % slots
    }
}
