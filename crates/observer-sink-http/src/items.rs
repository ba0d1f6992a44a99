//! The body of a 207, which has a status for each event, as in the responses of an observer's
//! `/v1/events`.

use observer_core::ErrorKind;
use serde::Deserialize;

use crate::response::{StatusClass, classify};

/// Event that was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FailedItem {
    /// Index of the event in the request.
    pub(crate) index: usize,
    pub(crate) status: u16,
    /// Reason that the destination gave.
    pub(crate) detail: String,
}

#[derive(Deserialize)]
struct MultiStatus {
    accepted: Option<u64>,
    duplicates: Option<u64>,
    errors: Vec<ItemStatus>,
}

#[derive(Deserialize)]
struct ItemStatus {
    index: usize,
    status: u16,
    #[serde(default)]
    detail: String,
}

/// Parses the response to a request with `count` events. Returns the events that were not accepted.
///
/// # Errors
/// If the response is inconsistent and therefore has no result for any event; the error describes
/// it.
pub(crate) fn parse(body: &[u8], count: usize) -> Result<Vec<FailedItem>, String> {
    let MultiStatus { accepted, duplicates, errors } = serde_json::from_slice(body)
        .map_err(|_| "it is not JSON of the form {\"errors\":[{\"index\":…,\"status\":…}]}")?;
    let mut seen = vec![false; count];
    for item in &errors {
        match seen.get_mut(item.index) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(format!(
                    "it lists an event {} of {count}, or lists it twice",
                    item.index
                ));
            }
        }
    }
    let good =
        accepted.zip(duplicates).map(|(accepted, duplicates)| accepted.saturating_add(duplicates));
    if let Some(good) = good.filter(|good| good.saturating_add(errors.len() as u64) != count as u64)
    {
        return Err(format!(
            "it counts {good} accepted and {} failed events of {count}",
            errors.len()
        ));
    }
    let failed = errors.into_iter().filter(|item| !(200..300).contains(&item.status));
    Ok(failed
        .map(|ItemStatus { index, status, detail }| FailedItem { index, status, detail })
        .collect())
}

impl FailedItem {
    /// Returns the class of the failure. A status that is not the destination's own fault rejects
    /// the event itself, since the destination accepted the request.
    pub(crate) fn kind(&self) -> ErrorKind {
        match classify(self.status) {
            StatusClass::Failed(kind @ (ErrorKind::Transient | ErrorKind::Failed)) => kind,
            _ => ErrorKind::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_events_are_listed_with_their_status() {
        let body = br#"{"accepted":0,"duplicates":0,"rejected":4,"durability":"fsync","errors":[
            {"index":1,"status":422,"reason":"invalid","detail":"missing `ok`","field":"ok"},
            {"index":3,"status":503},{"index":2,"status":500},{"index":0,"status":403}]}"#;
        let failed = parse(body, 4).unwrap();
        assert_eq!(
            failed[0],
            FailedItem { index: 1, status: 422, detail: "missing `ok`".to_owned() }
        );
        assert_eq!(
            failed.iter().map(FailedItem::kind).collect::<Vec<_>>(),
            [ErrorKind::Permanent, ErrorKind::Transient, ErrorKind::Failed, ErrorKind::Permanent]
        );
        assert_eq!(parse(br#"{"errors":[{"index":0,"status":201}]}"#, 1).unwrap(), []);
    }

    #[test]
    fn inconsistent_response_is_rejected() {
        let check = |body: &str, expected: &str| {
            let error = parse(body.as_bytes(), 2).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("<multistatus/>", "it is not JSON");
        check(r#"{"accepted":2,"duplicates":0}"#, "it is not JSON");
        check(r#"{"errors":[{"index":2,"status":422}]}"#, "it lists an event 2 of 2");
        check(
            r#"{"errors":[{"index":1,"status":422},{"index":1,"status":422}]}"#,
            "it lists an event 1 of 2",
        );
        check(
            r#"{"accepted":2,"duplicates":0,"errors":[{"index":1,"status":422}]}"#,
            "it counts 2 accepted and 1 failed",
        );
    }
}
