//! The names of what is sent, in one place.
//!
//! `gen_ai.*` and `error.type` are those of the OpenTelemetry semantic conventions in [`VERSION`];
//! `observer.*` are the observer's own.

/// Of the semantic conventions.
pub const VERSION: &str = "1.41.0";
/// Which says the same to the far side.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";

/// The name of the instrumentation scope.
pub const SCOPE: &str = "observer";
/// The event name of a log record.
pub const EVENT_NAME: &str = "observer.cycle.outcome";
/// The source that is an agent: its cycles are invocations.
pub const AGENT: &str = "bot";

/// Resource: who sends.
pub const SERVICE_NAME: &str = "service.name";
/// The same, in which version.
pub const SERVICE_VERSION: &str = "service.version";

/// What is done: [`INVOKE_AGENT`].
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// Value of [`OPERATION_NAME`], and the first word of the span's name.
pub const INVOKE_AGENT: &str = "invoke_agent";
/// Which agent.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// Which model: `staffer_id`.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Tokens that the model read, cached ones among them.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Those of them that came from a cache.
pub const CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Those of them that went into one.
pub const CACHE_CREATION_INPUT_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Tokens that the model wrote.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// What went wrong: `event_kind`, unless `ok`.
pub const ERROR_TYPE: &str = "error.type";

/// The event's id, by which a repeat is known.
pub const EVENT_ID: &str = "observer.event.id";
/// `cycle_id`.
pub const CYCLE_ID: &str = "observer.cycle.id";
/// `sig_hash`.
pub const SIG_HASH: &str = "observer.sig_hash";
/// `source`.
pub const EVENT_SOURCE: &str = "observer.source";
/// `event_kind`.
pub const EVENT_KIND: &str = "observer.event_kind";
/// `ok`.
pub const OK: &str = "observer.ok";
/// `staffer_id`.
pub const STAFFER_ID: &str = "observer.staffer_id";
/// `turns`.
pub const TURNS: &str = "observer.turns";
/// `duration_ms`.
pub const DURATION_MS: &str = "observer.duration_ms";
/// `id`, as the producer sent it.
pub const PRODUCERS_ID: &str = "observer.id";
/// The cost, in US dollars.
pub const COST_USD: &str = "observer.cost_usd";
/// Before the name of a field that no one knows.
pub const OTHER_FIELD: &str = "observer.fields.";
