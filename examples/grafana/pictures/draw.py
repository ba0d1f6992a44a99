"""Draws the dashboards from the data of a Prometheus server, without Grafana.

    python3 examples/grafana/pictures/draw.py --prometheus http://localhost:9090 --range 24h

The pictures have the panels, queries, units, colours and positions of the dashboards; they are no
copies of Grafana's looks.
"""

import argparse
import json
import pathlib
import re
import textwrap
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from panels import Prometheus, Variables, legend
from units import show, tick

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "dashboards"
# Sizes in inches; a picture has 100 dots an inch.
WIDTH, ROW, GAP = 15.0, 0.27, 0.05
INK, FAINT, FRAME, PAPER, PANEL = "#24292e", "#6e7781", "#d8dee4", "#f4f5f5", "#ffffff"
NAMED = {"green": "#37872d", "red": "#c4162a", "orange": "#fa6400", "blue": "#1f60c4",
         "text": INK, "transparent": "#ffffff00"}
PALETTE = ["#56a64b", "#1f78c1", "#e0752d", "#b877d9", "#f2cc0c", "#e24d42", "#3ca2a2", "#8f3bb8",
           "#96d98d", "#5794f2"]
# Names in a legend beyond which the rest is counted.
MOST_NAMES = 8


def color_of(thresholds, value):
    """Returns the colour of the last threshold that a value reaches."""
    color = "text"
    for step in thresholds:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return NAMED.get(color, color)


class Panel:
    """One panel of a dashboard, with the data of its queries."""

    def __init__(self, panel, variables, prometheus, end, seconds):
        self.panel, self.variables, self.prometheus = panel, variables, prometheus
        self.end, self.seconds = end, seconds
        self.defaults = panel.get("fieldConfig", {}).get("defaults", {})
        self.custom = self.defaults.get("custom", {})
        self.thresholds = self.defaults.get("thresholds", {}).get("steps", [])

    def show(self, value, unit=None):
        return show(value, unit or self.defaults.get("unit"), self.defaults.get("decimals"))

    def mapped(self, value):
        """Returns the text and colour that are mapped to a value, if any."""
        for mapping in self.defaults.get("mappings", []):
            result = mapping["options"].get(f"{value:g}")
            if result:
                return result["text"], NAMED[result["color"]]
        return None

    def instant(self):
        """Returns the name and the last value of each series."""
        found = []
        for target in self.panel["targets"]:
            expression = self.variables.fill(target["expr"])
            for labels, value in self.prometheus.at(expression, self.end):
                found.append((legend(target, labels), value))
        return found

    def series(self):
        """Returns the name and the values of each series over the range."""
        step = max(1, self.seconds / 200)
        found = []
        for target in self.panel["targets"]:
            expression = self.variables.fill(target["expr"])
            start = self.end - self.seconds
            for labels, values in self.prometheus.between(expression, start, self.end, step):
                found.append((legend(target, labels), values))
        return found

    def table(self):
        """Returns the headings and the rows of a table, as text."""
        steps = {step["id"]: step["options"] for step in self.panel["transformations"]}
        if "groupingToMatrix" in steps:
            return self.matrix(steps["groupingToMatrix"])
        names = steps["organize"]["renameByName"]
        order = steps["organize"]["indexByName"]
        keys = [key for key in sorted(order, key=order.get)
                if not key.startswith("Value") and key != "Time"]
        values = [key for key in sorted(order, key=order.get) if key.startswith("Value")]
        units = {one["matcher"]["options"]: [value["value"] for value in one["properties"]]
                 for one in self.panel["fieldConfig"]["overrides"]}
        rows = {}
        for target, value in zip(self.panel["targets"], values):
            for labels, number in self.prometheus.at(self.variables.fill(target["expr"]), self.end):
                row = rows.setdefault(tuple(labels.get(key, "") for key in keys), {})
                row[value] = number
        headings = keys + [names[value] for value in values]
        first = values[0]
        ordered = sorted(rows.items(), key=lambda row: -row[1].get(first, 0))
        cells = [
            [*row] + [show(numbers[value], *units[names[value]]) if value in numbers else "–"
                      for value in values]
            for row, numbers in ordered
        ]
        return headings, cells

    def matrix(self, options):
        target = self.panel["targets"][0]
        found = self.prometheus.at(self.variables.fill(target["expr"]), self.end)
        row, column = options["rowField"], options["columnField"]
        columns = sorted({labels[column] for labels, _ in found})
        values = {(labels[row], labels[column]): value for labels, value in found}
        cells = [
            [name] + [self.show(values.get((name, one), 0)) for one in columns]
            for name in sorted({labels[row] for labels, _ in found})
        ]
        return [f"{row} \\ {column}", *columns], cells


