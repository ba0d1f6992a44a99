//! Header values with fields of the event in them.

use observer_core::Envelope;
use reqwest::header::HeaderValue;

/// A value goes no further than this many bytes of a field: servers refuse requests with very long
/// headers, and then no event would get there.
const MAX_FIELD: usize = 256;

/// A header value such as `agents/{source}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
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

const FIELDS: [(&str, Field); 9] = [
    ("id", Field::Id),
    ("seq", Field::Seq),
    ("received_at", Field::ReceivedAt),
    ("source", Field::Source),
    ("event_kind", Field::EventKind),
    ("ok", Field::Ok),
    ("cycle_id", Field::CycleId),
    ("sig_hash", Field::SigHash),
    ("staffer_id", Field::StafferId),
];

impl Template {
    /// # Errors
    /// What is wrong with it, as it follows the header's name; the text itself isn't repeated,
    /// since it may be a secret.
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
            let end = end.ok_or(
                "has a brace without its other one; a plain brace is written `{{` or `}}`",
            )?;
            let field =
                FIELDS.iter().find(|(name, _)| **name == rest[..end]).map(|(_, field)| *field);
            let field = field.ok_or_else(|| {
                let known: Vec<_> = FIELDS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                format!("has a placeholder that isn't known; known are {}", known.join(", "))
            })?;
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(Part::Field(field));
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        parts.retain(|part| *part != Part::Text(String::new()));
        let is_value = |text: &str| text.is_ascii() && HeaderValue::from_str(text).is_ok();
        if parts.iter().any(|part| matches!(part, Part::Text(text) if !is_value(text))) {
            return Err("holds a character that a header value can't have".to_owned());
        }
        Ok(Self(parts))
    }

    /// The value, if it is the same for all events.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The value for one event. Whatever stands in the event, it is one value on one line.
    pub(crate) fn render(&self, envelope: &Envelope) -> HeaderValue {
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Field(field) => field.render(envelope, &mut value),
            }
        }
        HeaderValue::from_str(&value).expect("texts were checked, and fields become visible ASCII")
    }
}

impl Field {
    fn render(self, envelope: &Envelope, value: &mut String) {
        let event = &envelope.event;
        let optional = match self {
            Self::Id => return value.push_str(&envelope.id.to_string()),
            Self::Seq => return value.push_str(&envelope.seq.to_string()),
            Self::ReceivedAt => return value.push_str(&format!("{:.6}", envelope.received_at)),
            Self::Ok => return value.push_str(if event.ok() { "true" } else { "false" }),
            Self::Source => Some(event.source()),
            Self::EventKind => Some(event.event_kind()),
            Self::CycleId => event.cycle_id(),
            Self::SigHash => event.sig_hash(),
            Self::StafferId => event.staffer_id(),
        };
        escape(optional.unwrap_or_default(), value);
    }
}

/// Percent-encodes what could end the value, begin another one, or get lost on the way.
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
    fn fields_stand_where_their_placeholders_are() {
        let event = r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c","sig_hash":"h","staffer_id":"m:1"}"#;
        let template = "{{{source}}} {event_kind} {ok} {cycle_id}/{sig_hash}/{staffer_id} {seq} {id} {received_at}";
        assert_eq!(
            render(template, event),
            "{bot} ok true c/h/m:1 1 00000000-0000-0000-0000-000000000001 2026-01-01T00:00:00.000001Z"
        );
        assert_eq!(render("[{cycle_id}]", r#"{"source":"s","event_kind":"k","ok":false}"#), "[]");
    }

    #[test]
    fn an_event_can_not_write_headers() {
        let event = |source: &str| format!(r#"{{"source":"{source}","event_kind":"k","ok":true}}"#);
        assert_eq!(render("{source}", &event(r"a\r\nX-Admin: yes")), "a%0D%0AX-Admin:%20yes");
        assert_eq!(
            render("{source}", &event(r#"ü%, \"b\"; \u0000\u007f"#)),
            "%C3%BC%25%2C%20%22b%22%3B%20%00%7F"
        );
        let long = render("<{source}>", &event(&"ü".repeat(1000)));
        assert_eq!(long, format!("<{}>", "%C3%BC".repeat(42)), "cut between two characters");
    }

    #[test]
    fn a_template_that_can_not_be_is_refused() {
        for (template, expected) in [
            ("{", "has a brace without"),
            ("a}b", "has a brace without"),
            ("{nope}", "has a placeholder that isn't known; known are {id}, {seq},"),
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
