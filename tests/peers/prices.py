"""Prices by the package genai-prices, as JSON lines.

`models` reads thresholds of the context. It prints the rates of models by name, service tier and
threshold, and the costs of random usages. A usage is `[input, cache read, cache write, cache write
for an hour, output]`; input includes what is read from a cache and written to it.

`runs` reads `[model, number of requests, usage]` and prints the cost of each line.
"""

import json
import random
import sys
from datetime import datetime, timezone
from decimal import Decimal

from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import ClauseEquals, ClauseOr

PROVIDERS = ("anthropic", "openai", "google", "x-ai", "openrouter")
TIERS = {
    "standard": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
# Prices of the package have dates, too.
AT = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


def usage_of(usage):
    total, read, write, long, output = usage
    tokens = {"cache_read_tokens": read, "cache_write_tokens": write, "cache_write_1h_tokens": long}
    tokens = {name: count for name, count in tokens.items() if count}
    return Usage(input_tokens=total, output_tokens=output, **tokens)


def print_models():
    rng = random.Random(7)
    thresholds = [0, *json.load(sys.stdin)]
    for provider in providers:
        if provider.id not in PROVIDERS:
            continue
        for model in provider.models:
            for name in names(model):
                for tier in tiers(model):
                    print(json.dumps(figures(rng, thresholds, provider, model, name, tier)))


def names(model):
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    equal = {clause.equals for clause in clauses if isinstance(clause, ClauseEquals)}
    return sorted(equal | {model.id})


def tiers(model):
    variants = [dict(variant.when) for variant in model.price_variants or ()]
    return [tier for tier, context in TIERS.items() if context is None or context in variants]


def figures(rng, thresholds, provider, model, name, tier):
    def cost(usage):
        price = model.calc_price(
            usage_of(usage), provider, genai_request_timestamp=AT, price_context=TIERS[tier]
        )
        return float(price.total_price)

    def rates(size):
        parts = ([0, 0, 0], [size, 0, 0], [0, size, 0], [0, size, size])
        by_kind = [cost([size, *part, 0]) for part in parts]
        output = cost([size, 0, 0, 0, size]) - by_kind[0]
        return [price / size for price in (*by_kind, output)]

    usages = [random_usage(rng) for _ in range(20)]
    return {
        "provider": provider.id,
        "name": name,
        "tier": tier,
        "steps": [[above, rates(above + 1)] for above in thresholds],
        "costs": [[usage, cost(usage)] for usage in usages],
    }


def random_usage(rng):
    size = 10 ** rng.uniform(2, 5.7)
    fresh, read, short, long = (int(size * rng.random()) * (rng.random() < 0.6) for _ in range(4))
    return [fresh + read + short + long, read, short + long, long, int(10 ** rng.uniform(1, 5))]


def print_runs():
    for line in sys.stdin:
        model, requests, usage = json.loads(line)
        # Requests of the same size: the context of a run is not the sum of its input.
        usage = usage_of([Decimal(count) / requests for count in usage])
        price = calc_price(usage, model, genai_request_timestamp=AT)
        print(float(price.total_price) * requests)


{"models": print_models, "runs": print_runs}[sys.argv[1]]()
