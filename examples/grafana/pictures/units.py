"""Values as Grafana shows them."""

import math

SCALES = {
    "short": (1000, ["", " K", " Mil", " Bil", " Tri"]),
    "bytes": (1024, [" B", " KiB", " MiB", " GiB", " TiB"]),
    "Bps": (1000, [" B/s", " kB/s", " MB/s", " GB/s"]),
    "reqps": (1000, [" req/s", "K req/s"]),
    "ops": (1000, [" ops/s", "K ops/s"]),
    "eps": (1000, [" evt/s", "K evt/s"]),
}
DURATIONS = [(86400, "days"), (3600, "hours"), (60, "mins"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")]


def digits(value, decimals=None):
    """Returns a number with given decimals, else with three significant digits."""
    if decimals is None:
        if value == 0:
            return "0"
        decimals = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:.0f}"
    return f"{value:.{decimals}f}"


def scaled(value, base, names, decimals):
    index = 0
    while abs(value) >= base and index < len(names) - 1:
        value, index = value / base, index + 1
    return digits(value, decimals) + names[index]


def tick(highest, unit):
    """Returns the distance between ticks of an axis up to a value."""
    bases = {"s": [60, 3600, 86400], "bytes": [1024, 1024**2, 1024**3]}.get(unit, [])
    base = max((base for base in bases if highest >= 2 * base), default=1)
    rough = highest / 4 / base
    power = 10 ** math.floor(math.log10(rough))
    return base * min((one * power for one in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))


def show(value, unit, decimals=None):
    """Returns a value in a unit of Grafana."""
    if math.isnan(value):
        return "–"
    if unit in SCALES:
        base, names = SCALES[unit]
        # Decimals of whole numbers say nothing.
        decimals = 0 if decimals is None and value == int(value) and abs(value) < base else decimals
        return scaled(value, base, names, decimals)
    if unit == "percentunit":
        return digits(value * 100, decimals) + " %"
    if unit == "currencyUSD":
        return "$" + digits(value, 2 if decimals is None and abs(value) >= 1 else decimals)
    if unit == "s":
        for size, name in DURATIONS:
            if abs(value) >= size:
                return f"{digits(value / size, decimals)} {name}"
        return "0 s"
    if unit and unit.startswith("si:"):
        name = unit.removeprefix("si:")
        return scaled(value, 1000, [f" {prefix}{name}" for prefix in ("", "k", "M", "G")], decimals)
    if unit and unit.startswith("suffix:"):
        return digits(value, decimals) + unit.removeprefix("suffix:")
    return digits(value, decimals)
