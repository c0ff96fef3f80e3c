"""A separator has one spelling, so the same question finds the same run; signs that cannot separate are refused."""

from __future__ import annotations

import pytest

from lab.config.compose import compose_config
from lab.config.separators import normalize_separator
from lab.errors import ConfigError
from lab.launch.targets import check_all
from lab.run_name import run_name


def named(*words: str) -> tuple[str, str]:
    composed = compose_config(["model=popularity", "data=interactions", *words])
    check_all(composed, machine=False)
    return run_name(composed.config), composed.config["data"]["separator"]


def test_a_tab_has_one_run_name_however_it_is_typed() -> None:
    typed = ("\\t", "'\\t'", '"\\t"', "'\t'", "\\\\t", "'\\x09'", "'\\u0009'")
    found = {named(f"data.separator={word}") for word in typed}
    assert len(found) == 1
    assert found.pop()[1] == "\t"
    assert named()[1] == ","


def test_other_signs_stay_as_they_are() -> None:
    for sign in (",", "||", "**", "..", "::", "|", " ", "\\s+", "\\", "lab."):
        assert normalize_separator(sign) == sign
    assert normalize_separator("\\x01") == "\x01"


@pytest.mark.parametrize("word", ["t", "1", "tab", "", '"', "\n", "\r\n", "\\x0a"])
def test_what_cannot_separate_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot separate columns; for a tab write data\.separator='\\t'") as caught:
        normalize_separator(word)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"data\.separator='t' occurs in names"):
        named("data.separator=t")  # what a shell makes of data.separator=\t
