"""Words that Hydra's grammar cannot read and that are clear all the same."""

from __future__ import annotations

from typing import Any

import pytest

from lab.config.compose import compose_config
from lab.config.spelling import obstacle, spelled
from lab.sweeps.grid import expand

TEXTS = [
    "/x/数据",
    "/x/données/é",
    "/x/a=b",
    "/x/a=b=c",
    "/x/photos (1)",
    "/x/a[1].png",
    "/x/Anna's",
    "/x/a&b;c#d!^~`<>",
    "~/x",
    "/x/😀",
    "/x/a b/ü",
    "/x/plain-1.0_a@b:c",
    "/x/1e3/y",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["ckpt", "input", "paths.runs_dir", "data.root"])
def test_a_path_means_what_it_says(text: str, key: str) -> None:
    config: Any = compose_config([f"{key}={text}"]).config
    for part in key.split("."):
        config = config[part]
    assert config == text


def test_what_hydra_reads_is_left_alone() -> None:
    words = ["a=b", "a='b=é'", "a=[x,y]", "a={b:c}", "a=1,2", "~a", "a", "a=", 'a="x y"', "a=x y", "a=a\\=b", "+a=null"]
    assert spelled(words) == words


def test_what_cannot_be_meant_is_left_to_be_refused() -> None:
    words = ["a='b", "a=[é", "a={b:é}", "a=f(é)", "a=${b", "a=[a b]c", "a=(1)"]
    assert spelled(words) == words


def test_lists_and_references_may_hold_such_texts_too() -> None:
    config = compose_config(["logger.wandb.tags=[é,1,x=y,a]", "input=${paths.runs_dir}/é"]).config
    assert config["logger"]["wandb"]["tags"] == ["é", 1, "x=y", "a"]
    assert config["input"] == "runs/é"


def test_a_sweep_over_such_paths() -> None:
    assert expand(["ckpt=/x/数据,/y/a=b"]) == [["ckpt='/x/数据'"], ["ckpt='/y/a=b'"]]
    assert expand(["data.batch_size=1e1,2e1"]) == [["data.batch_size=10"], ["data.batch_size=20"]]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("1e3", "1000"), ("1E+3", "1000"), ("-2e2", "-200"), ("[1e3,2]", "[1000,2]"), ("1e3,2e3", "1000,2000")]
    + [(text, text) for text in ("1e-3", "1.5e3", "a1e3", "1e3/x", "x-1e3", "'1e3'", "1e333")],
)
def test_a_power_of_ten_is_a_whole_number(typed: str, meant: str) -> None:
    assert spelled([f"a={typed}"]) == [f"a={meant}"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("/x/数据", "the sign '数'"),
        ("a=b", "the sign '='"),
        ("a(1)", "the sign '('"),
        ("[é]", "the sign 'é'"),
        ("'a", "a quote is not closed"),
        ("'a' é", "the sign 'é'"),
        ("[a", "[ is not closed"),
        ("a\x1bb", "the sign '\\\\x1b'"),
        ("a b", None),
    ],
)
def test_the_sign_that_is_to_blame(value: str, why: str | None) -> None:
    assert obstacle(value) == why
