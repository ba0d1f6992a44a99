//! Cursors: where the next page begins, as opaque text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use observer_core::query::{MAX_LIMIT, QueryError};

/// Position in a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cursor {
    /// Kind of the list, so that a cursor isn't used for another one.
    pub(super) list: u8,
    /// Sort key of the last item.
    pub(super) key: u64,
    /// What names the last item, among those with the same key.
    pub(super) item: Vec<u8>,
}

impl Cursor {
    /// Creates a cursor whose last item has a number.
    pub(super) fn of_number(list: u8, key: u64, number: i64) -> Self {
        Self { list, key, item: number.to_be_bytes().to_vec() }
    }

    /// Returns the number of the last item.
    pub(super) fn number(&self) -> Result<i64, QueryError> {
        self.item.as_slice().try_into().map(i64::from_be_bytes).map_err(|_| invalid())
    }

    pub(super) fn encode(self) -> String {
        let mut bytes = vec![self.list];
        bytes.extend_from_slice(&self.key.to_be_bytes());
        bytes.extend_from_slice(&self.item);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn decode(text: Option<&str>, list: u8) -> Result<Option<Self>, QueryError> {
        let Some(text) = text else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let parts = bytes
            .split_first()
            .filter(|(found, _)| **found == list)
            .and_then(|(_, rest)| rest.split_first_chunk());
        let Some((key, item)) = parts else { return Err(invalid()) };
        Ok(Some(Self { list, key: u64::from_be_bytes(*key), item: item.to_vec() }))
    }
}

/// Returns the error for text that is no cursor of a list.
pub(super) fn invalid() -> QueryError {
    QueryError::bad_request("cursor", "is not one that an earlier page of this list returned")
}

/// Checks the parameter `limit`.
pub(super) fn check_limit(limit: usize) -> Result<usize, QueryError> {
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(QueryError::bad_request("limit", format!("must be from 1 to {MAX_LIMIT}")))
}

/// Checks that a range isn't empty by mistake.
pub(super) fn check_range(
    since: Option<observer_core::Timestamp>,
    until: Option<observer_core::Timestamp>,
) -> Result<(), QueryError> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => {
            Err(QueryError::bad_request("until", format!("must not be before `since`, {since}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_of_another_list_or_damaged_text_is_refused() {
        let cursor = Cursor::of_number(1, u64::MAX, -7);
        assert_eq!(cursor.number().unwrap(), -7);
        let text = cursor.clone().encode();
        assert_eq!(Cursor::decode(Some(&text), 1).unwrap(), Some(cursor));
        for (text, list) in [(text.as_str(), 2), ("", 1), ("??", 1), (&text[1..], 1)] {
            let error = Cursor::decode(Some(text), list).unwrap_err().to_string();
            assert!(error.starts_with("`cursor` is not one"), "{error}");
        }
        assert_eq!(Cursor::decode(None, 1).unwrap(), None);
        let other = Cursor { list: 1, key: 0, item: b"16 bytes of an id".to_vec() };
        assert!(other.number().is_err());
    }
}
