"""What the tests of the page of ``lab report`` look at and type into, in Chromium."""

from __future__ import annotations

from typing import Any

from tests.browser import until


def opened(chromium: Any, address: str) -> Any:
    chromium.get(address)
    until(lambda: chromium.execute_script("return document.body.dataset.ready"), "the page is ready")
    return chromium


def cells(chromium: Any, column: str) -> list[str]:
    """Return the texts of a column of the table of runs."""
    script = """
        const table = document.getElementById("table");
        const place = [...table.tHead.rows[0].cells].findIndex((cell) => cell.dataset.column === arguments[0]);
        return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent);"""
    return list(chromium.execute_script(script, column))


def write(chromium: Any, place: str, text: str) -> None:
    """Type into a field, in one go."""
    chromium.execute_script(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true})); field.dispatchEvent(new Event('change'))",
        place,
        text,
    )


def shown(chromium: Any) -> int:
    return int(chromium.find_element("id", "count").text.split()[0])


def drawn_lines(chromium: Any, panel: int = 0) -> int:
    script = "return panels[arguments[0]].chart.drawn?.getOption().series.filter((one) => one.type === 'line').length"
    return int(chromium.execute_script(script, panel) or 0)
