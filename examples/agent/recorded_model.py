"""Recorded runs in the place of a model."""

import json
from collections import Counter
from pathlib import Path

# 100 runs of Claude Code on SWE-bench Verified, one for each problem.
RECORDED_RUNS = Path(__file__).parents[2] / "tests" / "fixtures" / "agent-runs.ndjson"


class RecordedModel:
    """Script that returns the recorded outcome of a model at a problem, whatever the prompt says.

    If a model is asked more often than it was recorded, it repeats its last outcome.
    """

    def __init__(self, path):
        self.runs, self.calls, problems = {}, Counter(), {}
        with open(path, encoding="utf-8") as file:
            for run in map(json.loads, file):
                sig_hash, name = run["sig_hash"], run["staffer_id"]
                self.runs.setdefault((sig_hash, name), []).append(run)
                title = run["extra"]["instance_id"]
                problem = {"sig_hash": sig_hash, "title": title, "models": []}
                models = problems.setdefault(sig_hash, problem)["models"]
                if name not in models:
                    models.append(name)
        self.problems = list(problems.values())

    def call(self, name, prompt, problem):
        """Returns the outcome of one cycle, as members of its event.

        This is what to replace. A real model reads the prompt; the recorded one can't.
        """
        key = (problem["sig_hash"], name)
        run = self.runs[key][min(self.calls[key], len(self.runs[key]) - 1)]
        self.calls[key] += 1
        return {
            "event_kind": run["event_kind"],
            "ok": run["ok"],
            "turns": run["turns"],
            "duration_ms": run["duration_ms"],
            # It has tokens and cost, as the provider reported them.
            "extra": {**run["extra"], "recorded_cycle": run["cycle_id"]},
        }
