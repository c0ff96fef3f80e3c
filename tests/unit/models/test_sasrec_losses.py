"""SASRec's losses against values by hand, the papers' formulas and torch's functions; refusals of the network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab import create_model
from lab.errors import CheckpointError, ConfigError
from lab.models.sasrec import losses
from lab.models.sasrec.network import SASRec
from lab.models.sasrec.weights import from_recbole, to_pmixer
from lab.structures import SequenceBatch, SequenceTargets
from lab.training.terms import divided

ITEMS = 20
VARIANTS = ("sasrec", "sasrec_pmixer", "sasrec_recbole")


def make_batch(counts: tuple[int, ...] = (2, 1, 4, 0, 3), negatives: int | None = 3) -> SequenceBatch:
    """Return five sequences of at most five events, so many of them with a target."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([2, 3, 5, 4, 3])
    real = torch.arange(5) < lengths[:, None]
    items = torch.randint(1, ITEMS + 1, (5, 5), generator=generator) * real
    asked = real & (torch.arange(5) >= (lengths - torch.tensor(counts))[:, None])
    following = torch.randint(1, ITEMS + 1, (5, 5), generator=generator) * asked
    others = None
    if negatives is not None:
        others = torch.randint(1, ITEMS + 1, (5, 5, negatives), generator=generator) * asked[..., None]
    targets = SequenceTargets(following, counts, others)
    return SequenceBatch(items, lengths, targets, torch.arange(5), torch.ones(5, dtype=torch.bool))


def loss_of(net: SASRec, batch: SequenceBatch) -> Tensor:
    (value,) = divided(net.loss(net(batch), batch.targets), batch.totals or net.totals(batch.targets)).values()
    return value


def test_bce_by_hand() -> None:
    """One target at logit 0 (log 2), one at log 3 (probability 3/4); negatives at 0, log 3, -log 3, 0."""
    targets = torch.tensor([0.0, math.log(3)])
    negatives = torch.tensor([[0.0, math.log(3)], [-math.log(3), 0.0]])
    expected = math.log(2) + math.log(4 / 3) + 2 * math.log(2) + math.log(4) + math.log(4 / 3)
    assert losses.bce(targets, negatives).item() == pytest.approx(expected, rel=1e-6)


def test_bce_against_torch() -> None:
    """The sum of torch's two."""
    targets, negatives = torch.randn(7, generator=torch.Generator().manual_seed(0)), torch.randn(7, 3)
    expected = F.binary_cross_entropy_with_logits(targets, torch.ones(7), reduction="sum")
    expected += F.binary_cross_entropy_with_logits(negatives, torch.zeros(7, 3), reduction="sum")
    assert losses.bce(targets, negatives).item() == pytest.approx(expected.item(), rel=1e-6)


def test_gbce_exponent_by_hand() -> None:
    """With 4 of 16 possible negatives alpha is 1/4, so beta is 1 - 3/4 t."""
    for calibration, expected in ((0.0, 1.0), (0.5, 0.625), (1.0, 0.25)):
        assert losses.gbce_exponent(4, 17, calibration) == pytest.approx(expected, rel=1e-12)


def test_gbce_formula() -> None:
    """Equation 5 of Petrov and Macdonald (2023): -(log sigmoid(s+)^beta + sum log(1 - sigmoid(s-))) / (n + 1)."""
    targets = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    negatives = torch.tensor([[0.1, -0.4], [1.5, 0.2], [-2.0, 0.7]], dtype=torch.float64)
    alpha, calibration, expected = 2 / 9, 0.75, 0.0
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    for own, others in zip(targets.tolist(), negatives.tolist(), strict=True):
        expected -= math.log((1 / (1 + math.exp(-own))) ** beta)
        expected -= sum(math.log(1 - 1 / (1 + math.exp(-other))) for other in others)
    found = losses.gbce(targets, negatives, num_items=10, calibration=calibration)
    assert found.item() == pytest.approx(expected / 3, rel=1e-12)
    plain = losses.gbce(targets, negatives, 10, 0.0)
    assert plain.item() == pytest.approx(losses.bce(targets, negatives).item() / 3, rel=1e-12)


