"""The dashboard of the pipeline: requests, journal, sinks and the process."""

import parts
from grafana_foundation_sdk.models import common as common_models
from parts import BLUE, GREEN, GREY, OBSERVER, RED, YELLOW, query, steps

UID = "observer-pipeline"

METRICS = parts.link("Metrics", "sinks/prometheus.md#metrics-of-the-observer")
FAILURES = parts.link("Failure behaviour", "failures.md")
OVERLOAD = parts.link("Overload", "operations.md#overload")
LETTERS = parts.link("Dead letters", "operations.md#dead-letters")
LOST = 'result=~"expired|lost|refused"'


def runbook(alert):
    return parts.link(f"Runbook: {alert}", f"runbook.md#{alert.lower()}")


def rate(metric, by="", selector=OBSERVER):
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{selector}}}[$__rate_interval]))"


def increase(metric, by="", selector=OBSERVER):
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (increase({metric}{{{selector}}}[$__range]))"


def gauge(metric, function="sum", by=""):
    grouping = f" by ({by})" if by else ""
    return f"{function}{grouping} ({metric}{{{OBSERVER}}})"


def quantile(share, metric, by="", selector=OBSERVER):
    grouping = f"le, {by}" if by else "le"
    buckets = f"{metric}_bucket{{{selector}}}[$__rate_interval]"
    return f"histogram_quantile({share}, sum by ({grouping}) (rate({buckets})))"


def journal_use():
    size, limit = (f"observer_journal_{name}{{{OBSERVER}}}" for name in ("bytes", "limit_bytes"))
    return f"{size} / ({limit} > 0)"


