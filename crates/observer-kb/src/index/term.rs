//! Terms of events.

use observer_core::Envelope;

/// Hash of a field and its value.
pub(crate) type Term = u32;

/// Fields by which events are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Id that the observer gave.
    Id = 0,
    /// The producer's own id. Its value is preceded by the source.
    ProducerId = 1,
    Cycle = 2,
    Signature = 3,
    Source = 4,
    Kind = 5,
    Ok = 6,
    Model = 7,
    /// A label: its name, then its value.
    Label = 8,
}

/// Returns the term of a value. The recipe is part of the file format: CRC-32C of the number of the
/// field and, for each part, its length (4 bytes, little endian) and its bytes.
pub(crate) fn term(field: Field, parts: &[&[u8]]) -> Term {
    let mut crc = crc32c::crc32c(&[field as u8]);
    for part in parts {
        crc = crc32c::crc32c_append(crc, &(part.len() as u32).to_le_bytes());
        crc = crc32c::crc32c_append(crc, part);
    }
    crc
}

/// Collects the terms of an event into `terms`, which is emptied first.
pub(crate) fn terms_of(envelope: &Envelope, terms: &mut Vec<Term>) {
    let event = &envelope.event;
    terms.clear();
    terms.push(term(Field::Id, &[envelope.id.as_bytes()]));
    terms.push(term(Field::Source, &[event.source().as_bytes()]));
    terms.push(term(Field::Kind, &[event.event_kind().as_bytes()]));
    let optional = [
        (Field::Cycle, event.cycle_id()),
        (Field::Signature, event.sig_hash()),
        (Field::Model, event.staffer_id()),
    ];
    for (field, value) in optional {
        terms.extend(value.map(|value| term(field, &[value.as_bytes()])));
    }
    terms.extend(event.ok().map(|ok| term(Field::Ok, &[&[u8::from(ok)]])));
    let source = event.source().as_bytes();
    terms.extend(event.id().map(|id| term(Field::ProducerId, &[source, id.as_bytes()])));
    let labels = event.labels();
    terms.extend(
        labels.map(|(name, value)| term(Field::Label, &[name.as_bytes(), value.as_bytes()])),
    );
}