def test_gbce_undoes_the_sampling() -> None:
    """At t = 1 the best logit, negatives being drawn from all others at rate alpha, gives the true probability p."""
    share, num_items, count = 0.2, 101, 5
    alpha = count / (num_items - 1)
    logits = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    # Of many visits the item is next in a share p; otherwise it is among the negatives with probability alpha.
    beta = losses.gbce_exponent(count, num_items, 1.0)
    risk = share * beta * F.softplus(-logits) + (1 - share) * alpha * F.softplus(logits)
    assert torch.sigmoid(logits[risk.argmin()]).item() == pytest.approx(share, abs=1e-4)


def test_sampled_ce() -> None:
    """By hand: the target's share is 1 / (1 + 2 + 3); and torch's cross-entropy with the target first."""
    by_hand = losses.sampled_ce(torch.zeros(1), torch.tensor([[2.0, 3.0]]).log())
    assert by_hand.item() == pytest.approx(math.log(6), rel=1e-6)
    targets, negatives = torch.linspace(-2, 3, 6), torch.linspace(1, -4, 24).view(6, 4)
    logits = torch.cat([targets[:, None], negatives], 1)
    expected = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64), reduction="sum")
    assert losses.sampled_ce(targets, negatives).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("budget", "rows"), [(1, 1), (3 * ITEMS, 1), (20, 4), (3, 64), (1 << 21, 64)])
def test_ce_equals_torch(budget: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradients, however few rows of logits stand in memory at once, in blocks of items too."""
    monkeypatch.setattr(losses, "_VALUES", budget)
    monkeypatch.setattr(losses, "_ROWS", rows)
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(11, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(ITEMS, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(ITEMS, (11,), generator=generator)
    expected = F.cross_entropy(states @ weight.T, targets, reduction="sum")
    wanted = torch.autograd.grad(3 * expected, (states, weight))
    found = losses.ce(states, weight, targets)
    got = torch.autograd.grad(3 * found, (states, weight))
    # Sums of logits are float32.
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, theirs in zip(got, wanted, strict=True):
        assert float((ours - theirs).abs().max()) < 1e-6 * float(theirs.abs().max())


@pytest.mark.parametrize("variant", VARIANTS)
def test_ce_of_the_network(variant: str) -> None:
    """Torch's mean cross-entropy of the states against items 1 to I, without padding's row 0.

    A state in the middle of a window is ``encode``'s only with RecBole's places, which count from the first event.
    """
    net = create_model(variant, num_items=ITEMS, max_length=5, loss="ce").eval()
    batch = make_batch(negatives=None) if variant == "sasrec_recbole" else make_batch((1, 1, 1, 1, 1), None)
    chosen = batch.targets.items.nonzero()
    logits = net.score(net.encode(batch, chosen), slice(1, ITEMS + 1))
    expected = F.cross_entropy(logits, batch.targets.items[chosen[:, 0], chosen[:, 1]] - 1)
    assert loss_of(net, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_split_of_a_batch(variant: str, loss: str) -> None:
    """The parts' losses, each divided by the whole step's count, add up to the whole's; so do gradients."""
    net = create_model(variant, num_items=ITEMS, max_length=5, loss=loss).eval()
    batch = make_batch()
    batch.totals = net.totals(batch.targets)
    assert batch.totals == {"targets": 10.0}
    whole = torch.autograd.grad(loss_of(net, batch), list(net.parameters()))
    value = loss_of(net, batch).item()
    cuts = (slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5))  # the third has no target at all
    parts = torch.stack([loss_of(net, batch.rows(cut)) for cut in cuts])
    assert parts.sum().item() == pytest.approx(value, rel=1e-6)
    assert parts[2].item() == 0
    largest = max(float(gradient.abs().max()) for gradient in whole)
    for ours, theirs in zip(whole, torch.autograd.grad(parts.sum(), list(net.parameters())), strict=True):
        assert float((ours - theirs).abs().max()) < 1e-5 * largest  # worst 3.9e-7


