"""What a good request has to keep to beyond what a schema can say."""

import itertools
from datetime import datetime

import schemathesis

numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, **kwargs):
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    # It stands for one event alone, so each request gets one of its own.
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{next(numbers)}"
    match case.method, case.path:
        case "DELETE", "/v1/sinks/{name}/dead-letters":
            # Either of them.
            query = case.query or {}
            before = query.get("before")
            case.query = {"before": before} if before is not None else {"all": "true"}
        case "POST", "/v1/sinks/{name}/dead-letters/replay" if isinstance(case.body, dict):
            # Either of them, and another event in place of a single one.
            ids, event = case.body.get("ids"), case.body.get("event")
            if ids is None:
                case.body = {"all": True}
            elif len(ids) == 1 and event is not None:
                case.body = {"ids": ids, "event": event}
            else:
                case.body = {"ids": ids}
        case "POST", "/v1/sinks/{name}/replay" if isinstance(case.body, dict) and "until" in case.body:
            if not is_after(case.body["until"], case.body["since"]):
                del case.body["until"]
        case "GET", path if case.query and path.startswith(QUERIES):
            make_consistent(path, case.query)


QUERIES = ("/v1/events", "/v1/signatures", "/v1/models", "/v1/usage", "/v1/diff", "/v1/hints")


def make_consistent(path, query):
    """Keeps parameters from contradicting each other."""
    # One that no page returned is an error, and so is a name that is no time zone.
    query.pop("cursor", None)
    if "tz" in query:
        query["tz"] = "Europe/Berlin"
    if "since" in query:
        query.pop("until", None)
    # The moment of a comparison is in the past.
    if path == "/v1/diff" and "since" in query:
        query["since"] = "24h"
    # Both, and different ones.
    if "a" in query or "b" in query:
        query["a"], query["b"] = "a", "b"
    if "label" in query or query.get("by") == "label":
        query["by"], query["label"] = "label", "branch"
    # A report by day is limited, and events may be of any time.
    if query.get("by") == "day":
        query["since"] = "30d"
        query.pop("until", None)
    # It has an effect on text alone.
    query.pop("max_chars", None)


def is_after(time, other):
    try:
        return datetime.fromisoformat(time) > datetime.fromisoformat(other)
    except (TypeError, ValueError):
        return False
