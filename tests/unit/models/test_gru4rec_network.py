"""What GRU4Rec owes its callers beside the training step (tests/parity/test_gru4rec.py): states, scores, weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.gru4rec.network import GRU4Rec
from lab.models.gru4rec.weights import convert, from_official, to_official
from lab.structures import LaneBatch, Recommender, SequenceBatch, SequenceTargets
from lab.training.terms import batch_terms, divided
from tests.unit.tasks.recommendation.data.test_lanes import make_steps

NUM_ITEMS = 30
EMBEDDINGS: list[dict[str, Any]] = [{}, {"embedding": "separate", "embed_dim": 5}, {"embedding": "none"}]


def make_net(**arguments: Any) -> GRU4Rec:
    torch.manual_seed(3)
    return GRU4Rec(NUM_ITEMS, **{"layers": [6, 7], **arguments})


def sequences() -> SequenceBatch:
    items = torch.tensor([[4, 9, 2, 9], [7, 1, 0, 0], [30, 0, 0, 0]])
    targets = SequenceTargets(torch.zeros_like(items), (0, 0, 0))
    return SequenceBatch(items, torch.tensor([4, 2, 1]), targets, torch.arange(3), torch.ones(3, dtype=torch.bool))


def test_it_speaks_the_protocol() -> None:
    assert isinstance(make_net(), Recommender)
    assert isinstance(create_model("gru4rec", num_items=5), GRU4Rec)


@pytest.mark.parametrize("arguments", EMBEDDINGS)
def test_sessions_are_read_as_in_training(arguments: dict[str, Any]) -> None:
    """A session walked event by event in a lane has the states that reading it whole has."""
    net = make_net(**arguments)
    steps = make_steps(num_lanes=4)
    walked: list[list[Tensor]] = [[] for _ in range(4)]
    net.train()
    for number in range(5):
        batch = steps[0, number]
        outputs = net(batch)
        for lane, begins, state in zip(batch.lanes.tolist(), batch.starts.tolist(), outputs.states, strict=True):
            walked[lane] = [state] if begins else [*walked[lane], state]
    for lane, states in enumerate(walked):
        items = torch.tensor(steps.schedule.current[5 - len(states) : 5, lane].astype("int64"))[None]
        targets = SequenceTargets(torch.zeros_like(items), (0,))
        whole = SequenceBatch(items, torch.tensor([len(states)]), targets, torch.arange(1), torch.ones(1).bool())
        queries = torch.tensor([[0, position] for position in range(len(states))])
        torch.testing.assert_close(net.eval().encode(whole, queries), torch.stack(states))


def test_scores_of_all_and_of_some() -> None:
    net = make_net().eval()
    with torch.no_grad():
        net.By.weight.copy_(torch.linspace(-1, 1, NUM_ITEMS)[:, None])
    states = net.encode(sequences(), torch.tensor([[0, 3], [1, 1], [0, 0]]))
    scores = net.score(states, slice(1, NUM_ITEMS + 1))
    torch.testing.assert_close(scores, states @ net.Wy.weight.T + net.By.weight.T)
    assert torch.equal(net.score(states, slice(5, 9)), scores[:, 4:8])
    some = torch.tensor([[1, 30], [7, 7], [12, 2]])
    torch.testing.assert_close(net.score(states, some), scores.gather(1, some - 1))


def step(net: GRU4Rec, batch: LaneBatch) -> Tensor:
    return torch.stack(list(batch_terms(net, net(batch), batch.targets).values())).sum()


def test_states_of_lanes_go_into_a_checkpoint_and_back() -> None:
    """Two ranks' states add up to those of all lanes, and whoever takes them back goes on alike."""
    whole, halves = make_net().train(), [make_net().train(), make_net().train()]
    steps = make_steps()
    parts = [make_steps(rank=rank, world_size=2) for rank in range(2)]
    assert whole.training_state() == {}
    for number in range(9):
        whole(steps[0, number])
        for net, part in zip(halves, parts, strict=True):
            net(part[0, number])
    states = [net.training_state() for net in halves]
    summed = {name: states[0][name] + states[1][name] for name in states[0]}
    assert [tensor.shape for tensor in summed.values()] == [(8, 6), (8, 7)]
    for name, tensor in whole.training_state().items():
        assert torch.equal(summed[name], tensor)
    resumed = make_net().train()
    resumed.load_training_state(summed)
    assert torch.equal(resumed(steps[0, 9]).states, whole(steps[0, 9]).states)
    # what another rank walks is not counted twice
    part = make_net().train()
    part.load_training_state(summed)
    part(parts[1][0, 9])
    assert not part.training_state()["hidden.0"][:4].any()
    resumed.load_training_state({})
    assert resumed.training_state() == {}
    with pytest.raises(CheckpointError, match=r"states of widths \[6, 7\], not \[6\]"):
        make_net(layers=[6]).load_training_state(summed)


