"""Batches of fields, normalised; inputs from files; data that follows a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.errors import DataError
from lab.structures.operator_learning import FieldSpec
from lab.tasks.operator_learning.data.advection import AdvectionDataModule
from lab.tasks.operator_learning.data.inputs import FieldInputs
from lab.tasks.operator_learning.data.samples import FieldSample, collate_fields

EVOLVES = FieldSpec(
    input_shape=(2, 4, 6), channels=("t", "q"), units=("K", ""), means=(280.0, 1.0), stds=(10.0, 2.0), step=6.0
)
STEADY = FieldSpec(
    input_shape=(1, 4, 6),
    channels=("u",),
    units=("",),
    means=(1.0,),
    stds=(2.0,),
    given=("a",),
    given_means=(0.5,),
    given_stds=(0.25,),
)


def test_fields_are_normalised_by_channel() -> None:
    states = torch.arange(2 * 4 * 6, dtype=torch.float64).view(2, 4, 6)
    sample = FieldSample(states, torch.stack([states, states + 1, states + 2]), 7, climatology=torch.zeros(3, 2, 4, 6))
    batch = collate_fields([sample, sample._replace(number=8)], EVOLVES)
    assert batch.fields.shape == (2, 2, 4, 6)
    assert batch.fields.dtype == torch.float32
    assert torch.equal(batch.fields[0, 0], ((states[0] - 280) / 10).float())
    assert torch.equal(batch.targets.fields[1, 2, 1], ((states[1] + 2 - 1) / 2).float())
    assert batch.climatology is not None
    assert batch.climatology[0, 0, :, 0, 0].tolist() == [-28.0, -0.5]
    assert batch.sample_ids.tolist() == [7, 8]
    assert batch.forcings is None
    assert batch.times is None


def test_a_steady_problem_normalises_what_is_given_by_its_own_means() -> None:
    sample = FieldSample(torch.ones(1, 4, 6, dtype=torch.bool), torch.full((1, 1, 4, 6), 5.0), 0)
    batch = collate_fields([sample], STEADY)
    assert batch.fields.unique().tolist() == [2.0]
    assert batch.targets.fields.unique().tolist() == [2.0]


def test_loaders() -> None:
    data = AdvectionDataModule(batch_size=4, num_train=8, num_val=6, train_steps=2, eval_steps=3)
    batch = next(iter(data.train_dataloader()))
    assert batch.fields.shape == (4, 1, 32, 32)
    assert batch.targets.fields.shape == (4, 2, 1, 32, 32)
    measured = list(data.val_dataloader())
    assert [len(batch.fields) for batch in measured] == [4, 2]
    assert measured[0].targets.fields.shape == (4, 3, 1, 32, 32)
    assert measured[0].valid.all()


def test_data_follows_a_checkpoint() -> None:
    data = AdvectionDataModule(num_val=2)
    data.follow(replace(data.own_spec, means=(1.0,), stds=(2.0,)))
    sample = data.dataset("val")[0, 0]
    assert torch.allclose(data.collate([sample]).fields[0].double(), (sample.fields - 1) / 2, atol=1e-6)
    with pytest.raises(DataError, match="the network of the checkpoint predicts w, and data has u"):
        data.follow(replace(data.own_spec, channels=("w",)))
    with pytest.raises(DataError, match=r"a step of the checkpoint's network is 6, and one of the data 0\.125"):
        data.follow(replace(data.own_spec, step=6.0))


def inputs(path: Path, spec: FieldSpec = EVOLVES, **arrays: Any) -> FieldInputs:
    np.savez(path, **arrays)
    return FieldInputs([path], spec, lambda grid, time: None)


def test_inputs(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(3, 2, 4, 6))
    found = inputs(tmp_path / "a.npz", fields=fields, times=np.array([0, 6, 12]))
    assert len(found) == 3
    assert found[0, 1].time == 6
    assert torch.allclose(found[0, 2].fields.double(), torch.from_numpy(fields[2]), atol=1e-6)
    assert found[0, 0].targets.shape == (0, 2, 4, 6)
    batch = collate_fields([found[0, 0], found[0, 1]], EVOLVES)
    assert batch.targets.fields.shape == (2, 0, 2, 4, 6)
    assert len(inputs(tmp_path / "b.npz", fields=fields[0])) == 1
    np.save(tmp_path / "c.npy", np.ones((5, 4, 6)))  # one channel, whose axis is left out
    assert len(FieldInputs([tmp_path / "c.npy"], STEADY, lambda grid, time: None)) == 5
    data = AdvectionDataModule()
    np.save(tmp_path / "d.npy", np.ones((5, 1, 32, 32)))
    assert len(data.build_inputs([tmp_path / "d.npy"])) == 5


def test_inputs_with_forcings(tmp_path: Path) -> None:
    spec, fields = replace(EVOLVES, forcings=("hour",)), np.zeros((3, 2, 4, 6))
    found = inputs(tmp_path / "a.npz", spec, fields=fields, forcings=np.ones((3, 5, 1, 4, 6)))
    forcings = found[0, 2].forcings
    assert forcings is not None
    assert forcings.shape == (5, 1, 4, 6)
    with pytest.raises(DataError, match="the network also reads hour; add the array 'forcings'"):
        inputs(tmp_path / "b.npz", spec, fields=fields)
    with pytest.raises(DataError, match=r"its shape is \(3, 1, 4, 6\), and 3 fields of hour are \(3, steps, 1, 4, 6\)"):
        inputs(tmp_path / "c.npz", spec, fields=fields, forcings=np.ones((3, 1, 4, 6)))


NAN = np.zeros((3, 2, 4, 6))
NAN[1, 0, 2, 3] = np.nan
BAD = {
    "not a number": ({"fields": NAN}, r"1 of 144 values are not finite .* the first at \(1, 0, 2, 3\)"),
    "another name": ({"field": np.zeros((3, 2, 4, 6))}, "it has no array 'fields', but field; did you mean"),
    "channels": ({"fields": np.zeros((3, 3, 4, 6))}, r"its shape is \(3, 3, 4, 6\), and fields are \(N, 2, H, W\)"),
    "objects": ({"fields": np.array([{}, 1], dtype=object)}, "it holds objects, which are a pickle"),
    "words": ({"fields": np.array(["a", "b"])}, "its values are <U1, and fields are numbers"),
    "nothing": ({"fields": np.zeros((0, 2, 4, 6))}, "it holds nothing"),
    "times": ({"fields": np.zeros((3, 2, 4, 6)), "times": np.zeros(2)}, r"times are \(3,\) whole seconds"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_inputs(tmp_path: Path, case: str) -> None:
    arrays, says = BAD[case]
    with pytest.raises(DataError, match=says) as caught:
        inputs(tmp_path / "a.npz", **arrays)
    assert "\n" not in str(caught.value)
    assert "a.npz" in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "b.npz").write_bytes(b"")
    for name, says in (("a.npz", "neither an .npz nor an .npy"), ("b.npz", "is empty"), ("c.npz", "no such file")):
        with pytest.raises(DataError, match=says):
            FieldInputs([tmp_path / name], EVOLVES, lambda grid, time: None)


def test_grids_of_several_files_are_equal(tmp_path: Path) -> None:
    paths: Sequence[Path] = [tmp_path / "a.npy", tmp_path / "b.npy"]
    np.save(paths[0], np.zeros((1, 2, 4, 6)))
    np.save(paths[1], np.zeros((1, 2, 8, 6)))
    with pytest.raises(DataError, match=r"b\.npy: its grid is \(8, 6\), that of .*a\.npy \(4, 6\)"):
        FieldInputs(paths, EVOLVES, lambda grid, time: None)