def test_names_and_absence_of_losses() -> None:
    """A term is named after the loss; evaluation without negatives has none, training without them is refused."""
    net = create_model("sasrec", num_items=ITEMS, max_length=5, loss="gbce")
    batch = make_batch(negatives=None)
    with pytest.raises(ConfigError, match=r"model\.loss=gbce needs negatives: set model\.asks\.num_negatives"):
        net(batch)
    net.eval()
    assert net.loss(net(batch), batch.targets) == {}
    assert set(net.loss(net(make_batch()), make_batch().targets)) == {"loss_gbce"}


def test_meta_device() -> None:
    """The forward pass does not look at values."""
    for variant in VARIANTS:
        net = create_model(variant, num_items=ITEMS, max_length=5, loss="bce").to("meta")
        batch = make_batch().to("meta")
        assert net.loss(net(batch), batch.targets)["loss_bce"].sum.shape == ()


@pytest.mark.parametrize("variant", VARIANTS)
def test_initial_values(variant: str) -> None:
    """Padding's row is zero; biases of norms are zero; each fused matrix is filled by itself."""
    torch.manual_seed(0)
    net = create_model(variant, num_items=3000, max_length=50, embed_dim=48, num_blocks=1)
    assert not net.item_emb.weight[0].any()
    std = net.item_emb.weight[1:].std().item()
    if variant == "sasrec_recbole":
        assert std == pytest.approx(0.02, rel=0.02)
        assert net.blocks[0].query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not net.blocks[0].linear1.bias.any()
    else:
        assert std == pytest.approx((2 / (3001 + 48)) ** 0.5, rel=0.02)  # Glorot's, uniform or normal
    if variant == "sasrec":
        bound = (6 / (48 + 48)) ** 0.5  # of each (48, 48), not of the (96, 48) that holds two
        largest = [part.abs().max().item() for part in net.blocks[0].key_value.weight.chunk(2)]
        assert largest == pytest.approx([bound, bound], rel=0.01)
        assert not net.blocks[0].query.bias.any()
    if variant == "sasrec_pmixer":
        assert not net.pos_emb.weight[0].any()
        assert net.blocks[0].attention.in_proj_weight.std().item() == pytest.approx((2 / (4 * 48)) ** 0.5, rel=0.05)
        assert net.blocks[0].linear1.bias.any()


def test_padding_stays_zero() -> None:
    """A training step moves neither padding's item nor its place."""
    net = create_model("sasrec_pmixer", num_items=ITEMS, max_length=5)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    loss_of(net, make_batch()).backward()
    optimizer.step()
    assert not net.item_emb.weight[0].any()
    assert not net.pos_emb.weight[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "pmixr"}, r"variant='pmixr': should be one of official, pmixer, recbole.*pmixer"),
        ({"loss": "sampled"}, r"loss='sampled': should be one of bce, gbce, sampled_ce, ce.*sampled_ce"),
        ({"norm": "pre"}, r"norm=pre works with variant=pmixer only, not with official"),
        ({"calibration": 1.5}, r"calibration=1\.5: should be at least 0 and at most 1"),
        ({"position_rows": 51}, r"position_rows=51 must be max_length=50, or one more with variant=pmixer"),
        ({"num_heads": 3}, r"embed_dim=50: should be a multiple of num_heads=3"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    """One line that names the key and what would be right."""
    with pytest.raises(ConfigError, match=message):
        SASRec(10, **arguments)  # type: ignore[arg-type]


def test_too_long() -> None:
    """Training data that is longer than the windows is refused by the key that is too small."""
    net = create_model("sasrec", num_items=ITEMS, max_length=4)
    with pytest.raises(ConfigError, match=r"sequences of 5 events are longer than model\.net\.max_length=4"):
        net(make_batch())


def test_foreign_weights() -> None:
    """Keys of another variant, or without one of three parts, are named."""
    with pytest.raises(CheckpointError, match=r"'blocks\.0\.query\.weight' belongs to no SASRec of this layout"):
        to_pmixer(create_model("sasrec", num_items=ITEMS).state_dict())
    key = "trm_encoder.layer.0.multi_head_attention.query.weight"
    with pytest.raises(CheckpointError, match="expected the parts query, key, value, found query"):
        from_recbole({key: torch.zeros(4, 4)})
    assert isinstance(create_model("sasrec_recbole", num_items=ITEMS), nn.Module)
