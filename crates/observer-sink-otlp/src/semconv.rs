//! Names of attributes, events and scopes.
//!
//! `service.*`, `gen_ai.*` and `error.type` are names of the OpenTelemetry semantic conventions in
//! [`VERSION`]; `observer.*` are names of the observer.

/// Version of the semantic conventions.
pub const VERSION: &str = "1.41.0";
/// Schema URL of that version, which each resource and scope carries.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";

/// Name of the instrumentation scope.
pub const SCOPE: &str = "observer";
/// Event name of the log record of an outcome.
pub const OUTCOME: &str = "observer.cycle.outcome";
/// Event name of the log record of a phase.
pub const PHASE: &str = "observer.cycle.phase";
/// Source whose cycles are invocations of an agent.
pub const AGENT: &str = "bot";

/// Resource attribute: name of the service that sends.
pub const SERVICE_NAME: &str = "service.name";
/// Resource attribute: version of that service.
pub const SERVICE_VERSION: &str = "service.version";

/// Operation of an agent: [`INVOKE_AGENT`].
pub const OPERATION_NAME: &str = "gen_ai.operation.name";
/// Value of [`OPERATION_NAME`], and the first word of the span's name.
pub const INVOKE_AGENT: &str = "invoke_agent";
/// Value of [`OPERATION_NAME`] for calls to a model, and the first word of their span's name.
pub const CHAT: &str = "chat";
/// Name of the provider of the model, where it is known.
pub const PROVIDER_NAME: &str = "gen_ai.provider.name";
/// Name of the agent.
pub const AGENT_NAME: &str = "gen_ai.agent.name";
/// Name of the model: `staffer_id`.
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
/// Number of input tokens, including cached ones.
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Number of input tokens that were read from a cache.
pub const CACHE_READ_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Number of input tokens that were written to a cache.
pub const CACHE_CREATION_INPUT_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Number of output tokens, including reasoning.
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Number of output tokens that were used for reasoning.
pub const REASONING_OUTPUT_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
/// Class of the error: `event_kind` of an event that is not `ok`.
pub const ERROR_TYPE: &str = "error.type";

/// Id of the event, by which a receiver recognises a repeat.
pub const EVENT_ID: &str = "observer.event.id";
/// Field `cycle_id`.
pub const CYCLE_ID: &str = "observer.cycle.id";
/// Field `sig_hash`.
pub const SIG_HASH: &str = "observer.sig_hash";
/// Field `source`.
pub const EVENT_SOURCE: &str = "observer.source";
/// Field `event_kind`.
pub const EVENT_KIND: &str = "observer.event_kind";
/// Field `ok`.
pub const OK: &str = "observer.ok";
/// Field `staffer_id`.
pub const STAFFER_ID: &str = "observer.staffer_id";
/// Field `turns`.
pub const TURNS: &str = "observer.turns";
/// Field `duration_ms`.
pub const DURATION_MS: &str = "observer.duration_ms";
/// Field `id` as the producer sent it.
pub const PRODUCERS_ID: &str = "observer.id";
/// Cost in US dollars.
pub const COST_USD: &str = "observer.cost_usd";
/// Field `attempt`.
pub const ATTEMPT: &str = "observer.attempt";
/// Field `replaces`.
pub const REPLACES: &str = "observer.replaces";
/// Prefix of the names of labels.
pub const LABEL: &str = "observer.label.";
/// Prefix of the names of all other fields.
pub const OTHER_FIELD: &str = "observer.fields.";
