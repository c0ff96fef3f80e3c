"""Sounds beside their pictures: the WAVE file by another reader, and a page that needs nothing else."""

from __future__ import annotations

import base64
import io
import re
import wave
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from lab.callbacks.pictures import Pictures
from lab.report.sounds import SoundPanel, page_of_sounds


def make_panel(text: str = "cat 0.90") -> SoundPanel:
    return SoundPanel(Image.new("RGB", (4, 3)), np.array([0.0, 0.5, -1.0, 2.0], dtype=np.float32), 8000, text)


def test_a_sound_is_stored_with_16_bits() -> None:
    with wave.open(io.BytesIO(make_panel().wave())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        levels = np.frombuffer(file.readframes(9), dtype="<i2")
    assert levels.tolist() == [0, 16384, -32767, 32767]


class Reading(HTMLParser):
    """Notes all elements and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_plays_what_it_shows_and_fetches_nothing() -> None:
    page, reading = page_of_sounds([make_panel(), make_panel('<script>"x"</script>')], "test"), Reading()
    reading.feed(page)
    tags = [tag for tag, _ in reading.found]
    assert (tags.count("audio"), tags.count("img"), tags.count("script"), tags.count("link")) == (2, 2, 0, 0)
    sources = [str(attributes["src"]) for _, attributes in reading.found if "src" in attributes]
    assert all(source.startswith("data:") for source in sources)
    assert not re.search("https?:", page)
    assert base64.b64decode(sources[1].partition(",")[2]) == make_panel().wave()
    assert [attributes["alt"] for tag, attributes in reading.found if tag == "img"][1] == '<script>"x"</script>'


def test_sounds_are_kept_beside_their_pictures(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path, "test", 2, lambda task, outputs, batch, count: iter([make_panel()] * count))
    pictures._draw(SimpleNamespace(is_global_zero=True), None, None, None)
    pictures._save_sheet()
    names = ["test-000.png", "test-000.wav", "test-001.png", "test-001.wav", "test.html", "test.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