def test_evaluation_leaves_the_lanes_alone() -> None:
    net = make_net().train()
    steps = make_steps()
    net(steps[0, 0])
    before = net.training_state()
    net.eval()(steps[0, 1])
    net.encode(sequences(), torch.tensor([[0, 0]]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.training_state().items())


def test_dropped_out_states_are_carried() -> None:
    net = make_net(dropout_hidden=0.5).train()
    net(make_steps()[0, 0])
    for tensor in net.training_state().values():
        share = float((tensor == 0).float().mean())
        assert 0.2 < share < 0.8


def test_losses_do_not_depend_on_the_split() -> None:
    """A lane that has ended counts in the divisor: the configured number of lanes."""
    net, steps = make_net().eval(), make_steps()
    batch = steps[0, len(steps) - 1]
    assert batch.num_samples < 8
    (whole,) = batch_terms(net, net(batch), batch.targets).values()
    assert net.totals(batch.targets) == {"lanes": 8}
    parts = [make_steps(rank=rank, world_size=4)[0, len(steps) - 1] for rank in range(4)]
    assert 0 in [part.num_samples for part in parts]
    terms = [next(iter(divided(net.loss(net(part), part.targets), {"lanes": 8}).values())) for part in parts]
    torch.testing.assert_close(torch.stack(terms).sum(), whole)


def test_bfloat16_comes_near() -> None:
    """Under autocast the loss is still computed in float32, and lanes keep float32 states."""
    net, batch = make_net().train(), make_steps()[0, 0]
    exact = step(net, batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = step(make_net().train(), batch)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=1e-3, atol=0)  # worst 2.4e-5
    near.backward()


def test_meta_device() -> None:
    with torch.device("meta"):
        net = make_net()
    batch = make_steps()[0, 0].to("meta")
    assert step(net, batch).shape == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": []}, r"layers=\[\]"),
        ({"dropout_embed": 1.0}, r"dropout_embed=1\.0: should be at least 0 and below 1"),
        ({"embed_dim": 3}, "embed_dim=3 is of embedding=separate, not of embedding=constrained"),
    ],
)
def test_refusals(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_net(**arguments)


def test_other_optimizers_get_plain_gradients() -> None:
    """Nesterov's momentum writes into gradients, so no kept one may be handed to it."""
    net = make_net().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    steps = make_steps()
    for number in range(3):
        optimizer.zero_grad()
        step(net, steps[0, number]).backward()
        touched = torch.zeros(NUM_ITEMS, dtype=torch.bool)
        touched[steps[0, number].touched - 1] = True
        assert net.Wy.weight.grad is not None
        assert not net.Wy.weight.grad[~touched].any()
        optimizer.step()


def official_names(layers: int) -> set[str]:
    """The keys of ``GRU4RecModel.state_dict()`` with constrained embeddings, as they stand in the authors' code."""
    cells = {f"G.{n}.{kind}_{part}" for n in range(layers) for kind in ("weight", "bias") for part in ("ih", "hh")}
    return {"Wy.weight", "By.weight", *cells}


def test_official_weights_load_both_ways() -> None:
    net = make_net()
    official = to_official(net.state_dict())
    assert set(official) == official_names(2)
    assert set(make_net(embedding="separate").state_dict()) == official_names(2) | {"E.weight"}
    own = set(make_net(embedding="none", layers=[6]).state_dict())
    assert own == {"Wy.weight", "By.weight", "GE.Wx0.weight", "GE.Wrz0", "GE.Wh0", "GE.Bh0"}
    wrapped = {f"model.{name}": value for name, value in official.items()}
    for state in (official, wrapped):
        other = make_net()
        nn.init.zeros_(other.Wy.weight)
        other.load_state_dict(convert(state))
        assert torch.equal(other.Wy.weight, net.Wy.weight)
    with pytest.raises(CheckpointError, match=r"'H\.0' belongs to no GRU4Rec"):
        from_official({"H.0": torch.zeros(1)})


class Pickled:
    """Stands for the object that the authors' ``savemodel`` pickles whole."""

    def __init__(self) -> None:
        self.model = {"Wy.weight": torch.zeros(2, 3)}


def test_a_pickled_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(Pickled(), file)
    with pytest.raises(CheckpointError, match="cannot be read as tensors alone") as refusal:
        create_model("gru4rec", pretrained=file, num_items=2, layers=[3])
    assert "\n" not in str(refusal.value)


def test_copies_share_nothing_of_the_training() -> None:
    net = make_net().train()
    net.Wy.rows.serve(net.Wy.weight, private=False)
    steps = make_steps()
    step(net, steps[0, 0]).backward()
    other = copy.deepcopy(net)
    other(steps[0, 1])
    assert other.Wy.rows is not net.Wy.rows
    assert other.Wy.rows.weight is None
    assert not torch.equal(other.training_state()["hidden.0"], net.training_state()["hidden.0"])
