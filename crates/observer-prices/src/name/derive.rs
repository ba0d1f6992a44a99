//! Names derived from a name, under which the price of the same model may be listed.
//!
//! Only names that tell the seller are derived from: those of a vendor who alone sells its models,
//! whatever router they went through, and those of Bedrock and Vertex AI. A model with open weights
//! has as many prices as hosts, and a deployment on Azure any name at all.

/// Vendor who alone sells some models, or sells them at the same price everywhere.
struct Vendor {
    /// Names of the vendor before a slash or a colon.
    names: &'static [&'static str],
    /// Beginnings of the names of its models.
    models: &'static [&'static str],
    /// Beginnings of the names of its models that others sell too.
    open: &'static [&'static str],
    /// What stands before the names of its models in lists of prices; in the order of precedence.
    listed: &'static [&'static str],
}

const GEMINI: &[&str] = &["gemini-"];

const VENDORS: [Vendor; 5] = [
    Vendor { names: &["anthropic"], models: &["claude-"], open: &[], listed: &["", "anthropic/"] },
    Vendor {
        names: &["openai"],
        models: &["gpt-", "chatgpt-", "codex-", "o1", "o3", "o4"],
        open: &["gpt-oss"],
        listed: &["", "openai/"],
    },
    Vendor {
        names: &["google", "gemini", "google-gla", "google_genai", "models"],
        models: GEMINI,
        open: &[],
        listed: &["gemini/", "", "google/"],
    },
    Vendor {
        names: &["vertex_ai", "google-vertex", "google_vertexai"],
        models: GEMINI,
        open: &[],
        listed: &["vertex_ai/", ""],
    },
    Vendor {
        names: &["xai", "x-ai"],
        models: &["grok-"],
        open: &[],
        listed: &["xai/", "", "x-ai/"],
    },
];

impl Vendor {
    fn sells(&self, model: &str) -> bool {
        let begins = |beginnings: &[&str]| beginnings.iter().any(|start| model.starts_with(start));
        begins(self.models) && !begins(self.open)
    }
}

/// Suffixes that change neither the model nor its price: variants of OpenRouter, and Claude Code's
/// mark of a large context. The variants `:free`, `:batch`, `:thinking` and `:extended` have prices
/// of their own.
const SUFFIXES: [&str; 5] = [":nitro", ":floor", ":exacto", ":beta", "[1m]"];

/// Returns the names derived from one in its [spelling](super::spelling), in the order of
/// precedence and without the name itself.
pub(crate) fn derived(name: &str) -> Vec<String> {
    let mut forms = Vec::new();
    if let Some(model) = bedrock_id(name) {
        forms.push(model.to_owned());
    } else if let Some((publisher, model)) = vertex_resource(name) {
        forms.push(format!("vertex_ai/{model}"));
        if publisher == "google" && model.starts_with("gemini-") {
            forms.push(model.to_owned());
        }
    } else if let Some(base) = fine_tuned_base(name) {
        forms.push(base);
    } else if let Some((vendor, model)) = vendor_and_model(name) {
        for model in variations(model) {
            forms.extend(vendor.listed.iter().map(|prefix| format!("{prefix}{model}")));
        }
    }
    forms.retain(|form| form != name);
    forms
}

/// Returns whether a name in its spelling is that of a free variant at OpenRouter.
pub(crate) fn is_free(name: &str) -> bool {
    name.strip_suffix(":free").is_some_and(|model| model.contains('/'))
}

/// Returns the vendor that a name states or implies, and its model.
fn vendor_and_model(name: &str) -> Option<(&'static Vendor, &str)> {
    let name = name.strip_prefix("openrouter").and_then(strip_separator).unwrap_or(name);
    let name = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let stated = name.find(['/', ':']).map(|at| (&name[..at], &name[at + 1..]));
    let (vendor, model) = match stated {
        Some((vendor, model)) => {
            (VENDORS.iter().find(|known| known.names.contains(&vendor))?, model)
        }
        None => (VENDORS.iter().find(|known| known.sells(name))?, name),
    };
    (vendor.sells(model) && !model.contains(['/', ':'])).then_some((vendor, model))
}

fn strip_separator(text: &str) -> Option<&str> {
    text.strip_prefix(['/', ':'])
}

