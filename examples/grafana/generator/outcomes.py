"""The dashboard of outcomes: what agents did, at what cost, and how long it took."""

import parts
from parts import GREEN, MODEL, OBSERVER, RED, SOURCE, YELLOW, query, ratio, steps

UID = "observer-outcomes"
HOUR = 3600

EVENTS = parts.link("Event metrics", "sinks/prometheus.md#event-metrics")
MODELS = parts.link("Figures of models", "queries.md#models")
USAGE = parts.link("Usage in events", "events.md#usage")
PRICES = parts.link("Prices", "prices.md")

# Named models only: outcomes without one have a cost, and are no cycles of a model.
NAMED = f'{MODEL},model!="unknown"'


def runbook(alert):
    return parts.link(f"Runbook: {alert}", f"runbook.md#{alert.lower()}")


def increase(metric, selector, by="", over="$__range"):
    """Returns the increase of a counter, added up by labels."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({metric}{{{selector}}}[{over}]))"


def success(by="", over="$__range"):
    """Returns the share of the outcomes that succeeded."""
    succeeded = increase("observer_events_total", f'{SOURCE},ok="true"', by, over)
    return ratio(succeeded, increase("observer_events_total", SOURCE, by, over))


def model_success(by="model", over="$__range"):
    succeeded = increase("observer_model_cycles_total", f'{MODEL},ok="true"', by, over)
    return ratio(succeeded, increase("observer_model_cycles_total", MODEL, by, over))


def cost_per_success(by="", over="$__range"):
    cost = increase("observer_cost_usd_total", NAMED, by, over)
    return ratio(cost, increase("observer_model_cycles_total", f'{NAMED},ok="true"', by, over))


def tokens(over="$__range", function="increase"):
    """Returns pairs of a kind of tokens and the expression for it, which add up to all tokens."""
    def of(name):
        return f"sum ({function}(observer_{name}_tokens_total{{{MODEL}}}[{over}]))"
    cached = f"{of('cached_input')} - {of('cache_creation_input')}"
    return [
        ("fresh input", f"clamp_min({of('input')} - {cached}, 0)"),
        ("cache read", of("cached_input")),
        ("cache write", of("cache_creation_input")),
        ("output", f"clamp_min({of('output')} - {of('reasoning')}, 0)"),
        ("reasoning", of("reasoning")),
    ]


def quantile(share, by=""):
    grouping = f"le, {by}" if by else "le"
    buckets = f"observer_cycle_duration_seconds_bucket{{{MODEL}}}[$window]"
    return f"histogram_quantile({share}, sum by ({grouping}) (increase({buckets})))"


def silence():
    return f"time() - max by (source) (observer_last_event_timestamp_seconds{{{SOURCE}}})"


def overview(built):
    panels = [
        parts.stat_panel(
            "Outcomes",
            "Outcomes in the time range, of all models. If there are none, look at the time of the"
            " last event of each source below, and at the rejections of the pipeline.",
            "short", [query(increase("observer_events_total", SOURCE), instant=True)],
            [EVENTS, parts.drill_down("Pipeline", "observer-pipeline")], decimals=0),
        parts.stat_panel(
            "Success ratio",
            "Share of the outcomes with `ok = true`, of all models. If it fell, compare models and"
            " event kinds below, and list what changed: `observer diff --since 24h`.",
            "percentunit", [query(success(), instant=True)],
            [EVENTS, runbook("ObserverFailureRatioHigh")], decimals=1, no_value="–",
            thresholds=steps(RED, (0.5, YELLOW), (0.8, GREEN))),
        parts.stat_panel(
            "Cost",
            "Cost in US dollars, reported by producers or priced from tokens. Outcomes with tokens"
            " and no price are missing here; see unpriced outcomes below.",
            "currencyUSD",
            [query(increase("observer_cost_usd_total", MODEL), instant=True)],
            [PRICES, runbook("ObserverCostBudgetExceeded")], decimals=2),
        parts.stat_panel(
            "Cost per success",
            "Cost of all outcomes, failures included, divided by the successful ones; of outcomes"
            " that name a model. The cost per *solved problem* counts a problem once, however"
            " often it was solved: `observer models`. If it rose, compare models below.",
            "currencyUSD", [query(cost_per_success(), instant=True)], [MODELS, PRICES],
            decimals=3, no_value="–"),
        parts.stat_panel(
            "Tokens",
            "Input and output tokens. Input includes cache reads and writes; output includes"
            " reasoning. If it jumps at the same number of outcomes, look at the kinds of tokens.",
            "short",
            [query(f"{increase('observer_input_tokens_total', MODEL)}"
                   f" + {increase('observer_output_tokens_total', MODEL)}", instant=True)],
            [USAGE, EVENTS], decimals=2),
        parts.stat_panel(
            "Silent sources",
            "Sources whose last event is older than the time chosen as `Silent after`. The table"
            " of sources names them. Check that the job still runs and reaches the observer.",
            "short", [query(f"count({silence()} > $silence) or vector(0)", instant=True)],
            [EVENTS, runbook("ObserverSourceSilent")], decimals=0,
            thresholds=steps(GREEN, (1, RED))),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def outcomes(built):
    built = built.with_row(parts.row("Outcomes"))
    hourly = f"sum (rate(observer_events_total{{{SOURCE},ok=\"%s\"}}[$__rate_interval])) * {HOUR}"
    panels = [
        parts.line_panel(
            "Outcomes per hour",
            "Rate of outcomes by result, of all models. A drop to zero is a silent source or an"
            " observer that accepts nothing; a rise of failures shows by model and kind below.",
            "suffix:/h",
            [query(hourly % "true", "succeeded"), query(hourly % "false", "failed")], [EVENTS],
            stacked=True, colors={"succeeded": GREEN, "failed": RED}),
        parts.bar_panel(
            "Outcomes by event kind",
            "Outcomes in the time range by event kind and result, of all models. Kinds of failures"
            " that grow are the place to begin: `observer query --event-kind KIND`.",
            "short",
            [query(f"sort_desc({increase('observer_events_total', SOURCE, 'event_kind, ok')} > 0)",
                   "{{event_kind}} (ok={{ok}})", instant=True)],
            [EVENTS, parts.link("Queries of events", "queries.md#events")], decimals=0,
            size=(12, 8)),
        parts.line_panel(
            "Success ratio by source",
            "Share of successful outcomes within the chosen window, of all models. If one source"
            " falls, look at its failures; if all fall together, look at what they share.",
            "percentunit", [query(success("source", "$window"), "{{source}}")],
            [EVENTS, runbook("ObserverFailureRatioHigh")], maximum=1),
        parts.line_panel(
            "Success ratio by model",
            "Share of successful outcomes within the chosen window, of outcomes that name a model."
            " `observer models --compare A B` compares two models on common problems.",
            "percentunit", [query(model_success(over="$window"), "{{model}}")], [MODELS, EVENTS],
            maximum=1),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def cost_and_tokens(built):
    built = built.with_row(parts.row("Cost and tokens"))
    by_model = f"sum by (model) (rate(observer_cost_usd_total{{{MODEL}}}[$__rate_interval]))"
    kinds = tokens("$__rate_interval", "rate")
    cached = increase("observer_cached_input_tokens_total", MODEL, "model", "$window")
    panels = [
        parts.line_panel(
            "Cost per hour by model",
            "Rate of cost in US dollars. If one model's cost rises at the same number of outcomes,"
            " look at its tokens and its cache reads.",
            "currencyUSD", [query(f"{by_model} * {HOUR}", "{{model}}")],
            [PRICES, runbook("ObserverCostBudgetExceeded")], stacked=True),
        parts.bar_panel(
            "Cost per success by model",
            "Cost of all outcomes of a model, failures included, divided by its successful ones."
            " A model without a success has no bar. Cost per solved problem: `observer models`.",
            "currencyUSD", [query(cost_per_success("model"), "{{model}}", instant=True)],
            [MODELS, PRICES], decimals=3),
        parts.bar_panel(
            "Cost by basis",
            "Cost that events report, and cost that is priced from their tokens. A large priced"
            " part depends on the price tables: keep them up to date.",
            "currencyUSD",
            [query(increase("observer_cost_usd_total", MODEL, "basis"), "{{basis}}",
                   instant=True)], [PRICES], decimals=2, size=(4, 8)),
        parts.line_panel(
            "Tokens per second by kind",
            "Rate of tokens. The kinds add up to all tokens: input is fresh, or read from or"
            " written to a cache; reasoning is shown apart from the other output.",
            "si:tok/s", [query(expression, kind) for kind, expression in kinds], [USAGE],
            stacked=True),
        parts.bar_panel(
            "Tokens by kind",
            "Tokens in the time range. The kinds add up to all tokens.",
            "short",
            [query(expression, kind, instant=True) for kind, expression in tokens()], [USAGE],
            decimals=2, size=(6, 8)),
        parts.line_panel(
            "Cache reads in input",
            "Share of the input tokens that were read from a cache, within the chosen window. If"
            " it falls, prompts begin differently each time, or the cache expires between calls.",
            "percentunit",
            [query(ratio(cached, increase("observer_input_tokens_total", MODEL, "model",
                                          "$window")), "{{model}}")],
            [USAGE], maximum=1, size=(6, 8)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def durations(built):
    built = built.with_row(parts.row("Durations and calls"))
    quantiles = [(0.5, "median"), (0.95, "95 %"), (0.99, "99 %")]
    calls = increase("observer_model_calls_total", NAMED, "model", "$window")
    panels = [
        parts.line_panel(
            "Duration of cycles",
            "Quantiles of `duration_ms` within the chosen window, estimated from buckets between"
            " 100 ms and 2 h. If the upper ones rise alone, a few cycles hang.",
            "s", [query(quantile(share), name) for share, name in quantiles], [EVENTS],
            size=(8, 8)),
        parts.line_panel(
            "Duration by model (95 %)",
            "95 % of the cycles of a model took no longer, within the chosen window. If one model"
            " becomes slow, look at its calls per cycle, and at its provider.",
            "s", [query(quantile(0.95, "model"), "{{model}}")], [MODELS, EVENTS], size=(8, 8)),
        parts.line_panel(
            "Model calls per cycle",
            "Sum of `turns` divided by the outcomes that name a model, within the chosen window."
            " If it rises, the agent goes round in circles or the problems are harder.",
            "short",
            [query(ratio(calls, increase("observer_model_cycles_total", NAMED, "model",
                                         "$window")), "{{model}}")],
            [MODELS, EVENTS], decimals=1, size=(8, 8)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def sources_and_models(built):
    built = built.with_row(parts.row("Sources and models"))
    all_tokens = (f"{increase('observer_input_tokens_total', MODEL, '%s')}"
                  f" + {increase('observer_output_tokens_total', MODEL, '%s')}")
    seconds = f"observer_cycle_duration_seconds_bucket{{{MODEL}}}[$__range]"
    panels = [
        parts.table_panel(
            "Sources",
            "Sources with the time since their last event, which may be a phase. Outcomes and"
            " success are of all models. A source on top that should run is silent.",
            ["source"],
            [("Last event", "s", silence()),
             ("Outcomes", None, increase("observer_events_total", SOURCE, "source")),
             ("Success", "percentunit", success("source")),
             ("Cost", "currencyUSD", increase("observer_cost_usd_total", MODEL, "source")),
             ("Tokens", "short", all_tokens % ("source", "source"))],
            [EVENTS, runbook("ObserverSourceSilent")], sort="Last event", size=(24, 11)),
        parts.table_panel(
            "Models",
            "Models in the time range, with the cost of all their outcomes per successful one."
            " Compare models on common problems before you choose: `observer models --compare`.",
            ["model"],
            [("Outcomes", None, increase("observer_model_cycles_total", NAMED, "model")),
             ("Success", "percentunit", model_success()),
             ("Cost", "currencyUSD", increase("observer_cost_usd_total", NAMED, "model")),
             ("Cost per success", "currencyUSD", cost_per_success("model")),
             ("Tokens", "short", all_tokens % ("model", "model")),
             ("Duration (95 %)", "s",
              f"histogram_quantile(0.95, sum by (le, model) (increase({seconds})))")],
            [MODELS, PRICES], sort="Outcomes", size=(24, 6)),
        parts.text_panel(
            "Problems and regressions",
            "What the metrics cannot show, and where it is.",
            "Metrics have no label for the problem (`sig_hash`), since problems have no bound."
            " The knowledge base has them:\n\n"
            "- what fails now and did not, what is fixed, dearer or slower:"
            " `observer diff --since 24h` or `GET /v1/diff?since=24h`\n"
            "- cost per solved problem, and two models on common problems: `observer models`,"
            " `GET /v1/models`\n"
            "- one problem, with what to try next: `observer history SIG_HASH`",
            [parts.link("What changed", "queries.md#what-changed"), MODELS], size=(24, 4)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def quality(built):
    built = built.with_row(parts.row("Quality of the data"))
    unread = increase("observer_unread_usage_events_total", SOURCE, "source")
    corrected = increase("observer_corrections_total", SOURCE, "source")
    unpriced = f'{OBSERVER},model=~"$model"'
    panels = [
        parts.bar_panel(
            "Unpriced outcomes",
            "Outcomes with tokens and without a cost, by model. They are missing from every cost."
            " Add the model to a price table.",
            "short",
            [query(increase("observer_unpriced_events_total", unpriced, "model"), "{{model}}",
                   instant=True)],
            [PRICES], decimals=0, thresholds=steps(GREEN, (1, YELLOW)), size=(6, 7)),
        parts.bar_panel(
            "Unread usage",
            "Outcomes with values that look like tokens or cost and were not understood, by"
            " source. Compare such an event with the names that are read.",
            "short", [query(unread, "{{source}}", instant=True)],
            [USAGE, runbook("ObserverUnreadUsage")], decimals=0,
            thresholds=steps(GREEN, (1, YELLOW)), size=(6, 7)),
        parts.bar_panel(
            "Corrections and overflow",
            "Outcomes that replace an earlier one, by source, and events whose label had no series"
            " left and is counted as `other`, by label. If labels overflow, find the producer that"
            " invents names, or raise the limits.",
            "short",
            [query(corrected, "corrections of {{source}}", instant=True),
             query(increase("observer_label_overflow_total", OBSERVER, "label"),
                   "overflow of {{label}}", instant=True)],
            [parts.link("Limits of labels", "sinks/prometheus.md#limits-of-labels"),
             runbook("ObserverLabelOverflow")],
            decimals=0, size=(6, 7)),
        parts.bar_panel(
            "Phases",
            "Events that report the progress of a cycle, by event kind. Many `started` and few"
            " outcomes are cycles that die without a report.",
            "short",
            [query(increase("observer_phases_total", SOURCE, "event_kind"), "{{event_kind}}",
                   instant=True)],
            [parts.link("Phases", "events.md#phases"), EVENTS], decimals=0, size=(6, 7)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def build():
    built = parts.new_dashboard(
        "Observer / Outcomes", UID,
        "Outcomes of agents: success, cost, tokens and durations by source and model.")
    source = f"label_values(observer_last_event_timestamp_seconds{{{OBSERVER}}}, source)"
    model = f"label_values(observer_cycle_duration_seconds_count{{{SOURCE}}}, model)"
    built = built.with_variable(
        parts.variable("source", "Source", "Producer of outcomes.", source))
    built = built.with_variable(
        parts.variable("model", "Model", "Model that worked on the cycle.", model))
    built = built.with_variable(parts.choice(
        "window", "Window", "Period over which ratios and quantiles are computed at each moment.",
        {"15 min": "15m", "1 h": "1h", "6 h": "6h", "1 d": "1d"}, "1 h"))
    built = built.with_variable(parts.choice(
        "silence", "Silent after", "Age of the last event from which a source counts as silent.",
        {"1 h": "3600", "6 h": "21600", "1 d": "86400", "7 d": "604800"}, "1 d"))
    for part in (overview, outcomes, cost_and_tokens, durations, sources_and_models, quality):
        built = part(built)
    return parts.number(built.build())
