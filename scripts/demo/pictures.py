"""Pictures of a terminal and of a page, taken in a headless Chromium of one size."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

SECONDS = 60.0
"""The most that a page may take."""
_TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; background: #16181d; color: #d7dae0 }
header { background: #2a2d35; color: #9aa0ab; font: 12px sans-serif; padding: 6px 12px; }
pre { margin: 12px; font: 10.6px/1.7 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow: hidden }
pre pre { margin: 0 }
</style><header>$FOLDER</header><pre>$LINES</pre>"""


@contextmanager
def browser(width: int, height: int) -> Iterator[Any]:
    """Start Chromium with pages of a size, in light colours.

    Raises:
        SystemExit: a program or a package is missing.
    """
    try:
        from selenium import webdriver
    except ImportError:
        raise SystemExit("error: selenium is not installed: pip install -e '.[dev]'") from None
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise SystemExit("error: no Chromium with its driver: Debian's packages are chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument("--force-prefers-reduced-motion")
    service = webdriver.ChromeService(driver, env={**os.environ, "NO_PROXY": "127.0.0.1,localhost"})
    opened = webdriver.Chrome(options=options, service=service)
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield opened
    finally:
        opened.quit()


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition.

    Raises:
        SystemExit: it does not come true.
    """
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"error: not within {SECONDS:.0f} s: {what}")
        time.sleep(0.1)


def taken(opened: Any) -> Image.Image:
    """Return what the browser shows."""
    return Image.open(io.BytesIO(opened.get_screenshot_as_png())).convert("RGB")


def terminal(opened: Any, lines: Sequence[str], title: str, folder: Path) -> Image.Image:
    """Return the picture of a terminal.

    Args:
        opened: the browser.
        lines: of the screen, with their colours as escape sequences.
        title: above the screen.
        folder: for the page.
    """
    from html import escape

    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=1000, color_system="truecolor", force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    shown = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    page = folder / "terminal.html"
    page.write_text(_TERMINAL.replace("$FOLDER", escape(title)).replace("$LINES", shown), encoding="utf-8")
    opened.get(page.as_uri())
    return taken(opened)


def animate(pictures: Sequence[tuple[Image.Image, float]], file: Path, colours: int = 128) -> None:
    """Write pictures as a GIF that repeats.

    Args:
        pictures: all of one size, each with the seconds that it is shown.
        file: where the GIF goes.
        colours: of all pictures together.
    """
    sample = Image.new("RGB", (pictures[0][0].width, sum(picture.height for picture, _ in pictures)))
    for number, (picture, _) in enumerate(pictures):
        sample.paste(picture, (0, number * picture.height))
    palette = sample.quantize(colours, method=Image.Quantize.MEDIANCUT)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture, _ in pictures]
    times = [round(1000 * seconds) for _, seconds in pictures]
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
