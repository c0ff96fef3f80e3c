"""Writes the findings of a proof as Markdown tables, ready for docs/gpu.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def failures(report: Mapping[str, Any]) -> list[str]:
    """Return the failed checks, the errors, and the parts that have failed."""
    found = []
    for part, content in report["parts"].items():
        if content["state"] == "failed":
            found.append(f"{part}: {content['why']}")
        for name, values in content["findings"].items():
            if "error" in values:
                found.append(f"{part}, {name}: {values['error']}")
            elif values.get("holds") is False:
                broken = [key for key, value in values.items() if value is False and key != "holds"]
                found.append(f"{part}, {name}: does not hold" + (f" ({', '.join(broken)})" if broken else ""))
    return found


def not_run(report: Mapping[str, Any]) -> list[str]:
    """Return the items without time, package or code to run them."""
    found = []
    for part, content in report["parts"].items():
        if content["state"] in ("not run", "out of time"):
            found.append(f"{part}: {content['why']}")
        rows = content["findings"].items()
        found += [f"{part}, {name}: {values['not_run']}" for name, values in rows if "not_run" in values]
    return found


def summary(report: Mapping[str, Any]) -> str:
    """Return a table for each part, then the failed checks and the items that were not run."""
    machine = report["machine"]
    about = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("device", "host"))
    lines = [f"{report['date']}, {machine['device']}: `{report['command']}`", "", about, ""]
    for part, content in report["parts"].items():
        lines += [f"## {part} ({content['state']}, {content.get('seconds', 0)} s)", ""]
        rows = {
            name: values
            for name, values in content["findings"].items()
            if "not_run" not in values and "error" not in values
        }
        columns = list(dict.fromkeys(key for values in rows.values() for key in values))
        if rows:
            lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
            lines += [
                f"| {name} | " + " | ".join(_cell(values.get(key)) for key in columns) + " |"
                for name, values in rows.items()
            ]
            lines.append("")
    for title, items in (("Does not hold", failures(report)), ("Not run", not_run(report))):
        lines += [f"## {title}", "", *(f"- {item}" for item in items or ["nothing"]), ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)
