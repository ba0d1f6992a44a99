//! The table of names and what a number under each of them means.

use super::key::{Hash, Key};

/// Meaning of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Meaning {
    Count(Count),
    Cost(CostName),
    /// Cost of one kind of token, or of one part of the work.
    CostPart(CostPart),
    /// Part of a number that has another name, such as the audio tokens of a prompt. It is not
    /// added to anything.
    Known,
}

/// Count of tokens by what its name says.
///
/// *Within* and *beside* tell whether a name usually belongs to a count of which it is a part, or
/// to one that excludes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Count {
    /// Input including cached tokens, in the provider's own tokenization.
    NativePrompt,
    /// Input including cached tokens.
    Prompt,
    /// Input including cached tokens, in Ollama's own shape.
    PromptEval,
    /// Input that includes cached tokens for some producers and excludes them for others.
    Input,
    /// Input under the bare name `input`, which mostly excludes cached tokens.
    BareInput,
    /// Input that is neither read from a cache nor written to it.
    Fresh,
    ReadWithin,
    ReadBeside,
    WriteWithin,
    WriteBeside,
    /// Cache writes for five minutes.
    Write5m,
    /// Cache writes for an hour.
    Write1h,
    /// Results of tools that the provider feeds back as input.
    ToolInput,
    /// Output in the provider's own tokenization.
    NativeCompletion,
    Completion,
    Output,
    /// Output in Ollama's own shape.
    Eval,
    ReasoningWithin,
    ReasoningBeside,
    Total,
    /// Total under the bare name `total`.
    BareTotal,
}

impl Count {
    /// Number of counts, each of which has its discriminant as an index.
    pub(in super::super) const NUMBER: usize = Self::BareTotal as usize + 1;
}

/// Cost of all of the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct CostName {
    /// Of several costs in one object, that of the lowest rank counts.
    pub(in super::super) rank: u8,
    /// Units in a US dollar.
    pub(in super::super) per_usd: f64,
    /// True if the name may be that of the cost of anything, so that it is one of tokens beside
    /// tokens only.
    pub(in super::super) is_bare: bool,
}

impl CostName {
    /// Rank of a number under the name `usage`, which is a cost beside tokens only.
    pub(in super::super) const WEAK: u8 = 9;

    pub(super) const fn usd(rank: u8) -> Meaning {
        Meaning::Cost(Self { rank, per_usd: 1.0, is_bare: false })
    }

    pub(super) const fn bare(rank: u8) -> Meaning {
        Meaning::Cost(Self { rank, per_usd: 1.0, is_bare: true })
    }

    const fn fraction(per_usd: f64) -> Meaning {
        Meaning::Cost(Self { rank: 6, per_usd, is_bare: false })
    }
}

/// Part of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum CostPart {
    Input,
    Output,
    /// Any other part.
    Other,
    /// What the upstream provider charged to the caller's own key (OpenRouter).
    Upstream,
}

use Count::{
    Completion, Eval, Fresh, Input, NativeCompletion, NativePrompt, Output, Prompt, PromptEval,
    ReadBeside, ReadWithin, ReasoningBeside, ReasoningWithin, ToolInput, Total, Write1h, Write5m,
    WriteBeside, WriteWithin,
};
use Meaning::Known;

