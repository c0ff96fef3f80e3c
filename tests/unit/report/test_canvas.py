"""Text on paper."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lab.report.canvas import BAD, GOOD, INK, PAPER, draw_text, save_picture


def test_running_text_breaks_at_blanks_and_where_it_says() -> None:
    one = draw_text([("a few words", INK)])
    assert one.width == 640
    assert draw_text([("a few\nwords", INK)]).height > one.height
    long = draw_text([(f"{'word ' * 100}end", INK), (" and more", GOOD)])
    assert long.height > 4 * one.height
    assert long.getpixel((639, 20)) == PAPER
    assert draw_text([("x" * 500, BAD)], width=200).height > 10 * one.height // 2
    assert draw_text([("y\n" * 500, INK)], max_lines=5).height < draw_text([("y\n" * 6, INK)]).height


def test_pictures_are_written_without_loss(tmp_path: Path) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    save_picture(picture, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as found:
        assert found.format == "PNG"
        assert found.tobytes() == picture.tobytes()
