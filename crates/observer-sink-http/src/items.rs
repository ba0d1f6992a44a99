//! What a 207 says of each event, in the form of an observer's own `/v1/events`.

use observer_core::ErrorKind;
use serde::Deserialize;

use crate::answer::{Verdict, judge};

/// An event that was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadItem {
    /// Its place in the request.
    pub(crate) index: usize,
    pub(crate) status: u16,
    pub(crate) said: String,
}

#[derive(Deserialize)]
struct Told {
    accepted: Option<u64>,
    duplicates: Option<u64>,
    errors: Vec<ToldItem>,
}

#[derive(Deserialize)]
struct ToldItem {
    index: usize,
    status: u16,
    #[serde(default)]
    detail: String,
}

/// Those of `count` events that were not accepted.
///
/// # Errors
/// What is wrong with the answer: then nothing is known of any event.
pub(crate) fn read(body: &[u8], count: usize) -> Result<Vec<BadItem>, String> {
    let Told { accepted, duplicates, errors } = serde_json::from_slice(body)
        .map_err(|_| "it is no JSON of the form {\"errors\":[{\"index\":…,\"status\":…}]}")?;
    let mut seen = vec![false; count];
    for item in &errors {
        match seen.get_mut(item.index) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(format!(
                    "it names an event {} of {count}, or names it twice",
                    item.index
                ));
            }
        }
    }
    let good =
        accepted.zip(duplicates).map(|(accepted, duplicates)| accepted.saturating_add(duplicates));
    if let Some(good) = good.filter(|good| good.saturating_add(errors.len() as u64) != count as u64)
    {
        return Err(format!("it counts {good} good and {} bad events of {count}", errors.len()));
    }
    let bad = errors.into_iter().filter(|item| !(200..300).contains(&item.status));
    Ok(bad
        .map(|ToldItem { index, status, detail }| BadItem { index, status, said: detail })
        .collect())
}

impl BadItem {
    /// Whether it may be accepted later. Any other refusal is the event's own: the request was good
    /// enough for others.
    pub(crate) fn may_work_later(&self) -> bool {
        judge(self.status) == Verdict::Failed(ErrorKind::Transient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observers_answer_names_the_bad_ones() {
        let body = br#"{"accepted":1,"duplicates":1,"rejected":2,"durability":"fsync","errors":[
            {"index":1,"status":422,"reason":"invalid","detail":"missing `ok`","field":"ok"},{"index":3,"status":503}]}"#;
        let bad = read(body, 4).unwrap();
        assert_eq!(bad[0], BadItem { index: 1, status: 422, said: "missing `ok`".to_owned() });
        assert_eq!(bad.iter().map(BadItem::may_work_later).collect::<Vec<_>>(), [false, true]);
        assert_eq!(read(br#"{"errors":[{"index":0,"status":201}]}"#, 1).unwrap(), []);
    }

    #[test]
    fn an_answer_about_something_else_says_nothing() {
        let check = |body: &str, expected: &str| {
            let error = read(body.as_bytes(), 2).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("<multistatus/>", "it is no JSON");
        check(r#"{"accepted":2,"duplicates":0}"#, "it is no JSON");
        check(r#"{"errors":[{"index":2,"status":422}]}"#, "it names an event 2 of 2");
        check(
            r#"{"errors":[{"index":1,"status":422},{"index":1,"status":422}]}"#,
            "it names an event 1 of 2",
        );
        check(
            r#"{"accepted":2,"duplicates":0,"errors":[{"index":1,"status":422}]}"#,
            "it counts 2 good and 1 bad",
        );
    }
}