/// Names by meaning, as their producers write them. They are compared without case and separators,
/// so each stands for its variants: `prompt_tokens` for `promptTokens`, `prompt-tokens` and so on.
#[rustfmt::skip]
const NAMES: &[(Meaning, &[&str])] = &[
    (Meaning::Count(NativePrompt), &["native_tokens_prompt"]),
    (Meaning::Count(Prompt), &[
        "prompt_tokens", "promptTokenCount", "total_prompt_tokens", "tokens_prompt",
        "num_prompt_tokens", "prompt_llm_token_count", "tokens_evaluated",
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
        "llm.usage.prompt_tokens", "ai.usage.promptTokens", "ai.usage.inputTokens",
    ]),
    (Meaning::Count(PromptEval), &["prompt_eval_count"]),
    (Meaning::Count(Input), &[
        "input_tokens", "input_token_count", "inputTextTokenCount", "total_input_tokens",
        "tokens_input", "num_input_tokens", "tokens_in", "total_tokens_in", "in_tokens",
        "tokens_sent", "total_tokens_sent", "input_tokens_used", "request_tokens",
    ]),
    (Meaning::Count(Fresh), &[
        "prompt_cache_miss_tokens", "cache_miss_tokens", "noCacheTokens", "uncached_input_tokens",
        "uncached_prompt_tokens", "input_uncached_tokens", "nonCachedInputTokens",
        "fresh_input_tokens",
    ]),
    (Meaning::Count(ReadWithin), &[
        "cached_tokens", "cached_token_count", "cached_input_tokens", "cached_prompt_tokens",
        "total_cached_tokens", "num_cached_tokens", "tokens_cached", "native_tokens_cached",
        "cachedContentTokenCount", "prompt_cache_hit_tokens", "cache_hit_tokens",
        "cache_read_tokens", "cached_read_tokens", "prompt_eval_cached_count",
        "prompt_tokens_cached", "prompt_cached_tokens", "prompt_cache_read_tokens",
        "input_tokens_cached", "cached_prompt_token_count", "cached_input_token_count",
        "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.details.cache_read_tokens", "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input", "ai.usage.cachedInputTokens",
    ]),
    (Meaning::Count(ReadBeside), &[
        "cache_read_input_tokens", "cacheReadInputTokenCount", "total_cache_read_input_tokens",
        "total_cache_read_tokens", "input_cached_tokens", "input_cache_read",
        "input_cache_read_tokens", "cache_reads", "total_cache_reads", "cached_token_reads",
    ]),
    (Meaning::Count(WriteWithin), &[
        "cache_write_tokens", "cache_creation_tokens", "cached_write_tokens",
        "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.input_tokens.cache_write",
        "gen_ai.usage.details.cache_write_tokens", "llm.token_count.prompt_details.cache_write",
    ]),
    (Meaning::Count(WriteBeside), &[
        "cache_creation_input_tokens", "cacheCreationInputTokenCount", "cacheWriteInputTokens",
        "cacheWriteInputTokenCount", "total_cache_creation_input_tokens",
        "total_cache_creation_tokens", "total_cache_write_tokens", "input_cache_creation",
        "input_cache_creation_tokens", "input_cache_write", "cache_writes", "total_cache_writes",
        "cached_token_writes",
    ]),
    (Meaning::Count(Write5m), &[
        "ephemeral_5m_input_tokens", "cache_creation.ephemeral_5m_input_tokens",
        "cache_creation_5m_input_tokens", "cache_creation_5m_tokens", "input_cache_creation_5m",
        "cache_write_5m_tokens", "claude_cache_creation_5_m_tokens",
    ]),
    (Meaning::Count(Write1h), &[
        "ephemeral_1h_input_tokens", "cache_creation.ephemeral_1h_input_tokens",
        "cache_creation_1h_input_tokens", "cache_creation_1h_tokens", "input_cache_creation_1h",
        "cache_write_1h_tokens", "claude_cache_creation_1_h_tokens",
    ]),
    (Meaning::Count(ToolInput), &["toolUsePromptTokenCount", "total_tool_use_tokens"]),
    (Meaning::Count(NativeCompletion), &["native_tokens_completion"]),
    (Meaning::Count(Completion), &[
        "completion_tokens", "completion_token_count", "total_completion_tokens",
        "tokens_completion", "num_completion_tokens", "completion_llm_token_count",
        "candidatesTokenCount", "responseTokenCount", "gen_ai.usage.completion_tokens",
        "llm.token_count.completion", "llm.usage.completion_tokens", "ai.usage.completionTokens",
    ]),
    (Meaning::Count(Output), &[
        "output_tokens", "output_token_count", "total_output_tokens", "tokens_output",
        "num_output_tokens", "tokens_out", "total_tokens_out", "out_tokens", "tokens_received",
        "total_tokens_received", "output_tokens_used", "response_tokens", "generated_tokens",
        "generated_token_count", "generation_token_count", "num_generated_tokens",
        "tokens_predicted", "gen_ai.usage.output_tokens", "ai.usage.outputTokens",
    ]),
    (Meaning::Count(Eval), &["eval_count"]),
    (Meaning::Count(ReasoningWithin), &[
        "reasoning_tokens", "reasoning_token_count", "reasoning_output_tokens",
        "total_reasoning_tokens", "output_reasoning_tokens", "output_tokens_reasoning",
        "native_tokens_reasoning", "thinking_tokens", "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.details.reasoning_tokens", "llm.token_count.completion_details.reasoning",
        "ai.usage.reasoningTokens",
    ]),
    (Meaning::Count(ReasoningBeside), &[
        "thoughtsTokenCount", "thoughts_tokens", "thought_tokens", "total_thought_tokens",
    ]),
    (Meaning::Count(Total), &[
        "total_tokens", "total_token_count", "total_llm_token_count", "tokens_total",
        "tokens_used", "total_tokens_used", "token_count", "tokens", "gen_ai.usage.total_tokens",
        "llm.token_count.total", "llm.usage.total_tokens", "ai.usage.totalTokens",
    ]),
    (Known, &[
        "text_tokens", "audio_tokens", "image_tokens", "video_tokens", "document_tokens",
        "input_text_tokens", "input_audio_tokens", "input_image_tokens", "output_text_tokens",
        "output_audio_tokens", "output_image_tokens", "prompt_audio_tokens",
        "completion_audio_tokens", "cached_text_tokens", "cached_audio_tokens",
        "cached_image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens",
        "native_tokens_completion_images", "citation_tokens", "per_turn_token", "context_tokens",
        "total_embedding_token_count",
    ]),

    (CostName::usd(0), &["total_cost_usd", "total_cost_in_usd", "total_usd", "actual_cost_usd"]),
    (CostName::usd(1), &["cost_usd", "cost_in_usd", "usd_cost", "cost_dollars"]),
    (CostName::usd(2), &["gen_ai.cost.total_tokens", "llm.cost.total", "llm.usage.total_cost"]),
    (CostName::bare(2), &[
        "total_cost", "accumulated_cost", "cumulative_cost", "overall_cost", "actual_cost",
    ]),
    (CostName::usd(3), &[
        "response_cost", "gen_ai.usage.cost", "instance_cost", "llm_cost", "model_cost",
        "agent_cost", "spend_usd",
    ]),
    (CostName::bare(3), &[
        "operation.cost", "api_cost", "run_cost", "session_cost", "spend", "total_spend",
        "total_price",
    ]),
    (CostName::bare(4), &["cost"]),
    (CostName::usd(5), &["estimated_cost_usd"]),
    (CostName::bare(5), &["estimated_cost"]),
    (CostName::fraction(1e10), &["cost_in_usd_ticks", "total_cost_usd_ticks"]),
    (CostName::fraction(1e9), &["cost_nano_usd", "cost_usd_nanos"]),
    (CostName::fraction(1e6), &["cost_micro_usd", "cost_usd_micros", "cost_microdollars"]),
    (CostName::fraction(1e2), &[
        "cost_cents", "cost_in_cents", "cost_usd_cents", "total_cost_cents",
    ]),
    (CostName::bare(CostName::WEAK), &["usage"]),
    (Meaning::CostPart(CostPart::Input), &[
        "input_cost", "prompt_cost", "total_input_cost", "total_prompt_cost", "input_tokens_cost",
        "prompt_tokens_cost", "input_cost_usd", "prompt_cost_usd", "gen_ai.cost.input_tokens",
        "llm.cost.prompt",
    ]),
    (Meaning::CostPart(CostPart::Output), &[
        "output_cost", "completion_cost", "total_output_cost", "total_completion_cost",
        "output_tokens_cost", "completion_tokens_cost", "output_cost_usd", "completion_cost_usd",
        "gen_ai.cost.output_tokens", "llm.cost.completion",
    ]),
    (Meaning::CostPart(CostPart::Other), &[
        "cache_cost", "cache_read_cost", "cached_cost", "cache_write_cost", "cache_creation_cost",
        "prompt_cache_read_cost", "prompt_cache_write_cost", "reasoning_cost",
        "reasoning_tokens_cost", "citation_tokens_cost", "request_cost", "search_queries_cost",
        "tool_usage_cost", "tools_cost", "upstream_inference_prompt_cost",
        "upstream_inference_completions_cost", "upstream_inference_input_cost",
        "upstream_inference_output_cost", "original_cost",
    ]),
    (Meaning::CostPart(CostPart::Upstream), &["upstream_inference_cost"]),
];