def draw_stat(axes, panel):
    axes.axis("off")
    values = panel.instant()
    if values:
        text, color = panel.mapped(values[0][1]) or (
            panel.show(values[0][1]), color_of(panel.thresholds, values[0][1]))
    else:
        text, color = panel.defaults.get("noValue", "–"), INK
    axes.text(0.5, 0.52, text, ha="center", va="center", fontsize=19, color=color, weight="bold")


def draw_lines(axes, panel):
    series = panel.series()

    def most(one):
        return max((value for _, value in one[1] if value == value), default=0)
    series.sort(key=lambda one: -most(one))
    # Of series that are zero all the time, one name is enough if there are others.
    named = max(1, sum(most(one) > 0 for one in series)) if len(series) > 4 else len(series)
    named = min(named, MOST_NAMES)
    fixed = {one["matcher"]["options"]: one["properties"][0]["value"]["fixedColor"]
             for one in panel.panel["fieldConfig"].get("overrides", [])}
    stacked = panel.custom.get("stacking", {}).get("mode") == "normal"
    base, highest = {}, 0
    for index, (name, values) in enumerate(series):
        color = NAMED.get(fixed.get(name), PALETTE[index % len(PALETTE)])
        moments = [moment - panel.end for moment, _ in values]
        tops = [value for _, value in values]
        if stacked and most((name, values)) == 0:
            continue
        if stacked:
            floors = [base.get(moment, 0) for moment in moments]
            tops = [floor + value for floor, value in zip(floors, tops)]
            base.update(zip(moments, tops))
            axes.fill_between(moments, floors, tops, color=color, alpha=0.65, linewidth=0)
        label = name if index < named else None
        axes.plot(moments, tops, color=color, linewidth=1.1, label=label)
        highest = max([highest, *(value for value in tops if value == value)])
    for step in panel.thresholds:
        if panel.custom.get("thresholdsStyle") and step["value"] and step["value"] < highest * 3:
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.9, linestyle="--")
            highest = max(highest, step["value"])
    finish_axes(axes, panel, highest)
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, color=FAINT)
        return
    handles, names = axes.get_legend_handles_labels()
    if len(series) > named:
        names[-1] += f"  (+{len(series) - named})"
    width = axes.get_window_extent().width
    longest = max(map(len, names))
    columns = max(1, min(len(names), int(width / (longest * 4.6 + 30))))
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncols=columns,
                fontsize=6.5, frameon=False, labelcolor=INK, handlelength=1.1, columnspacing=1.1,
                borderaxespad=0, labelspacing=0.25)


def finish_axes(axes, panel, highest):
    axes.set_xlim(-panel.seconds, 0)
    axes.set_ylim(0, panel.defaults.get("max", highest * 1.08 or 1))
    unit = panel.defaults.get("unit")
    axes.yaxis.set_major_locator(MultipleLocator(tick(axes.get_ylim()[1], unit)))
    # Cents are noise on an axis.
    decimals = 0 if unit == "currencyUSD" and axes.get_ylim()[1] > 8 else None
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value, unit, decimals)))
    minutes = FuncFormatter(lambda value, _: f"{value / 60:g} min" if value else "now")
    axes.xaxis.set_major_formatter(minutes)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 1.2, 2, 3, 6, 10]))
    axes.tick_params(labelsize=6.5, colors=FAINT, length=0)
    axes.grid(color="#eaeef2", linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_bars(axes, panel):
    axes.axis("off")
    values = panel.instant()
    if not values:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, color=FAINT)
        return
    fitting = int(axes.get_window_extent().height / 25)
    # The shown ones keep the order of the query.
    least = sorted((value for _, value in values), reverse=True)[:fitting][-1]
    values = [one for one in values if one[1] >= least][:fitting]
    highest = max(value for _, value in values) or 1
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(values), 3) - 0.4, -0.6)
    for index, (name, value) in enumerate(values):
        color = color_of(panel.thresholds, value)
        axes.barh(index + 0.12, 0.8, height=0.34, color="#eef1f4")
        axes.barh(index + 0.12, 0.8 * max(value, 0) / highest, height=0.34, color=color, alpha=0.8)
        axes.text(0, index - 0.16, name, fontsize=7, va="bottom", color=INK)
        axes.text(1, index + 0.12, panel.show(value), fontsize=7.5, va="center", ha="right",
                  color=color, weight="bold")


def draw_timeline(axes, panel):
    series = panel.series()
    names = sorted({name for name, _ in series}, reverse=True)
    for name, values in series:
        step = values[1][0] - values[0][0] if len(values) > 1 else 1
        for moment, value in values:
            _, color = panel.mapped(value) or ("", FAINT)
            axes.barh(names.index(name), step, left=moment - panel.end, height=0.6, color=color,
                      alpha=0.75, linewidth=0)
    finish_axes(axes, panel, 1)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_yticks(range(len(names)), names)
    axes.grid(False)