/// Returns the names of a vendor's model: its own, then without a date, each of Claude with the
/// words in either order (`claude-4-5-sonnet`, `claude-sonnet-4-5`).
fn variations(model: &str) -> Vec<String> {
    let mut all = vec![model.to_owned()];
    all.extend(swapped(model));
    if let Some((undated, _)) = split_date(model) {
        all.push(undated.to_owned());
        all.extend(swapped(undated));
    }
    all
}

/// Splits a date off the end of a name: `-20250929` or `-2025-09-29`.
fn split_date(name: &str) -> Option<(&str, &str)> {
    [11, 9].into_iter().find_map(|len| {
        let at = name.len().checked_sub(len).filter(|at| name.is_char_boundary(*at))?;
        let (undated, date) = name.split_at(at);
        (!undated.is_empty() && is_date(date)).then_some((undated, date))
    })
}

fn is_date(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('-') else { return false };
    let shape: String = digits.chars().map(|c| if c.is_ascii_digit() { 'd' } else { c }).collect();
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let digits = match shape.as_str() {
        "dddddddd" => digits.to_owned(),
        "dddd-dd-dd" => digits.replace('-', ""),
        _ => return false,
    };
    let (year, month, day) = (number(&digits[..4]), number(&digits[4..6]), number(&digits[6..]));
    (2020..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Returns a name of Claude with model and version in the other order.
fn swapped(name: &str) -> Option<String> {
    let (name, date) = split_date(name).unwrap_or((name, ""));
    let words: Vec<&str> = name.strip_prefix("claude-")?.split('-').collect();
    let is_number = |word: &&str| word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
    let is_version = |words: &[&str]| (1..=2).contains(&words.len()) && words.iter().all(is_number);
    match words.as_slice() {
        [model, version @ ..] if !is_number(model) && is_version(version) => {
            Some(format!("claude-{}-{model}{date}", version.join("-")))
        }
        [version @ .., model] if !is_number(model) && is_version(version) => {
            Some(format!("claude-{model}-{}{date}", version.join("-")))
        }
        _ => None,
    }
}

/// Returns Bedrock's own id of a model out of an ARN, or after the prefix that LiteLLM puts before
/// it.
fn bedrock_id(name: &str) -> Option<&str> {
    let id = if name.starts_with("arn:aws") && name.contains(":bedrock:") {
        name.rsplit_once('/')?.1
    } else {
        let id = name.strip_prefix("bedrock/")?;
        id.strip_prefix("converse/").unwrap_or(id)
    };
    // Such an id begins with the vendor: `anthropic.claude-…`, `us.anthropic.claude-…`.
    (id.contains('.') && !id.contains('/')).then_some(id)
}

/// Returns publisher and model of a resource name of Vertex AI:
/// `projects/…/publishers/google/models/gemini-2.5-pro`.
fn vertex_resource(name: &str) -> Option<(&str, &str)> {
    let resource = match name.find("/publishers/") {
        Some(at) => &name[at + 1..],
        None => name,
    };
    let (publisher, model) = resource.strip_prefix("publishers/")?.split_once("/models/")?;
    (!model.contains('/')).then_some((publisher, model))
}

/// Returns the entry for models that were fine-tuned from the same one:
/// `ft:gpt-4o-2024-08-06:org:name:id` is priced as `ft:gpt-4o-2024-08-06`.
fn fine_tuned_base(name: &str) -> Option<String> {
    let (base, _) = name.strip_prefix("ft:")?.split_once(':')?;
    Some(format!("ft:{base}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[&str]) {
        assert_eq!(derived(name), expected, "{name}");
    }

    #[test]
    fn vendor_is_recognised_through_routers_and_without_a_prefix() {
        check("gpt-5", &["openai/gpt-5"]);
        check("openai/gpt-5", &["gpt-5"]);
        check("openai:gpt-5", &["gpt-5", "openai/gpt-5"]);
        check("openrouter/openai/gpt-5", &["gpt-5", "openai/gpt-5"]);
        check("openrouter:openai/o3-mini:nitro", &["o3-mini", "openai/o3-mini"]);
        check("gemini-2-5-pro", &["gemini/gemini-2-5-pro", "google/gemini-2-5-pro"]);
        check(
            "models/gemini-2-5-pro",
            &["gemini/gemini-2-5-pro", "gemini-2-5-pro", "google/gemini-2-5-pro"],
        );
        check("google-vertex:gemini-2-5-pro", &["vertex_ai/gemini-2-5-pro", "gemini-2-5-pro"]);
        check("grok-4-3", &["xai/grok-4-3", "x-ai/grok-4-3"]);
        check("x-ai/grok-4-3", &["xai/grok-4-3", "grok-4-3"]);
    }

    #[test]
    fn date_and_mark_are_dropped_and_words_of_claude_are_swapped() {
        check(
            "claude-sonnet-4-5-20250929",
            &[
                "anthropic/claude-sonnet-4-5-20250929",
                "claude-4-5-sonnet-20250929",
                "anthropic/claude-4-5-sonnet-20250929",
                "claude-sonnet-4-5",
                "anthropic/claude-sonnet-4-5",
                "claude-4-5-sonnet",
                "anthropic/claude-4-5-sonnet",
            ],
        );
        check(
            "claude-opus-4-6[1m]",
            &[
                "claude-opus-4-6",
                "anthropic/claude-opus-4-6",
                "claude-4-6-opus",
                "anthropic/claude-4-6-opus",
            ],
        );
        check("gpt-4o-2024-05-13", &["openai/gpt-4o-2024-05-13", "gpt-4o", "openai/gpt-4o"]);
    }

    #[test]
    fn only_a_version_and_one_word_are_swapped() {
        for (name, expected) in [
            ("claude-4-sonnet", Some("claude-sonnet-4")),
            ("claude-sonnet-4", Some("claude-4-sonnet")),
            ("claude-3-5-haiku-20241022", Some("claude-haiku-3-5-20241022")),
            ("claude-2", None),
            ("claude-2-1", None),
            ("claude-instant", None),
            ("claude-instant-v1", None),
            ("claude-opus-4-8-fast", None),
            ("claude-4-sonnet-5", None),
            ("gpt-4-mini", None),
        ] {
            assert_eq!(swapped(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn only_a_date_is_dropped() {
        for (name, expected) in [
            ("a-20250929", Some("a")),
            ("a-2025-09-29", Some("a")),
            ("a-2025-9-29", None),
            ("a-20251329", None),
            ("a-12345678", None),
            ("gpt-4-0613", None),
            ("-20250929", None),
            ("20250929", None),
            ("ä0250929", None),
        ] {
            assert_eq!(split_date(name).map(|(undated, _)| undated), expected, "{name}");
        }
    }

    #[test]
    fn ids_of_clouds_are_found_in_their_resource_names() {
        check("bedrock/us.anthropic.claude-x-v1:0", &["us.anthropic.claude-x-v1:0"]);
        check("bedrock/converse/anthropic.claude-x", &["anthropic.claude-x"]);
        check(
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0",
            &["anthropic.claude-x-v1:0"],
        );
        check(
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x",
            &["us.anthropic.claude-x"],
        );
        check(
            "publishers/anthropic/models/claude-opus-4-6-default",
            &["vertex_ai/claude-opus-4-6-default"],
        );
        check(
            "projects/p/locations/l/publishers/google/models/gemini-2-5-pro",
            &["vertex_ai/gemini-2-5-pro", "gemini-2-5-pro"],
        );
        check("ft:gpt-4o-2024-08-06:org:name:id", &["ft:gpt-4o-2024-08-06"]);
    }

    #[test]
    fn nothing_is_derived_from_names_that_do_not_tell_the_seller() {
        for name in [
            "",
            "gpt-oss:120b",
            "gpt-oss-120b",
            "openai/gpt-oss-120b",
            "google/gemma-3-27b-it",
            "ollama/gpt-5",
            "azure/gpt-5",
            "github_copilot/gpt-5",
            "bedrock/claude-sonnet-4-5",
            "bedrock/us-east-1/anthropic.claude-x",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc",
            "deepseek/deepseek-chat",
            "meta-llama/llama-3-3-70b-instruct:free",
            "anthropic/claude-3-7-sonnet:thinking",
            "openai/gpt-5:batch",
            "openai/azure/gpt-5",
            "anthropic/gpt-5",
            "ft:gpt-4o",
            "openrouter/auto",
            "qwen3:8b",
            "llama3",
        ] {
            check(name, &[]);
        }
    }

    #[test]
    fn free_variant_needs_a_vendor() {
        assert!(is_free("meta-llama/llama-3-3-70b-instruct:free"));
        assert!(!is_free("llama3:free"));
        assert!(!is_free("a/b:freed"));
    }
}
