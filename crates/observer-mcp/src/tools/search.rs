//! `search`: events by filter, or one event by its id.

use jiff::tz::TimeZone;
use observer_core::query::{EventPage, EventRequest, EventsRequest, QueryError, StoredEvent};

use super::{Call, event};
use crate::answer::{Budget, DATA, lines, more, row};
use crate::cells::{age, name, optional};
use crate::definition::{CURSOR, Definition, Kind, MAX_CHARS, MODEL, Parameter, SOURCE, UNTIL};

pub(super) const DEFINITION: Definition = Definition {
    name: "search",
    description: "Events, newest first: id,age,source,event_kind,ok,model,sig_hash. With id, one \
                  event whole.",
    parameters: &[
        Parameter::new("id", Kind::Text, "With source at most"),
        SOURCE,
        Parameter::new("event_kind", Kind::Text, ""),
        Parameter::new("ok", Kind::Flag, ""),
        Parameter::new("sig_hash", Kind::Text, ""),
        Parameter::new("cycle_id", Kind::Text, ""),
        MODEL,
        Parameter::new("labels", Kind::Labels, ""),
        Parameter::new("since", Kind::Text, "Time of receipt, date or age"),
        UNTIL,
        Parameter::new("limit", Kind::Count { min: 1, max: 50 }, "Default 10"),
        CURSOR,
        MAX_CHARS,
    ],
};

/// Largest number of rows, if the call has none.
const DEFAULT_LIMIT: usize = 10;
/// Parameters that may stand beside `id`.
const BESIDE_ID: [&str; 3] = ["id", "source", "max_chars"];

pub(super) async fn answer(call: &Call<'_>) -> Result<String, QueryError> {
    match call.arguments.text("id")? {
        Some(id) => one(call, id).await,
        None => page(call).await,
    }
}

async fn one(call: &Call<'_>, id: String) -> Result<String, QueryError> {
    if let Some(other) = call.arguments.names().find(|name| !BESIDE_ID.contains(name)) {
        let detail = format!("can't stand beside `{other}`; leave one of them out");
        return Err(QueryError::bad_request("id", detail));
    }
    let budget = Budget::long(&call.arguments)?;
    let source = call.arguments.text("source")?;
    let stored = call.store.event(EventRequest { scope: call.scope.clone(), id, source }).await?;
    Ok(event::render(&stored, budget))
}

async fn page(call: &Call<'_>) -> Result<String, QueryError> {
    let budget = Budget::of(&call.arguments)?;
    let mut request = request(call)?;
    loop {
        let page = call.store.events(request.clone()).await?;
        let count = budget.largest(page.events.len(), 1, |count| render(call, &page, count));
        if count >= page.events.len() {
            return Ok(render(call, &page, count));
        }
        // A shorter page has the cursor of the rest.
        request.limit = count;
    }
}

fn request(call: &Call<'_>) -> Result<EventsRequest, QueryError> {
    let arguments = &call.arguments;
    let (since, until) = arguments.window(None, &TimeZone::UTC)?;
    Ok(EventsRequest {
        scope: call.scope.clone(),
        source: arguments.texts("source")?,
        event_kind: arguments.texts("event_kind")?,
        ok: arguments.flag("ok")?,
        sig_hash: arguments.texts("sig_hash")?,
        cycle_id: arguments.texts("cycle_id")?,
        staffer_id: arguments.texts("model")?,
        labels: arguments.labels("labels")?,
        since,
        until,
        limit: arguments.count("limit")?.unwrap_or(DEFAULT_LIMIT),
        cursor: arguments.text("cursor")?,
    })
}

fn render(call: &Call<'_>, page: &EventPage, count: usize) -> String {
    if page.events.is_empty() {
        return "No event matches; leave out a condition.".to_owned();
    }
    let rows = page.events.iter().take(count).map(|stored| {
        let StoredEvent { envelope, .. } = stored;
        let event = &envelope.event;
        row([
            envelope.id.to_string(),
            age(envelope.received_at, call.arguments.now),
            name(event.source()),
            name(event.event_kind()),
            event.ok().map_or_else(String::new, |ok| ok.to_string()),
            optional(event.staffer_id()),
            optional(event.sig_hash()),
        ])
    });
    let head = [DATA.to_owned(), "id,age,source,event_kind,ok,model,sig_hash".to_owned()];
    lines(head.into_iter().chain(rows).chain(more(page.cursor.as_deref())))
}