def overview(built):
    red_above_zero = steps(GREEN, (1, RED))
    size = (3, 4)
    panels = [
        parts.stat_panel(
            "Observers",
            "Observers that Prometheus reaches. If one is missing, see whether its process runs.",
            "short", [query(gauge("observer_build_info", "count"), instant=True)],
            [METRICS, runbook("ObserverDown")], thresholds=steps(RED, (1, GREEN)), size=size),
        parts.stat_panel(
            "Parked sinks",
            "Sinks that can't deliver anything, or whose destination refuses everything."
            " `observer status` names the reason.",
            "short", [query(gauge("observer_sink_parked"), instant=True)],
            [FAILURES, runbook("ObserverSinkParked")], thresholds=red_above_zero, size=size),
        parts.stat_panel(
            "Backlog",
            "Events that sinks have not resolved yet, over all sinks. A backlog that grows belongs"
            " to a destination that is down or too slow.",
            "short", [query(gauge("observer_sink_pending_events"))],
            [METRICS, runbook("ObserverBacklogOld")], size=size, trend=True),
        parts.stat_panel(
            "Oldest pending",
            "Age of the oldest event that a sink has not resolved. If it rises, look at the"
            " deliveries of that sink.",
            "s", [query(gauge("observer_sink_oldest_pending_seconds", "max"))],
            [METRICS, runbook("ObserverBacklogOld")],
            thresholds=steps(GREEN, (300, YELLOW), (900, RED)), size=size, trend=True),
        parts.stat_panel(
            "Lost events",
            "Events in the time range that a sink will never get: expired at the limit of the"
            " journal, lost in a damaged part of it, or refused as a whole.",
            "short",
            [query(increase("observer_sink_events_total", selector=f"{OBSERVER},{LOST}"),
                   instant=True)],
            [FAILURES, runbook("ObserverLosingEvents")], decimals=0, thresholds=red_above_zero,
            size=size),
        parts.stat_panel(
            "Dead letters",
            "Events that a destination rejects, stored until an operator replays or purges them:"
            " `observer dead-letters list SINK`.",
            "short", [query(gauge("observer_sink_dead_letters"), instant=True)],
            [LETTERS, runbook("ObserverDeadLetters")], thresholds=steps(GREEN, (1, YELLOW)),
            size=size),
        parts.stat_panel(
            "Journal in use",
            "Size of the journal as a share of `journal.max_size`. At the limit the oldest events"
            " are removed, or producers get 503 if a `required` sink still needs them.",
            "percentunit", [query(f"max ({journal_use()})", instant=True)],
            [FAILURES, runbook("ObserverJournalNearlyFull")], decimals=1,
            no_value="–", thresholds=steps(GREEN, (0.8, YELLOW), (0.95, RED)), size=size),
        parts.stat_panel(
            "Ingest",
            "Whether the journal stores events. While it fails, producers get 503 and nothing is"
            " lost that was acknowledged. The log names the error of the disk.",
            "none", [query(gauge("observer_journal_failing", "max"), instant=True)],
            [FAILURES, runbook("ObserverJournalFailing")],
            mappings=parts.named_values({0: ("accepting", GREEN), 1: ("failing", RED)}),
            no_value="–", size=size),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def ingest(built):
    built = built.with_row(parts.row("Ingest and requests"))
    routes = rate("observer_http_requests_total", "route, code")
    rejected = rate("observer_rejected_events_total")
    panels = [
        parts.line_panel(
            "Events by result",
            "Events that were stored, known already (duplicates), changed under a known identity,"
            " or rejected. Many duplicates are producers that retry: see their time-outs.",
            "eps",
            [query(rate("observer_accepted_events_total"), "stored"),
             query(rate("observer_duplicate_events_total"), "duplicate"),
             query(rate("observer_changed_events_total"), "changed"),
             query(rejected, "rejected")],
            [METRICS, parts.link("Duplicates", "events.md#identity-and-duplicates")],
            colors={"stored": GREEN, "duplicate": BLUE, "changed": YELLOW, "rejected": RED},
            size=(8, 8)),
        parts.line_panel(
            "Rejections by reason",
            "Rejected events. The log has a line with peer and error for them:"
            " `a request was refused`. `unavailable` and `overloaded` are on the observer's side,"
            " the others on the producer's.",
            "eps", [query(rate("observer_rejected_events_total", "reason"),
                                       "{{reason}}")],
            [parts.link("Reasons", "http-api.md#errors"), runbook("ObserverRejections")],
            stacked=True, size=(8, 8)),
        parts.line_panel(
            "Requests by route and code",
            "Rate of requests by template of the route and status. 5xx are failures of the"
            " observer or its disk; 4xx are the client's, see the log.",
            "reqps", [query(routes, "{{route}} {{code}}")],
            [parts.link("Routes", "http-api.md#routes"), OVERLOAD], stacked=True, size=(8, 8)),
        parts.line_panel(
            "Duration of requests (95 %)",
            "95 % of the requests of a class took no longer. Ingest waits for the sync of the"
            " journal: compare with it. Streams last as long as their reader stays.",
            "s", [query(quantile(0.95, "observer_request_duration_seconds", "route_class"),
                        "{{route_class}}")],
            [METRICS, OVERLOAD], size=(8, 8)),
        parts.line_panel(
            "Connections",
            "Open connections, and per second those that were refused at `max_connections` or"
            " failed in TLS. Refusals are clients that don't reuse or close connections.",
            "short",
            [query(gauge("observer_open_connections"), "open"),
             query(rate("observer_refused_connections_total"), "refused per second"),
             query(rate("observer_tls_handshake_failures_total"), "TLS failures per second")],
            [OVERLOAD, parts.link("TLS", "security.md#tls")], size=(8, 8)),
        parts.line_panel(
            "Streams",
            "Open streams of events, and events per second that their readers missed because"
            " they were too slow. Readers that miss events get a `gap` and can query them.",
            "short",
            [query(gauge("observer_stream_readers"), "readers"),
             query(rate("observer_stream_missed_events_total"), "missed per second")],
            [parts.link("Stream", "http-api.md#stream")], size=(8, 8)),
        parts.bar_panel(
            "Field warnings",
            "Warnings about fields of accepted events in the time range. The responses name them;"
            " correct the producer, or set `ingest.strict`.",
            "short", [query(f"topk(8, {increase('observer_field_warnings_total', 'field')})",
                            "{{field}}", instant=True)],
            [parts.link("Lenient reading", "events.md#lenient-reading")], decimals=0,
            thresholds=steps(GREEN, (1, YELLOW)), size=(12, 7)),
        parts.bar_panel(
            "Redacted secrets",
            "Secrets that were redacted in received events in the time range, by rule. Each one"
            " has left the agent: change the secret, and keep it out of the events.",
            "short", [query(f"topk(8, {increase('observer_redactions_total', 'rule')})",
                            "{{rule}}", instant=True)],
            [parts.link("Redaction", "redaction.md")], decimals=0,
            thresholds=steps(GREEN, (1, YELLOW)), size=(12, 7)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def accounts(built):
    built = built.with_row(parts.row("Sinks: account"))
    account = gauge("observer_sink_events_total", by="sink, result")
    replay = gauge("observer_sink_replay_events", by="sink, result")
    panels = [
        parts.matrix_panel(
            "Account of each sink",
            "Resolved events since the sink exists; with the backlog they add up to the events"
            " that the sink was given. `dead` are stored as dead letters; `expired`, `lost` and"
            " `refused` are gone for this sink.",
            "short", account, "sink", "result",
            [FAILURES, runbook("ObserverLosingEvents"), METRICS], size=(12, 7)),
        parts.matrix_panel(
            "Replays",
            "Account of the current or last replay of each sink; zero without one. `pending` that"
            " does not fall is a replay that waits: `observer sinks list` names the reason.",
            "short", replay, "sink", "result",
            [parts.link("Replay", "operations.md#replay")], size=(12, 7)),
        parts.line_panel(
            "Resolved events by sink and result",
            "Rate of events that left the backlog of a sink. Results other than `delivered` and"
            " `filtered` need a look at the sink's last error: `observer status`.",
            "eps",
            [query(rate("observer_sink_events_total", "sink, result"), "{{sink}} {{result}}")],
            [METRICS, FAILURES]),
        parts.timeline_panel(
            "Parked sinks over time",
            "When each sink was parked. A sink that parks again and again has a destination that"
            " comes and goes.",
            [query(gauge("observer_sink_parked", "max", "sink"), "{{sink}}")],
            [parts.link("Parked sinks", "failures.md#parked-sinks"),
             runbook("ObserverSinkParked")],
            mappings=parts.named_values({0: ("running", GREEN), 1: ("parked", RED)}), size=(12, 8)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def deliveries(built):
    built = built.with_row(parts.row("Sinks: backlog and deliveries"))
    accepted = f'{OBSERVER},outcome="accepted"'
    success = f"time() - max by (sink) (observer_sink_last_success_timestamp_seconds{{{OBSERVER}}})"
    attempts = rate("observer_sink_delivery_seconds_count", "sink, outcome")
    panels = [
        parts.line_panel(
            "Backlog by sink",
            "Events that a sink has not resolved. It costs no memory, and keeps segments of the"
            " journal on disk.",
            "short", [query(gauge("observer_sink_pending_events", by="sink"), "{{sink}}")],
            [METRICS, runbook("ObserverBacklogOld")], size=(8, 8)),
        parts.line_panel(
            "Oldest pending event by sink",
            "Age of the oldest event that a sink has not resolved. It rises by a second each"
            " second while nothing is delivered.",
            "s", [query(gauge("observer_sink_oldest_pending_seconds", "max", "sink"),
                        "{{sink}}")],
            [METRICS, runbook("ObserverBacklogOld")],
            thresholds=steps("transparent", (900, RED)), size=(8, 8)),
        parts.line_panel(
            "Dead letters and undecided events",
            "Stored dead letters, and events that the destination refused while it accepted"
            " others. Undecided ones are tried again, and end as delivered or dead.",
            "short",
            [query(gauge("observer_sink_dead_letters", by="sink"), "{{sink}} dead letters"),
             query(gauge("observer_sink_undecided_events", by="sink"), "{{sink}} undecided")],
            [LETTERS, runbook("ObserverDeadLetters"), runbook("ObserverUndecidedEvents")],
            size=(8, 8)),
        parts.line_panel(
            "Delivery latency (95 %)",
            "95 % of the accepted deliveries of a sink took no longer. A rise is the destination"
            " or the way to it; above the sink's `timeout` deliveries fail.",
            "s", [query(quantile(0.95, "observer_sink_delivery_seconds", "sink", accepted),
                        "{{sink}}")],
            [METRICS, FAILURES], size=(8, 8)),
        parts.line_panel(
            "Deliveries by outcome",
            "Attempts per second. `refused` is a response that rejects, `unavailable` no usable"
            " response, `timed_out` none within `timeout`.",
            "ops", [query(attempts, "{{sink}} {{outcome}}")], [FAILURES, METRICS], size=(8, 8)),
        parts.line_panel(
            "Delivered bytes",
            "Size of the accepted events per second, before compression. Compare with what the"
            " destination takes.",
            "Bps", [query(rate("observer_sink_delivered_bytes_total", "sink"), "{{sink}}")],
            [METRICS], size=(8, 8)),
        parts.line_panel(
            "Retries",
            "Failed deliveries per second that were retried. A steady rate is a destination that"
            " is overloaded or half broken.",
            "ops", [query(rate("observer_sink_retries_total", "sink"), "{{sink}}")],
            [FAILURES, METRICS], size=(8, 7)),
        parts.bar_panel(
            "Time since the last acceptance",
            "Time since a sink's destination last accepted something, since the start of the"
            " observer. Long is fine while no events arrive; with a backlog it is an outage.",
            "s", [query(success, "{{sink}}", instant=True)],
            [METRICS, runbook("ObserverBacklogOld")], size=(8, 7)),
        parts.bar_panel(
            "Files of file sinks",
            "Files in the folder of a file sink that are not its own, and events too far from"
            " their receipt for `{event_date}`. `observer sinks adopt NAME` takes files over.",
            "short",
            [query(gauge("observer_sink_unowned_files", by="sink"), "{{sink}} unowned files",
                   instant=True),
             query(gauge("observer_sink_skewed_events_total", by="sink"), "{{sink}} skewed events",
                   instant=True)],
            [parts.link("Ownership", "sinks/file.md#ownership"),
             runbook("ObserverUnownedFiles")], thresholds=steps(GREEN, (1, YELLOW)), size=(8, 7)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def journal(built):
    built = built.with_row(parts.row("Journal"))
    sync = [(0.5, "median"), (0.95, "95 %"), (0.99, "99 %")]
    panels = [
        parts.line_panel(
            "Journal size",
            "Size of the journal, its limit (`journal.max_size`), and the space that is reserved for"
            " positions, which shrinks while the disk is full. Delivered events stay for"
            " `journal.retain`.",
            "bytes",
            [query(gauge("observer_journal_bytes", by="instance"), "{{instance}} size"),
             query(gauge("observer_journal_limit_bytes", by="instance"), "{{instance}} limit"),
             query(gauge("observer_journal_reserve_bytes", by="instance"),
                   "{{instance}} reserve")],
            [parts.link("Configuration of the journal", "configuration.md#journal"),
             runbook("ObserverJournalNearlyFull")]),
        parts.line_panel(
            "Sync latency",
            "Quantiles of the time that the disk needs to sync a group of events; each producer"
            " waits for one. A rise is a busy or failing disk.",
            "s",
            [query(quantile(share, "observer_journal_sync_seconds"), name)
             for share, name in sync],
            [METRICS, runbook("ObserverJournalFailing")]),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def configuration(built):
    built = built.with_row(parts.row("Configuration and certificates"))
    reloaded = f"time() - max (observer_config_last_reload_timestamp_seconds{{{OBSERVER}}})"
    certificates = "observer_certificate_expiry_timestamp_seconds"
    expiry = f"min by (file) ({certificates}{{{OBSERVER}}}) - time()"
    week = 7 * 86400
    panels = [
        parts.stat_panel(
            "Last reload",
            "Whether the last reload of the configuration was successful. After a failure the"
            " former configuration is in force; `observer check` shows the error.",
            "none",
            [query(gauge("observer_config_last_reload_successful", "min"), instant=True)],
            [parts.link("Changes at run time", "configuration.md#changes-at-run-time"),
             runbook("ObserverReloadFailed")],
            mappings=parts.named_values({1: ("successful", GREEN), 0: ("failed", RED)}),
            no_value="–", size=(4, 6)),
        parts.stat_panel(
            "Since the last reload",
            "Time since the last reload of the configuration, or the start. A change of the file"
            " applies after a reload: SIGHUP, or `POST /-/reload`.",
            "s", [query(reloaded, instant=True)],
            [parts.link("Changes at run time", "configuration.md#changes-at-run-time")],
            no_value="–", thresholds=steps(GREY), size=(4, 6)),
        parts.bar_panel(
            "Certificates expire in",
            "Time until the certificate in a file expires; empty without TLS. Renew it and reload"
            " before it reaches zero: clients refuse an expired one.",
            "s", [query(expiry, "{{file}}", instant=True)],
            [parts.link("TLS", "security.md#tls"), runbook("ObserverCertificateExpiring")],
            thresholds=steps(RED, (week, YELLOW), (2 * week, GREEN)), size=(8, 6)),
        parts.bar_panel(
            "Own telemetry",
            "Traces, metrics and log records of the observer itself by result; empty without"
            " `[telemetry]`. If it fails or is dropped, the collector is down or too slow.",
            "short",
            [query(increase("observer_telemetry_total", "signal, result"),
                   "{{signal}} {{result}}", instant=True)],
            [parts.link("Telemetry", "telemetry.md")], decimals=0, size=(8, 6)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def process(built):
    built = built.with_row(parts.row("Process"))
    # Other programs export these too, possibly under the same job.
    joined = f" and on (job, instance) observer_build_info{{{OBSERVER}}}"

    def of(expression):
        return f"{expression}{joined}"
    cpu = f"rate(process_cpu_seconds_total{{{OBSERVER}}}[$__rate_interval])"
    name = "{{instance}}"
    panels = [
        parts.line_panel(
            "CPU",
            "Cores that the process uses. If it is near the cores of the machine, look at the"
            " rates of requests and at compression in sinks.",
            "short", [query(of(cpu), name)], [METRICS], size=(6, 7), decimals=2),
        parts.line_panel(
            "Memory",
            "Resident memory. It does not depend on the backlog; it grows with bodies in flight,"
            " connections and the window of duplicates.",
            "bytes", [query(of(f"process_resident_memory_bytes{{{OBSERVER}}}"), name)],
            [METRICS, OVERLOAD], size=(6, 7)),
        parts.line_panel(
            "File descriptors in use",
            "Open files and connections as a share of the limit of the process. Near the limit new"
            " connections fail: raise `ulimit -n`.",
            "percentunit", [query(of(f"process_open_fds{{{OBSERVER}}}"
                                     f" / process_max_fds{{{OBSERVER}}}"), name)],
            [METRICS, OVERLOAD], size=(6, 7)),
        parts.line_panel(
            "Threads",
            "Threads of the process. A steady rise is blocking work that hangs, such as a file"
            " system that does not respond.",
            "short", [query(of(f"process_threads{{{OBSERVER}}}"), name)], [METRICS], size=(6, 7)),
        parts.table_panel(
            "Versions",
            "Version of each observer, and the time since its start. Different versions are an"
            " upgrade that is not finished; short times are restarts.",
            ["job", "instance", "version"],
            [("Uptime", "s",
              f"(time() - process_start_time_seconds{{{OBSERVER}}})"
              f" * on (job, instance) group_left (version) observer_build_info{{{OBSERVER}}}")],
            [parts.link("Upgrading", "upgrading.md"), runbook("ObserverDown")], size=(24, 5)),
    ]
    for panel in panels:
        built = built.with_panel(panel)
    return built


def build():
    built = parts.new_dashboard(
        "Observer / Pipeline", UID,
        "State of observers: requests, journal, sinks, configuration and process.")
    sections = (overview, ingest, accounts, deliveries, journal, configuration, process)
    for section in sections:
        built = section(built)
    return parts.number(built.build())
