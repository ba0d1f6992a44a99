//! W3C trace context.

/// Position in a distributed trace: the `traceparent` of W3C trace context
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
///
/// ```
/// use observer_core::Traceparent;
///
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent = Traceparent::parse(text).unwrap();
/// assert_eq!(parent.parent_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
/// assert!(Traceparent::parse("00-0af7651916cd43dd-b7ad6b7169203331-01").is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// Identifier of the trace; never all zeros.
    pub trace_id: [u8; 16],
    /// Identifier of the parent span; never all zeros.
    pub parent_id: [u8; 8],
    /// Trace flags as they were sent. The lowest bit says that the trace is sampled.
    pub flags: u8,
}

impl Traceparent {
    /// Parses a `traceparent`. Returns `None` for an invalid one, which must be ignored.
    ///
    /// In a version later than 00, further fields may follow the known ones and are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, later) = text.as_bytes().split_first_chunk::<55>()?;
        if (head[2], head[35], head[52]) != (b'-', b'-', b'-') {
            return None;
        }
        let ([version], [flags]) = (hex(&head[..2])?, hex(&head[53..])?);
        let (trace_id, parent_id) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let has_valid_length = later.is_empty() || (version > 0 && later[0] == b'-');
        let is_valid =
            version != 0xff && has_valid_length && trace_id != [0; 16] && parent_id != [0; 8];
        is_valid.then_some(Self { trace_id, parent_id, flags })
    }
}

/// Values of lower-case hexadecimal digits, the only ones that the standard allows; of any other
/// byte, [`NO_DIGIT`].
const DIGITS: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

const NO_DIGIT: u8 = 0xff;

/// Decodes `2 * N` hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (mut bytes, mut all) = ([0; N], 0);
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    #[test]
    fn valid_traceparents_are_parsed() {
        for (text, flags) in [
            (format!("00-{TRACE}-{PARENT}-00"), 0),
            (format!("00-{TRACE}-{PARENT}-ff"), 0xff),
            (format!("cc-{TRACE}-{PARENT}-01"), 1),
            (format!("cc-{TRACE}-{PARENT}-01-more"), 1),
        ] {
            let parent = Traceparent::parse(&text).unwrap();
            assert_eq!((parent.trace_id[0], parent.trace_id[15]), (0x0a, 0x9c));
            assert_eq!(
                (parent.parent_id[0], parent.parent_id[7], parent.flags),
                (0xb7, 0x31, flags)
            );
        }
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        for text in [
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("cc-{TRACE}-{PARENT}-01more"),
            format!("00-{TRACE}-{PARENT}-0"),
            format!("00-{TRACE}-{PARENT}"),
            format!("0-{TRACE}-{PARENT}-001"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-+{}-{PARENT}-01", &TRACE[1..]),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{PARENT}a01"),
            format!("00-{TRACE}a-{}-01", &PARENT[1..]),
            format!("00-{TRACE}a-{}-001", &PARENT[2..]),
            format!("00-{}-{PARENT}00-01", &TRACE[2..]),
            format!("00-{TRACE}-ü{}-01", &PARENT[2..]),
            "none".to_owned(),
            String::new(),
        ] {
            assert_eq!(Traceparent::parse(&text), None, "{text}");
        }
    }
}
