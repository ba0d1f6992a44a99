//! Schemas of what a stream consists of, for the OpenAPI document.

use utoipa::ToSchema;

use crate::routes::query::StoredEventSchema;

/// Block of a stream, as an object of its fields.
#[derive(ToSchema)]
#[schema(as = StreamBlock)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
pub(super) enum BlockSchema {
    Event(EventBlockSchema),
    Gap(GapBlockSchema),
    Position(PositionBlockSchema),
}

/// Event in its envelope.
#[derive(ToSchema)]
#[schema(as = StreamEvent)]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
pub(super) struct EventBlockSchema {
    id: PositionSchema,
    event: EventKindSchema,
    data: StoredEventSchema,
}

/// Events that the stream does not contain.
#[derive(ToSchema)]
#[schema(as = StreamGap)]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
pub(super) struct GapBlockSchema {
    id: PositionSchema,
    event: GapKindSchema,
    data: GapSchema,
}

/// Position without an event: the client may resume there.
#[derive(ToSchema)]
#[schema(as = StreamPosition)]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
pub(super) struct PositionBlockSchema {
    id: PositionSchema,
}

/// Position in the journal, for the header `Last-Event-ID`.
#[derive(ToSchema)]
#[schema(as = StreamId, pattern = "^[0-9]{1,20}-[0-9]{1,20}$")]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
struct PositionSchema(String);

/// Type of an event.
#[derive(ToSchema)]
#[schema(as = StreamEventType, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
enum EventKindSchema {
    Outcome,
    Phase,
}

/// Type of a gap.
#[derive(ToSchema)]
#[schema(as = StreamGapType, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
enum GapKindSchema {
    Gap,
}

/// Extent and reason of a gap. The extent is absent if the position is that of another journal.
#[derive(ToSchema)]
#[schema(as = Gap)]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
struct GapSchema {
    /// Sequence number of the first event that is missing.
    #[schema(nullable = false)]
    first: Option<u64>,
    /// Sequence number of the last one.
    #[schema(nullable = false)]
    last: Option<u64>,
    /// Number of events, of all sources.
    #[schema(nullable = false)]
    count: Option<u64>,
    reason: GapReasonSchema,
}

/// Reason of a gap.
#[derive(ToSchema)]
#[schema(as = GapReason, rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used; blocks are written byte for byte")]
enum GapReasonSchema {
    /// The journal no longer retains the events.
    Expired,
    /// The journal lost them.
    Lost,
    /// The client read too slowly.
    Slow,
    /// The position is that of another journal.
    Unknown,
}
