"""Sounds beside their pictures: WAVE files, and a page of HTML on which they are played."""

from __future__ import annotations

import base64
import html
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from lab.text import printable

_STYLE = (
    "body{font:14px sans-serif;margin:16px;background:#fff;color:#141414}"
    "figure{display:inline-block;margin:8px;vertical-align:top}figure>*{display:block;width:100%}"
)
_PLAYER = '<audio controls src="data:audio/wav;base64,{}"></audio>'


@dataclass(frozen=True)
class SoundPanel:
    """A picture of a sound, and the sound.

    Attributes:
        picture: of it.
        waveform: (T,) float32, full scale is 1.
        sample_rate: in Hz.
        text: what it is, for those who do not see the picture.
    """

    picture: Image
    waveform: npt.NDArray[np.float32]
    sample_rate: int
    text: str

    def wave(self) -> bytes:
        """Return the sound as a WAVE file of 16 bits, which every browser plays; beyond full scale it is clipped."""
        levels = np.round(np.clip(self.waveform, -1, 1) * 32767).astype("<i2")
        stored = io.BytesIO()
        with wave.open(stored, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate)
            file.writeframes(levels.tobytes())
        return stored.getvalue()


def page_of_sounds(panels: Sequence[SoundPanel], title: str) -> str:
    """Return a page that shows and plays sounds. It holds them itself: no other file, no script, no network."""
    figures = []
    for panel in panels:
        stored = io.BytesIO()
        panel.picture.save(stored, "PNG")
        image, sound = (base64.b64encode(data).decode() for data in (stored.getvalue(), panel.wave()))
        text = html.escape(printable(panel.text), quote=True)
        player = _PLAYER.format(sound)
        figures.append(f'<figure><img alt="{text}" src="data:image/png;base64,{image}">{player}</figure>')
    name = html.escape(printable(title))
    head = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
    return "\n".join([head, *figures, "</html>", ""])
