//! Warnings about fields in the responses to accepted events.

use std::borrow::Cow;

use observer_core::FieldWarning;
use serde::Serialize;
use utoipa::ToSchema;

/// Limit of the warnings in the response to a batch.
const MAX_BATCH_WARNINGS: usize = 100;

/// Warning about a field of an event that is stored nevertheless.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Warning {
    /// Name of the field.
    field: &'static str,
    /// Problem and consequence.
    detail: Cow<'static, str>,
}

/// Warning about a field of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchWarning {
    /// Index among the items of the request, from 0.
    index: usize,
    /// Name of the field.
    field: &'static str,
    /// Problem and consequence.
    detail: Cow<'static, str>,
}

/// Warnings about the events of a batch, of which the first 100 that are added are kept.
#[derive(Debug, Default)]
pub(super) struct BatchWarnings {
    first: Vec<BatchWarning>,
    total: usize,
}

impl BatchWarnings {
    /// Adds warnings about an event.
    pub(super) fn add(&mut self, index: usize, warnings: Vec<FieldWarning>) {
        self.total += warnings.len();
        let room = MAX_BATCH_WARNINGS - self.first.len();
        let warnings = warnings.into_iter().take(room);
        self.first.extend(warnings.map(|FieldWarning { field, detail }| BatchWarning {
            index,
            field,
            detail,
        }));
    }

    /// Returns the warnings that are kept, in the order of the events.
    pub(super) fn into_first(mut self) -> Vec<BatchWarning> {
        self.first.sort_by_key(|warning| warning.index);
        self.first
    }

    /// Returns the number of warnings if only a part of them is kept.
    pub(super) fn total_if_more(&self) -> Option<usize> {
        (self.total > self.first.len()).then_some(self.total)
    }
}

/// Returns the member `warnings` of a response with a comma before it, as JSON.
pub(super) fn member(warnings: Vec<FieldWarning>) -> String {
    let warnings = warnings.into_iter();
    let warnings: Vec<_> =
        warnings.map(|FieldWarning { field, detail }| Warning { field, detail }).collect();
    let json = serde_json::to_string(&warnings).expect("strings serialize to JSON");
    format!(r#","warnings":{json}"#)
}
