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


def is_after(time, other):
    try:
        return datetime.fromisoformat(time) > datetime.fromisoformat(other)
    except (TypeError, ValueError):
        return False