def draw_table(axes, panel):
    axes.axis("off")
    headings, rows = panel.table()
    axes.set_xlim(0, len(headings))
    capacity = max(4, int(axes.get_window_extent().height / 19))
    axes.set_ylim(capacity, 0)
    for index, heading in enumerate(headings):
        axes.text(index + 0.02, 0.5, heading, fontsize=7.5, weight="bold", color="#1f60c4",
                  va="center")
    for line, row in enumerate(rows[: capacity - 1], start=1):
        axes.axhline(line, color="#eaeef2", linewidth=0.7)
        for index, cell in enumerate(row):
            axes.text(index + 0.02, line + 0.5, cell, fontsize=7.5, color=INK, va="center")


def draw_text(axes, panel):
    axes.axis("off")
    content = re.sub(r"[`*]", "", panel.panel["options"]["content"])
    lines = [line for part in content.split("\n") for line in textwrap.wrap(part, 190)]
    axes.text(0, 1, "\n".join(lines), fontsize=8, va="top", color=INK, linespacing=1.5,
              transform=axes.transAxes)


DRAW = {"stat": draw_stat, "timeseries": draw_lines, "bargauge": draw_bars, "table": draw_table,
        "text": draw_text, "state-timeline": draw_timeline}
# Space for title, axis and legend in inches: left, right, top, bottom.
INSET = {"timeseries": (0.68, 0.14, 0.32, 0.54), "state-timeline": (0.75, 0.12, 0.32, 0.3)}


def draw(dashboard, variables, prometheus, end, seconds, path):
    """Draws one dashboard into a file."""
    bottom = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"])
    height = bottom * ROW + 0.5
    figure = plt.figure(figsize=(WIDTH, height), dpi=100, facecolor=PAPER)
    figure.text(0.12 / WIDTH, 1 - 0.3 / height, dashboard["title"], fontsize=14, weight="bold",
                color=INK)
    unit = (WIDTH - 0.2) / 24
    for one in dashboard["panels"]:
        box = one["gridPos"]
        left, top = 0.1 + box["x"] * unit, height - 0.45 - box["y"] * ROW
        width, tall = box["w"] * unit - GAP, box["h"] * ROW - GAP
        if one["type"] == "row":
            figure.text(left / WIDTH, (top - 0.22) / height, one["title"], fontsize=10.5,
                        weight="bold", color=INK)
            continue
        figure.patches.append(FancyBboxPatch(
            (left / WIDTH, (top - tall) / height), width / WIDTH, tall / height, linewidth=0.8,
            boxstyle="square,pad=0", edgecolor=FRAME, facecolor=PANEL, zorder=-1,
            transform=figure.transFigure))
        figure.text((left + 0.08) / WIDTH, (top - 0.2) / height, one["title"], fontsize=8.5,
                    weight="bold", color=INK)
        inset = INSET.get(one["type"], (0.12, 0.12, 0.34, 0.1))
        axes = figure.add_axes((
            (left + inset[0]) / WIDTH, (top - tall + inset[3]) / height,
            (width - inset[0] - inset[1]) / WIDTH, (tall - inset[2] - inset[3]) / height))
        DRAW[one["type"]](axes, Panel(one, variables, prometheus, end, seconds))
    figure.savefig(path, facecolor=PAPER)
    plt.close(figure)
    # Few colours make a third of the size.
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(colors=160).save(path, optimize=True)


def seconds_of(text):
    """Returns the seconds of a duration such as `90s`, `15m` or `24h`."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"no duration: {text}; write 90s, 15m or 24h")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def main():
    parser = argparse.ArgumentParser(description="Draws the dashboards without Grafana.")
    parser.add_argument("--prometheus", default="http://localhost:9090", help="URL of the server")
    parser.add_argument("--range", type=seconds_of, default="24h", help="period up to the end")
    parser.add_argument("--end", type=float, default=None, help="Unix time; now by default")
    parser.add_argument("--rate-interval", default="5m", help="range of rates")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="value of a variable of the dashboards")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(), help="folder")
    arguments = parser.parse_args()
    chosen = dict(one.split("=", 1) for one in arguments.set)
    end = arguments.end or time.time()
    for source in sorted(FOLDER.glob("*.json")):
        dashboard = json.loads(source.read_text(encoding="utf-8"))
        variables = Variables(dashboard, arguments.range, arguments.rate_interval, chosen)
        path = arguments.output / f"grafana-{source.stem}.png"
        draw(dashboard, variables, Prometheus(arguments.prometheus), end, arguments.range, path)


if __name__ == "__main__":
    main()