/// Slots of the index. Twice as many as there are names keep chains short.
const SLOTS: usize = 1024;

/// Position of a name in [`NAMES`].
#[derive(Clone, Copy)]
struct Slot {
    hash: Hash,
    group: u8,
    name: u8,
}

/// Hash index of [`NAMES`]. A name stands in the first free slot from that of its hash on.
static INDEX: [Option<Slot>; SLOTS] = index();

const fn index() -> [Option<Slot>; SLOTS] {
    let mut index = [None; SLOTS];
    let mut group = 0;
    while group < NAMES.len() {
        let names = NAMES[group].1;
        let mut name = 0;
        while name < names.len() {
            let hash = Hash::of(names[name].as_bytes());
            let mut slot = hash.slot(SLOTS);
            while index[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            index[slot] = Some(Slot { hash, group: group as u8, name: name as u8 });
            name += 1;
        }
        group += 1;
    }
    index
}

/// Returns the meaning of a number under this key, wherever it stands.
pub(super) fn meaning(key: &Key) -> Option<Meaning> {
    let hash = key.hash();
    let mut at = hash.slot(SLOTS);
    while let Some(slot) = INDEX[at] {
        let (meaning, names) = NAMES[usize::from(slot.group)];
        if slot.hash == hash && is_same(names[usize::from(slot.name)], key) {
            return Some(meaning);
        }
        at = (at + 1) % SLOTS;
    }
    None
}

/// Compares a name with a key.
fn is_same(name: &str, key: &Key) -> bool {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|byte| byte.to_ascii_lowercase()).eq(key.as_bytes().iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::key;
    use super::*;

    #[test]
    fn each_name_is_found_in_every_spelling() {
        for (expected, names) in NAMES {
            for name in *names {
                let kebab = name.replace(['_', '.'], "-");
                let upper = name.to_uppercase();
                for spelling in [*name, &kebab, &upper, &format!(" {name}_")] {
                    let key = key(spelling).unwrap();
                    assert_eq!(meaning(&key), Some(*expected), "{spelling}");
                }
            }
        }
    }

    #[test]
    fn no_name_stands_in_the_table_twice() {
        let mut seen = BTreeSet::new();
        for name in NAMES.iter().flat_map(|(_, names)| *names) {
            assert!(seen.insert(key(name).unwrap().as_bytes().to_owned()), "{name}");
        }
        assert!(seen.len() * 2 <= SLOTS, "{} names", seen.len());
    }

    #[test]
    fn other_keys_have_no_meaning() {
        for other in ["model", "prompt", "max_tokens", "prompt_token", "tokensprompts", "x"] {
            assert_eq!(meaning(&key(other).unwrap()), None, "{other}");
        }
        for other in ["", "___", "prömpt_tokens", &"x".repeat(65)] {
            assert!(key(other).is_none(), "{other}");
        }
    }
}
