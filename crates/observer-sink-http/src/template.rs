//! Header values with placeholders for fields of the event.

use observer_core::{Envelope, Field};
use reqwest::header::HeaderValue;

/// Largest part of a field in a value, in bytes. Servers reject requests with very long headers.
const MAX_FIELD: usize = 256;

/// Header value with placeholders, such as `agents/{source}`. `{{` and `}}` are literal braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

/// Member of an envelope, or field of its event, that a value can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Id,
    Seq,
    ReceivedAt,
    Source,
    EventKind,
    Ok,
    CycleId,
    SigHash,
    StafferId,
}

const PLACEHOLDERS: [(&str, Placeholder); 9] = [
    ("id", Placeholder::Id),
    ("seq", Placeholder::Seq),
    ("received_at", Placeholder::ReceivedAt),
    (Field::Source.as_str(), Placeholder::Source),
    (Field::EventKind.as_str(), Placeholder::EventKind),
    (Field::Ok.as_str(), Placeholder::Ok),
    (Field::CycleId.as_str(), Placeholder::CycleId),
    (Field::SigHash.as_str(), Placeholder::SigHash),
    (Field::StafferId.as_str(), Placeholder::StafferId),
];

impl Template {
    /// Parses a value.
    ///
    /// # Errors
    /// If a brace or a placeholder is invalid, or a header can't contain the text. The error is
    /// worded to follow the header's name. It doesn't repeat the text, which may be a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| brace == "{");
            let end = end.ok_or("has an unpaired brace; write `{{` or `}}` for a literal brace")?;
            let known = PLACEHOLDERS.iter().find(|(name, _)| **name == rest[..end]);
            let (_, placeholder) = known.ok_or_else(|| {
                let names: Vec<_> =
                    PLACEHOLDERS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                format!("has an unknown placeholder; known placeholders: {}", names.join(", "))
            })?;
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(Part::Placeholder(*placeholder));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        parts.retain(|part| *part != Part::Text(String::new()));
        let is_value = |text: &str| text.is_ascii() && HeaderValue::from_str(text).is_ok();
        if parts.iter().any(|part| matches!(part, Part::Text(text) if !is_value(text))) {
            return Err("holds a character that a header can't have".to_owned());
        }
        Ok(Self(parts))
    }

    /// Returns the value, if it has no placeholder.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the value for one event. Fields are escaped, so that no event can add a header or a
    /// second value.
    pub(crate) fn render(&self, envelope: &Envelope) -> HeaderValue {
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Placeholder(placeholder) => placeholder.render(envelope, &mut value),
            }
        }
        HeaderValue::from_str(&value).expect("texts were validated, and fields are escaped")
    }
}

impl Placeholder {
    fn render(self, envelope: &Envelope, value: &mut String) {
        let event = &envelope.event;
        let optional = match self {
            Self::Id => return value.push_str(&envelope.id.to_string()),
            Self::Seq => return value.push_str(&envelope.seq.to_string()),
            Self::ReceivedAt => return value.push_str(&format!("{:.6}", envelope.received_at)),
            // A phase has no `ok`.
            Self::Ok => {
                return value
                    .push_str(event.ok().map_or("", |ok| if ok { "true" } else { "false" }));
            }
            Self::Source => Some(event.source()),
            Self::EventKind => Some(event.event_kind()),
            Self::CycleId => event.cycle_id(),
            Self::SigHash => event.sig_hash(),
            Self::StafferId => event.staffer_id(),
        };
        escape(optional.unwrap_or_default(), value);
    }
}

/// Percent-encodes characters that could end the value, begin another one, or be altered in
/// transit.
fn escape(text: &str, value: &mut String) {
    let end = value.len() + MAX_FIELD;
    for character in text.chars() {
        let before = value.len();
        if character.is_ascii_graphic() && !matches!(character, '%' | ',' | ';' | '"' | '\\') {
            value.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                value.push_str(&format!("%{byte:02X}"));
            }
        }
        if value.len() > end {
            value.truncate(before);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::envelope;

    fn render(template: &str, event: &str) -> String {
        Template::parse(template).unwrap().render(&envelope(1, event)).to_str().unwrap().to_owned()
    }

    #[test]
    fn placeholders_are_replaced_by_fields() {
        let event = concat!(
            r#"{"source":"bot","event_kind":"ok","ok":true,"#,
            r#""cycle_id":"c","sig_hash":"h","staffer_id":"m:1"}"#,
        );
        let fields = "{{{source}}} {event_kind} {ok} {cycle_id}/{sig_hash}/{staffer_id}";
        assert_eq!(render(fields, event), "{bot} ok true c/h/m:1");
        assert_eq!(
            render("{seq} {id} {received_at}", event),
            "1 00000000-0000-0000-0000-000000000001 2026-01-01T00:00:00.000001Z"
        );
        assert_eq!(render("[{cycle_id}]", r#"{"source":"s","event_kind":"k","ok":false}"#), "[]");
        let phase = r#"{"source":"s","event_kind":"started","ok":true}"#;
        assert_eq!(render("{event_kind}[{ok}]", phase), "started[]");
    }

    #[test]
    fn event_cannot_add_headers() {
        let event = |source: &str| format!(r#"{{"source":"{source}","event_kind":"k","ok":true}}"#);
        assert_eq!(render("{source}", &event(r"a\r\nX-Admin: yes")), "a%0D%0AX-Admin:%20yes");
        assert_eq!(
            render("{source}", &event(r#"ü%, \"b\"; \u0000\u007f"#)),
            "%C3%BC%25%2C%20%22b%22%3B%20%00%7F"
        );
        let long = render("<{source}>", &event(&"ü".repeat(1000)));
        assert_eq!(long, format!("<{}>", "%C3%BC".repeat(42)), "truncated between two characters");
    }

    #[test]
    fn invalid_template_is_rejected() {
        for (template, expected) in [
            ("{", "has an unpaired brace"),
            ("a}b", "has an unpaired brace"),
            ("{nope}", "has an unknown placeholder; known placeholders: {id}, {seq},"),
            ("a\r\nb", "holds a character"),
            ("ü", "holds a character"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(Template::parse("{{plain}}").unwrap().constant(), Some("{plain}"));
        assert_eq!(Template::parse("").unwrap().constant(), Some(""));
        assert_eq!(Template::parse("{ok}").unwrap().constant(), None);
    }
}
