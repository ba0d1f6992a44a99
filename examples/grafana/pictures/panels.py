"""Queries of the panels of a dashboard, as Grafana sends them to Prometheus."""

import json
import re
import urllib.parse
import urllib.request


class Prometheus:
    """The query API of a Prometheus server."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as response:
            return json.load(response)["data"]["result"]

    def at(self, expression, time):
        """Returns pairs of labels and a value."""
        series = self.get("query", query=expression, time=time)
        return [(one["metric"], float(one["value"][1])) for one in series]

    def between(self, expression, start, end, step):
        """Returns pairs of labels and a list of moments and values."""
        series = self.get("query_range", query=expression, start=start, end=end, step=step)
        return [
            (one["metric"], [(float(time), float(value)) for time, value in one["values"]])
            for one in series
        ]


class Variables:
    """Values of a dashboard's variables, and of those that Grafana sets."""

    def __init__(self, dashboard, seconds, rate_interval, chosen):
        self.values = {}
        for variable in dashboard["templating"]["list"]:
            value = variable.get("allValue") or variable.get("current", {}).get("value", "")
            self.values[variable["name"]] = value
        self.values.update(chosen)
        self.values["__range"] = f"{round(seconds)}s"
        self.values["__rate_interval"] = rate_interval

    def fill(self, expression):
        return re.sub(r"\$(\w+)", lambda match: self.values[match[1]], expression)


def legend(target, labels):
    """Returns the name of a series."""
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])
