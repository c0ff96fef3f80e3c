"""A search space: what Hydra's sweep syntax and YAML say, its points, their words, and the refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lab.compat.hydra import parse_override
from lab.config.words import parse_word
from lab.errors import ConfigError
from lab.sweeps.settings import SpaceEntry
from lab.sweeps.space import SearchSpace, identity, same_point
from lab.sweeps.space_words import read_space


def space_of(*words: str, **yaml: dict[str, Any]) -> SearchSpace:
    return read_space(words, {key.replace("__", "."): SpaceEntry(**entry) for key, entry in yaml.items()})[0]


@pytest.mark.parametrize(
    ("word", "described", "count"),
    [
        ("a=interval(1e-4,1e-2)", "interval 0.0001..0.01", None),
        ("a=tag(log, interval(1e-4,1e-2))", "log interval 0.0001..0.01", None),
        ("a=interval(1,8)", "interval 1.0..8.0", None),
        ("a=int(interval(1,8))", "int interval 1..8", 8),
        ("a=tag(log, int(interval(1,8)))", "log int interval 1..8", 8),
        ("a=range(1,9)", "int interval 1..8", 8),
        ("a=range(9,1,-2)", "int interval 3..9 by 2", 4),
        ("a=range(0,1,0.1)", "interval 0.0..0.9 by 0.1", 10),
        ("a=sort(3,1,2)", "one of 1, 2, 3", 3),
        ("a=choice(a,b)", "one of a, b", 2),
        ("a=shuffle(b,c,a)", "one of a, b, c", 3),
        ("a=x,y,x", "one of x, y", 2),
        ("a=null,1,true,'x y',[1,2]", "one of null, 1, True, 'x y', [1,2]", 5),
    ],
)
def test_hydra_s_syntax(word: str, described: str, count: int | None) -> None:
    (dimension,) = space_of(word).dimensions
    assert (dimension.described(), dimension.count) == (described, count)


@pytest.mark.parametrize("word", ["a=range(1,9)", "a=range(0,1,0.1)", "a=range(9,1,-2)", "a=null,1,true,'x y',[1,2]"])
def test_the_values_are_those_that_hydra_lists(word: str) -> None:
    points = space_of(word).points()
    found = [parse_word(space_of(word).words(point)[0]).value for point in points]
    listed = [parse_word(f"a={text}").value for text in parse_override(word).sweep_string_iterator()]
    if "range" in word:
        assert found == pytest.approx(sorted(listed), abs=1e-12)
    else:
        assert found == listed


def test_a_glob_and_a_shared_word() -> None:
    space, shared, notes = read_space(["optimizer=glob(adam*)", "data=shapes", "++model.net.dropout=interval(0,0.5)"])
    assert "adamw" in space.dimensions[0].choices
    assert (shared, notes) == (["data=shapes"], [])
    assert space.words({"optimizer": "adamw", "model.net.dropout": 0.25}) == [
        "optimizer=adamw",
        "++model.net.dropout=0.25",
    ]


def test_yaml_with_conditions() -> None:
    space = space_of(
        "trainer.max_steps=5",
        model__net__layers={"low": 1, "high": 3, "when": {"model": ["gru4rec", "sasrec"]}},
        model__net__dropout={"low": 0, "high": 0.5, "when": {"model.net.layers": [2, 3]}},
        model={"choices": ["gru4rec", "sasrec", "popularity"]},
        optimizer__lr={"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    )
    assert [dimension.key for dimension in space.dimensions] == [
        "model",
        "optimizer.lr",
        "model.net.layers",
        "model.net.dropout",
    ]
    assert space.described() == {
        "model": "one of gru4rec, sasrec, popularity",
        "optimizer.lr": "log interval 0.0001..0.01",
        "model.net.layers": "int interval 1..3 when model=gru4rec|sasrec",
        "model.net.dropout": "interval 0.0..0.5 when model.net.layers=2|3",
    }
    assert space.at([0.9, 0.5, 0.9, 0.9]) == {"model": "popularity", "optimizer.lr": pytest.approx(1e-3)}
    point = space.at([0.0, 0.5, 0.9, 0.5])
    assert point == {
        "model": "gru4rec",
        "optimizer.lr": pytest.approx(1e-3),
        "model.net.layers": 3,
        "model.net.dropout": 0.25,
    }
    assert space.holds(point)
    assert space.count is None


def test_a_condition_on_a_fixed_key_is_settled_at_once() -> None:
    entries = {
        "model.net.dropout": SpaceEntry(low=0, high=0.5, when={"model": "gru4rec"}),
        "model.net.heads": SpaceEntry(choices=[1, 2], when={"model": "sasrec"}),
        "model.net.ff": SpaceEntry(choices=[1, 2], when={"model.net.heads": 2}),
        "optimizer.lr": SpaceEntry(low=0.1, high=1.0),
    }
    space, shared, notes = read_space(["model=gru4rec", "optimizer.lr=0.5"], entries)
    assert space.described() == {"model.net.dropout": "interval 0.0..0.5"}
    assert shared == ["model=gru4rec", "optimizer.lr=0.5"]
    assert notes == [
        "optimizer.lr is not searched: the command line sets it to 0.5",
        "model.net.heads is not searched: its condition on model is never met",
        "model.net.ff is not searched: its condition on model.net.heads is never met",
    ]


def test_the_command_line_gives_the_range_and_yaml_the_condition() -> None:
    space = space_of("b=interval(0,1)", a={"choices": [1, 2]}, b={"low": 5.0, "high": 6.0, "when": {"a": 2}})
    assert space.described() == {"a": "one of 1, 2", "b": "interval 0.0..1.0 when a=2"}


REFUSED = [
    ([], {}, "there is nothing to search: give a space, such as optimizer.lr=interval(1e-4,1e-2)"),
    (["a=interval(5,1)"], {}, "a=interval(5,1): the lower bound 5.0 should be below the upper one, 1.0"),
    (["a=tag(log,interval(0,1))"], {}, "a logarithmic scale needs bounds above 0, and the lower one is 0.0"),
    (["a=tag(lgo,interval(0,1))"], {}, "unknown tag lgo; the one tag is log, as in tag(log, interval(1e-4,1e-2))"),
    (["a=tag(log,choice(1,2))"], {}, "tag(log, ...) is for an interval"),
    (["model=glob(nothing*)"], {}, "model=glob(nothing*): it stands for no value; give one or more, a,b,c"),
    (["a=range(1,1)"], {}, "a=range(1,1): it stands for no value; give one or more, a,b,c"),
    (["a=[1"], {}, "a=[1"),
    ([], {"a": {"low": 1}}, "sweeper.space.a: give choices: [...], or low and high"),
    ([], {"a": {"choices": [1, 2], "high": 3}}, "sweeper.space.a: give choices or high, not both"),
    ([], {"a": {"low": 1, "high": 2.5, "type": "int"}}, "type: int needs bounds and a step that are integers"),
    ([], {"a": {"low": 1.0, "high": 2.5, "step": 0.5, "log": True}}, "give log or step, not both"),
    (
        ["optimizer.lr=interval(0,1)"],
        {"a": {"low": 1, "high": 2, "when": {"optimiser.lr": 1}}},
        "sweeper.space.a.when: optimiser.lr is no key of the space or of the command; did you mean 'optimizer.lr'?",
    ),
    (
        ["model=gru4rec,sasrec"],
        {"a": {"low": 1, "high": 2, "when": {"model": "gru4rek"}}},
        "model=gru4rek is not in the space (one of gru4rec, sasrec); did you mean 'gru4rec'?",
    ),
    (
        [],
        {"a": {"choices": [1, 2], "when": {"b": 1}}, "b": {"choices": [1, 2], "when": {"a": 1}}},
        "sweeper.space: the conditions of a, b depend on each other",
    ),
]


@pytest.mark.parametrize(("words", "yaml", "line"), REFUSED)
def test_what_is_wrong_is_one_line(words: list[str], yaml: dict[str, dict[str, Any]], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_space(words, {key: SpaceEntry(**entry) for key, entry in yaml.items()})
    assert line in str(refused.value)


SPACES = [
    space_of("a=interval(-1,1)", "b=tag(log,interval(1e-5,1e-1))", "c=int(interval(-3,4))", "d=x,y,null"),
    space_of("a=range(0,1,0.1)", "b=tag(log,int(interval(1,100)))", "c=range(10,0,-3)", "d=true,1,1.5,'1'"),
    space_of(
        "m=p,q,r",
        n={"low": 1, "high": 4, "when": {"m": ["p", "q"]}},
        o={"low": 0.0, "high": 1.0, "step": 0.3, "when": {"n": [2, 3], "m": "p"}},
    ),
]


@pytest.mark.parametrize("space", SPACES)
def test_every_place_is_a_point_and_every_point_comes_back_from_its_words(space: SearchSpace) -> None:
    generator = np.random.default_rng(0)
    corners = [[0.0] * len(space.dimensions), [math.nextafter(1.0, 0.0)] * len(space.dimensions)]
    for units in [*corners, *generator.random((300, len(space.dimensions))).tolist()]:
        point = space.at(units)
        assert space.holds(point), point
        again = space.point_of([*space.words(point), "data=shapes"])
        assert again is not None
        assert same_point(again, point)


def test_all_points_of_a_space_with_conditions() -> None:
    space = SPACES[2]
    points = list(space.points())
    # p: n = 1, 4 without o, n = 2, 3 with o = 0, 0.3, 0.6, 0.9; q: n = 1..4; r
    assert (len(points), space.count) == (2 + 2 * 4 + 4 + 1, 15)
    assert len({identity(point) for point in points}) == 15
    assert all(space.holds(point) for point in points)
    assert space.dimensions[2].described() == "interval 0.0..0.9 by 0.3 when n=2|3 and m=p"


def test_draws_are_spread_as_they_should_be() -> None:
    space = space_of("a=tag(log,interval(1e-4,1e-2))", "b=tag(log,int(interval(1,8)))", "c=x,y")
    drawn = [space.at(units) for units in np.random.default_rng(0).random((4000, 3)).tolist()]
    assert np.mean([point["a"] < 1e-3 for point in drawn]) == pytest.approx(0.5, abs=0.03)  # type: ignore[operator]
    # an integer k has the share log((k + 0.5) / (k - 0.5)) / log(8.5 / 0.5)
    assert np.mean([point["b"] == 1 for point in drawn]) == pytest.approx(math.log(3) / math.log(17), abs=0.03)
    assert np.mean([point["c"] == "x" for point in drawn]) == pytest.approx(0.5, abs=0.03)


def test_what_is_no_point() -> None:
    space = space_of("a=1,2", b={"low": 0.0, "high": 1.0, "step": 0.25, "when": {"a": 2}})
    assert space.holds({"a": 2, "b": 0.75})
    for point in ({"a": 3}, {"a": True}, {"a": 1, "b": 0.5}, {"a": 2}, {"a": 2, "b": 0.3}, {"a": 2, "b": 1.25}, {}):
        assert not space.holds(point)
    assert space.point_of(["a=2"]) is None
    assert space.point_of(["c=2"]) is None


def test_floats_have_few_digits() -> None:
    space = space_of(
        "a=interval(0,0.8)", "b=tag(log,interval(1e-5,1))", "c=interval(1.000001,1.000002)", "d=interval(-3e5,7)"
    )
    assert space.at([1 / 3] * 4) == {"a": 0.266667, "b": 0.000464159, "c": 1.00000133333, "d": -199998.0}
    for units in np.random.default_rng(1).random((100, 4)).tolist():
        point = space.at(units)
        assert space.holds(point)
        assert max(len(word.partition("=")[2]) for word in space.words(point)) <= 13


def test_a_huge_space_with_conditions_is_not_counted() -> None:
    space = space_of("a=int(interval(1,1000000))", "b=1,2", c={"low": 1, "high": 1000, "when": {"b": 2}})
    assert space.count is None
    assert space_of("a=int(interval(1,1000000))", "b=1,2").count == 2_000_000
