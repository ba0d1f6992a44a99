//! Tokens of one call or of several, in one shape for every producer.

use super::names::Count;

/// Tokens with the inclusions of [`Usage`](super::Usage): `input` includes both kinds of cached
/// tokens, and `output` includes reasoning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) written: u64,
    pub(super) written_1h: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
    /// True if the names are those of Ollama.
    pub(super) is_local: bool,
    /// True if both input and output were reported.
    pub(super) is_complete: bool,
}

/// How much tokens say. A better place takes precedence over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    Absent,
    /// All counts are 0.
    Zero,
    /// Input or output is missing.
    Partial,
    Complete,
}

impl Tokens {
    fn quality(tokens: Option<&Self>) -> Quality {
        match tokens {
            None => Quality::Absent,
            Some(tokens) if tokens.input == 0 && tokens.output == 0 => Quality::Zero,
            Some(tokens) if tokens.is_complete => Quality::Complete,
            Some(_) => Quality::Partial,
        }
    }

    /// Returns whether `other` says more than `tokens`.
    pub(super) fn is_better(other: Option<&Self>, tokens: Option<&Self>) -> bool {
        Self::quality(other) > Self::quality(tokens)
    }

    /// Returns whether these tokens count, that is, are not all 0.
    pub(super) fn is_used(&self) -> bool {
        self.input > 0 || self.output > 0
    }

    /// Adds the tokens of another call.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.input, other.input),
            (&mut self.cached, other.cached),
            (&mut self.written, other.written),
            (&mut self.written_1h, other.written_1h),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
        ] {
            *sum = sum.saturating_add(count);
        }
        self.is_local &= other.is_local;
        self.is_complete |= other.is_complete;
    }

    /// Returns whether these may be the tokens of the same response at a later time, given the
    /// earlier ones: counts of a stream never fall.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        let falls = |earlier: u64, later: u64| 0 < later && later < earlier;
        !falls(earlier.input, self.input) && !falls(earlier.output, self.output)
    }

    /// Takes later counts of the same response. What they leave out stays.
    pub(super) fn advance(&mut self, later: &Self) {
        for (count, later) in [
            (&mut self.input, later.input),
            (&mut self.cached, later.cached),
            (&mut self.written, later.written),
            (&mut self.written_1h, later.written_1h),
            (&mut self.output, later.output),
            (&mut self.reasoning, later.reasoning),
        ] {
            *count = later.max(*count);
        }
        self.is_local &= later.is_local;
        self.is_complete |= later.is_complete;
        self.limit_parts();
    }

    /// Returns whether `other` has more tokens in one direction and no fewer in the other one.
    pub(super) fn is_exceeded_by(&self, other: &Self) -> bool {
        let (counts, others) = ((self.input, self.output), (other.input, other.output));
        counts != others && others.0 >= counts.0 && others.1 >= counts.1
    }

    /// Takes the parts that these tokens lack from partial tokens that stand beside them.
    pub(super) fn take_parts(&mut self, partial: &Self) {
        if self.cached == 0 {
            self.cached = partial.cached;
        }
        if self.written == 0 {
            (self.written, self.written_1h) = (partial.written, partial.written_1h);
        }
        if self.reasoning == 0 {
            self.reasoning = partial.reasoning;
        }
        self.limit_parts();
    }

    /// Limits each part to that of which it is a part. A producer may report more.
    fn limit_parts(&mut self) {
        self.cached = self.cached.min(self.input);
        self.written = self.written.min(self.input - self.cached);
        self.written_1h = self.written_1h.min(self.written);
        self.reasoning = self.reasoning.min(self.output);
    }
}

/// Counts of one object, by the meaning of their names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts([Option<u64>; Count::NUMBER]);

/// Names of the input, in the order of precedence.
const INPUTS: [Count; 5] =
    [Count::NativePrompt, Count::Prompt, Count::PromptEval, Count::Input, Count::BareInput];
