"""Runs an observer and Prometheus with agent runs, and draws the dashboards from their data.

    python3 examples/grafana/pictures/demo.py --observer target/release/observer

The runs are those of `tests/fixtures`, spread over the time given, each under the name of its
repository as the source. A webhook receives the failures; it is down for a third of the time, and
rejects some of them. Some requests are refused. `prometheus` must be installed.
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
RUNS = HERE.parents[2] / "tests/fixtures/agent-runs.ndjson"

OBSERVER = """
[server]
listen = "127.0.0.1:{observer}"

[journal]
max_size = "512KiB"
segment_size = "64KiB"

[sinks.archive]
type = "file"
path = "observer-data/events/{{date}}.jsonl"

[sinks.kb]
type = "kb"
path = "observer-data/kb"

[sinks.prometheus]
type = "prometheus"

[sinks.prometheus.labels.known]
sources = {sources}
models = {models}
event_kinds = ["ok", "tests_failed"]

[sinks.failures]
type = "http"
url = "http://127.0.0.1:{hook}/"
body = "envelope"
filter = {{ ok = false }}
batch = {{ max_events = 1 }}
retry = {{ initial = "500ms", max = "4s" }}
"""
PROMETHEUS = """
global: {{ scrape_interval: 2s, scrape_timeout: 2s }}
scrape_configs:
  - job_name: observer
    static_configs: [{{ targets: ["127.0.0.1:{observer}"] }}]
"""


class Hook(http.server.BaseHTTPRequestHandler):
    """Webhook that is down for a while, and rejects each eighth event."""

    down = False
    bodies = 0

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Hook.bodies += not Hook.down
        time.sleep(0.02)
        self.send_response(503 if Hook.down else 422 if Hook.bodies % 8 == 7 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_OPTIONS = do_GET = do_POST

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def request(url, body=None):
    """Sends a request, and returns the status."""
    sent = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(sent, timeout=30) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@contextlib.contextmanager
def program(command, folder, ready):
    """Runs a program until the block ends, which begins once the URL responds with 200."""
    with open(folder / f"{pathlib.Path(command[0]).name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                if request(ready) == 200:
                    break
            if process.poll() is not None:
                sys.exit(f"{command[0]} ends at once")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def read_runs(path):
    """Returns the runs, each with the name of its repository as the source."""
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for run in runs:
        run["source"] = run["extra"]["repo"].split("/")[1]
    return runs


def send(url, runs, seconds):
    """Spreads the runs over the time, with what else happens in a day."""
    begin = time.monotonic()
    for index, run in enumerate(runs):
        share = index / len(runs)
        time.sleep(max(0, begin + share * seconds - time.monotonic()))
        Hook.down = 0.4 < share < 0.65
        phase = {key: run[key] for key in ("source", "cycle_id", "sig_hash", "staffer_id")}
        phase["event_kind"] = "started"
        if index % 25 == 3:
            # A field that can't be read, and a secret.
            phase |= {"attempt": "first", "password": "swordfish"}
        request(f"{url}/event", json.dumps(phase).encode())
        body = json.dumps(run).encode()
        assert request(f"{url}/event", body) == 200
        if index % 6 == 0:
            # A producer that missed the response.
            assert request(f"{url}/event", body) == 200
        if index % 9 == 0:
            request(f"{url}/event", b'{"source": "broken"')
            request(f"{url}/v1/models")
        if index % 14 == 0:
            request(f"{url}/event", b'{"source": "incomplete", "ok": true}')


def main():
    parser = argparse.ArgumentParser(description="Draws the dashboards of a short run.")
    parser.add_argument("--observer", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--runs", default=RUNS, type=pathlib.Path, help="outcomes, one a line")
    parser.add_argument("--seconds", default=600, type=int, help="time that the runs take")
    parser.add_argument("--output", default=pathlib.Path(), type=pathlib.Path, help="folder")
    arguments = parser.parse_args()
    ports = {"observer": free_port(), "prometheus": free_port(), "hook": free_port()}
    url, prometheus = (f"http://127.0.0.1:{ports[name]}" for name in ("observer", "prometheus"))
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", ports["hook"]), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    runs = read_runs(arguments.runs)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        # Series that begin at zero, so that no first event is missing from increases.
        known = {
            "sources": json.dumps(sorted({run["source"] for run in runs})),
            "models": json.dumps(sorted({run["staffer_id"] for run in runs})),
        }
        (folder / "observer.toml").write_text(OBSERVER.format(**ports, **known))
        (folder / "prometheus.yml").write_text(PROMETHEUS.format(**ports))
        observer = [str(arguments.observer.resolve()), "--config", "observer.toml"]
        stack.enter_context(program(observer, folder, f"{url}/readyz"))
        server = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                  f"--web.listen-address=127.0.0.1:{ports['prometheus']}"]
        stack.enter_context(program(server, folder, f"{prometheus}/-/ready"))
        time.sleep(6)
        send(url, runs, arguments.seconds)
        time.sleep(6)
        subprocess.run(
            [sys.executable, str(HERE / "draw.py"), "--prometheus", prometheus, "--range",
             f"{arguments.seconds + 12}s", "--rate-interval", "30s", "--set", "window=2m",
             "--output", str(arguments.output)], check=True)


if __name__ == "__main__":
    main()
