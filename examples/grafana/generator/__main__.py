"""Writes the dashboards as JSON: `python3 examples/grafana/generator`.

With `--check`, compares them with the files instead, and exits with 1 if one differs.
"""

import argparse
import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import outcomes
import pipeline

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "dashboards"


def dashboards():
    """Returns the text of each dashboard by the name of its file."""
    built = {"outcomes.json": outcomes.build(), "pipeline.json": pipeline.build()}
    return {
        name: json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True,
                         ensure_ascii=False) + "\n"
        for name, dashboard in built.items()
    }


def main():
    parser = argparse.ArgumentParser(description="Writes the dashboards as JSON.")
    parser.add_argument("--check", action="store_true",
                        help="compare with the files, and write nothing")
    check = parser.parse_args().check
    different = []
    for name, text in dashboards().items():
        path = FOLDER / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            different.append(name)
    if different:
        sys.exit(f"{', '.join(different)} differ from what the program writes; run it")


if __name__ == "__main__":
    main()