/// Names of the output, in the order of precedence.
const OUTPUTS: [Count; 4] =
    [Count::NativeCompletion, Count::Completion, Count::Output, Count::Eval];

/// Input or output as two readings of the names.
#[derive(Clone, Copy)]
struct Readings {
    /// Reading that the names suggest.
    by_name: u64,
    /// Reading in which parts that the first one includes stand beside it, or the reverse.
    other: u64,
}

impl Counts {
    /// Sets a count. Of several numbers the last one counts, except that 0 overrides nothing.
    pub(super) fn set(&mut self, count: Count, number: u64) {
        let slot = &mut self.0[count as usize];
        if number > 0 || slot.is_none() {
            *slot = Some(number);
        }
    }

    /// Sets a count that has no number yet.
    pub(super) fn set_if_absent(&mut self, count: Count, number: u64) {
        self.0[count as usize].get_or_insert(number);
    }

    /// Adds to a count.
    pub(super) fn add(&mut self, count: Count, number: u64) {
        let slot = &mut self.0[count as usize];
        *slot = Some(slot.unwrap_or(0).saturating_add(number));
    }

    fn get(&self, count: Count) -> Option<u64> {
        self.0[count as usize]
    }

    /// Returns the first count that is not 0, or else the first count.
    fn first(&self, counts: &[Count]) -> Option<(Count, u64)> {
        let mut present = counts.iter().filter_map(|count| Some((*count, self.get(*count)?)));
        let first = present.next()?;
        if first.1 > 0 { Some(first) } else { present.find(|other| other.1 > 0).or(Some(first)) }
    }

    /// Returns whether there is input, and whether there is output.
    pub(super) fn has_input_and_output(&self) -> (bool, bool) {
        let has = |counts: &[Count]| counts.iter().any(|count| self.get(*count).is_some());
        (has(&INPUTS), has(&OUTPUTS))
    }

    /// Returns the total, or 0.
    pub(super) fn total(&self) -> u64 {
        self.get(Count::Total).unwrap_or(0)
    }

    /// Returns the tokens, or `None` if there are none or only a total.
    pub(super) fn resolve(&self) -> Option<Tokens> {
        use Count::{
            BareTotal, Eval, Fresh, PromptEval, ReadBeside, ReadWithin, ReasoningBeside,
            ReasoningWithin, Total, Write1h, Write5m, WriteBeside, WriteWithin,
        };
        let input = self.first(&INPUTS);
        let output = self.first(&OUTPUTS);
        let read = self.first(&[ReadWithin, ReadBeside]);
        let written_1h = self.get(Write1h);
        let by_time = written_1h.unwrap_or(0).saturating_add(self.get(Write5m).unwrap_or(0));
        let written = self.first(&[WriteWithin, WriteBeside]);
        let has_cache = read.or(written).is_some() || by_time > 0;
        let reasoning = self.first(&[ReasoningWithin, ReasoningBeside]);
        if input.or(output).or(reasoning).is_none() && !has_cache && self.get(Fresh).is_none() {
            return None;
        }
        let (cached, written) = (number(read), number(written).max(by_time));
        let reasoning_tokens = number(reasoning);
        let inputs = self.input_readings(input, cached.saturating_add(written));
        let outputs = output_readings(output, reasoning);
        let total = self.first(&[Total, BareTotal]).map(|(_, total)| total);
        let total = total.filter(|total| *total > 0);
        let (input_tokens, output_tokens) = self.choose(inputs, outputs, total);
        let has_input = input.is_some() || has_cache || self.get(Fresh).is_some();
        let mut tokens = Tokens {
            input: input_tokens,
            cached,
            written,
            written_1h: written_1h.unwrap_or(0),
            output: output_tokens,
            reasoning: reasoning_tokens,
            is_local: input.is_none_or(|(name, _)| name == PromptEval)
                && output.is_none_or(|(name, _)| name == Eval)
                && input.or(output).is_some(),
            is_complete: (has_input && output.or(reasoning).is_some()) || total.is_some(),
        };
        tokens.limit_parts();
        Some(tokens)
    }

    /// Returns the input with the cached tokens within it and beside it.
    fn input_readings(&self, input: Option<(Count, u64)>, cache: u64) -> Option<Readings> {
        let fresh = self.get(Count::Fresh);
        let Some((name, base)) = input else {
            let parts = fresh.unwrap_or(0).saturating_add(cache);
            return (fresh.is_some() || cache > 0)
                .then_some(Readings { by_name: parts, other: parts });
        };
        let (within, beside) = (base, base.saturating_add(cache));
        let is_within = if let Some(fresh) = fresh.filter(|_| cache > 0) {
            fresh != base
        } else {
            match name {
                Count::Input if self.has_within() => cache <= base,
                Count::Input => !self.has_beside() && cache <= base,
                Count::BareInput => cache == 0,
                _ => true,
            }
        };
        let (by_name, other) = if is_within { (within, beside) } else { (beside, within) };
        Some(Readings { by_name, other })
    }

    fn has_within(&self) -> bool {
        self.get(Count::ReadWithin).or(self.get(Count::WriteWithin)).is_some()
    }

    fn has_beside(&self) -> bool {
        [Count::ReadBeside, Count::WriteBeside, Count::Write5m, Count::Write1h]
            .into_iter()
            .any(|count| self.get(count).is_some())
    }

    /// Chooses the readings that add up to the total, or else those that the names suggest.
    /// Without one of both, the total tells it.
    fn choose(
        &self,
        inputs: Option<Readings>,
        outputs: Option<Readings>,
        total: Option<u64>,
    ) -> (u64, u64) {
        let tool = self.get(Count::ToolInput).unwrap_or(0);
        let (Some(inputs), Some(outputs)) = (inputs, outputs) else {
            let input = inputs.map(|readings| readings.by_name.saturating_add(tool));
            let output = outputs.map(|readings| readings.by_name);
            let rest = |known: u64| total.unwrap_or(0).saturating_sub(known);
            return match (input, output) {
                (Some(input), _) => (input, output.unwrap_or_else(|| rest(input))),
                (None, Some(output)) => (rest(output), output),
                (None, None) => (0, 0),
            };
        };
        let all = |input: u64, output: u64, tool: u64| (input.saturating_add(tool), output);
        let by_name = all(inputs.by_name, outputs.by_name, tool);
        let others = [
            all(inputs.by_name, outputs.other, tool),
            all(inputs.other, outputs.by_name, tool),
            all(inputs.other, outputs.other, tool),
            all(inputs.by_name, outputs.by_name, 0),
        ];
        [by_name]
            .into_iter()
            .chain(others)
            .find(|(input, output)| total == input.checked_add(*output))
            .unwrap_or(by_name)
    }
}

/// Returns the output with the reasoning within it and beside it.
fn output_readings(
    output: Option<(Count, u64)>,
    reasoning: Option<(Count, u64)>,
) -> Option<Readings> {
    let Some((_, base)) = output else {
        return reasoning.map(|(_, number)| Readings { by_name: number, other: number });
    };
    let (within, beside) = (base, base.saturating_add(number(reasoning)));
    let is_within = match reasoning {
        // More reasoning than output can't be within it, whatever the total says: Perplexity's
        // total excludes the reasoning of deep research.
        Some((_, reasoning)) if reasoning > base => {
            return Some(Readings { by_name: beside, other: beside });
        }
        Some((name, _)) => name != Count::ReasoningBeside,
        None => true,
    };
    let (by_name, other) = if is_within { (within, beside) } else { (beside, within) };
    Some(Readings { by_name, other })
}

fn number(found: Option<(Count, u64)>) -> u64 {
    found.map_or(0, |(_, number)| number)
}
