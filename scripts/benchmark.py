"""Time ours against the peer: same weights, same batch, same process, runs interleaved.

    python scripts/benchmark.py --rows detr-forward detr-train --runs 9 --json out.json

Each row first checks that both compute the same, then times them in turn (the order changes every round, so that
neither profits from the other's warm caches) and prints medians and the median of the rounds' ratios: above 1, ours is
faster. Peers: transformers' DETR with timm's ResNet-50 (its default) and Swin-T, torchvision's ResNet-50, plain torch
for GRU4Rec, SASRec and the CPU kernels (conv3x3, linear). A training step is forward, loss (DETR's with matching, on
every decoder layer) and backward; of GRU4Rec 20 steps with the data's and the optimizer's part, of SASRec one with the
optimizer's. SASRec's peer evaluates user by user among 101 items, ours among all.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from benchmarks.gru4rec import gru4rec_train
from benchmarks.kernels import conv3x3_forward, conv3x3_train, linear_forward, linear_train
from benchmarks.maskformer import maskformer_forward, maskformer_train
from benchmarks.sasrec import sasrec_eval, sasrec_train
from torch import Tensor, nn

from lab import create_model
from lab.models.detr.network import DETR
from lab.models.detr.weights import to_transformers
from lab.models.swin.weights import to_transformers as swin_to_transformers
from lab.structures import DetectionTargets


@dataclass
class Row:
    """One line of the table; times in milliseconds, ``ratio`` is the peer's time over ours."""

    name: str
    shape: str
    ours_ms: float
    peer_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    difference: float


Step = Callable[[], Any]
Clock = Callable[[], float]
Size = tuple[int, int]


def fill_norms(model: nn.Module) -> None:
    """Give every norm statistics and affine away from the identity, so that a wrong one would be seen."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator).to(value)
            value.copy_(0.75 + 0.5 * noise if name.endswith(("running_var", "weight")) else 0.1 * (noise - 0.5))


def make_targets(batch: int, size: Size, device: torch.device) -> tuple[DetectionTargets, list[dict[str, Tensor]]]:
    """Return the same 7 to 9 boxes an image in our form and in transformers'."""
    generator = torch.Generator().manual_seed(2)
    counts = tuple(7 + index % 3 for index in range(batch))
    center, extent = torch.rand(2, sum(counts), 2, generator=generator)
    boxes = torch.cat([0.3 + 0.4 * center, 0.05 + 0.5 * extent], dim=1)
    labels = torch.randint(0, 91, (sum(counts),), generator=generator)
    scale = torch.tensor([size[1], size[0]]).repeat(2)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1) * scale
    sizes = torch.tensor([size] * batch, dtype=torch.float32)
    ours = DetectionTargets(corners, labels, counts, sizes).to(device)
    pairs = zip(labels.to(device).split(counts), boxes.to(device).split(counts), strict=True)
    return ours, [{"class_labels": label, "boxes": box} for label, box in pairs]


def detr_pair(training: bool, device: torch.device) -> tuple[DETR, nn.Module]:
    """Return ours and transformers' DETR with ResNet-50 and the same weights."""
    from transformers import DetrConfig, DetrForObjectDetection

    torch.manual_seed(0)
    ours: Any = create_model("detr_resnet50")
    fill_norms(ours)
    # Ours drops attention weights and hidden activations too, as the paper's code does; so must the peer here.
    config = DetrConfig(num_labels=91, auxiliary_loss=training, attention_dropout=0.1, activation_dropout=0.1)
    peer = DetrForObjectDetection(config)
    peer.load_state_dict(to_transformers(ours.state_dict(), "timm"), strict=True)
    for name, parameter in peer.model.backbone.named_parameters():
        # The paper freezes the stem and the first stage. Transformers means to, but not with timm's backbone.
        parameter.requires_grad_(not name.startswith(("model.conv1.", "model.layer1.")))
    return ours.to(device).train(training), peer.to(device).train(training)


def detr_forward(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Inference on images without padding."""
    ours, peer = detr_pair(False, device)
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)

    def run_ours() -> Tensor:
        with torch.inference_mode():
            return ours(images).logits

    def run_peer() -> Tensor:
        with torch.inference_mode():
            return peer(images).logits

    return run_ours, run_peer, worst(run_ours(), run_peer())


def detr_train(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Forward, loss of every layer with matching, backward; compared by the last layer's loss without dropout."""
    ours, peer = detr_pair(True, device)
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    targets, labels = make_targets(batch, size, device)

    def run_ours() -> Tensor:
        ours.zero_grad(set_to_none=True)
        loss = torch.stack(list(ours.loss(ours(images), targets).values())).sum()
        loss.backward()
        return loss.detach()

    def run_peer() -> Tensor:
        peer.zero_grad(set_to_none=True)
        loss: Tensor = peer(images, labels=labels).loss
        loss.backward()
        return loss.detach()

    ours.eval(), peer.eval()
    with torch.no_grad():  # transformers' auxiliary losses come from other states (see tests/parity/test_detr.py)
        peer.config.auxiliary_loss = False
        terms = ours.loss(ours(images), targets)
        mine = sum(terms[name] for name in ("loss_ce", "loss_bbox", "loss_giou"))
        difference = worst(torch.as_tensor(mine), peer(images, labels=labels).loss)
        peer.config.auxiliary_loss = True
    ours.train(), peer.train()
    return run_ours, run_peer, difference


def resnet_pair(device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return ours and torchvision's ResNet-50 with the same weights."""
    import torchvision

    torch.manual_seed(0)
    ours = create_model("resnet50")
    fill_norms(ours)
    peer = torchvision.models.resnet50()
    peer.load_state_dict(ours.state_dict())
    return ours.to(device), peer.to(device)


def resnet_forward(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Inference with plain batch norms in eval mode."""
    ours, peer = (model.eval() for model in resnet_pair(device))
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)

    def run(model: nn.Module) -> Tensor:
        with torch.inference_mode():
            out: Tensor = model(images)
            return out

    return lambda: run(ours), lambda: run(peer), worst(run(ours), run(peer))


def resnet_train(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Forward, cross-entropy, backward with batch statistics."""
    ours, peer = (model.train() for model in resnet_pair(device))
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    labels = torch.arange(batch, device=device)

    def run(model: nn.Module) -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss.detach()

    return lambda: run(ours), lambda: run(peer), worst(run(ours), run(peer))


def swin_pair(device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return ours and transformers' Swin-T with the same weights, without the stochastic depth of either."""
    from transformers import SwinConfig, SwinForImageClassification

    torch.manual_seed(0)
    ours = create_model("swin_tiny", drop_path_rate=0.0)
    fill_norms(ours)
    peer = SwinForImageClassification(SwinConfig(num_labels=1000, drop_path_rate=0.0))
    peer.load_state_dict(swin_to_transformers(ours.state_dict()), strict=True)
    return ours.to(device), peer.to(device)


def swin_forward(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Inference of the classifier."""
    ours, peer = (model.eval() for model in swin_pair(device))
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)

    def run_ours() -> Tensor:
        with torch.inference_mode():
            out: Tensor = ours(images)
            return out

    def run_peer() -> Tensor:
        with torch.inference_mode():
            out: Tensor = peer(images).logits
            return out

    return run_ours, run_peer, worst(run_ours(), run_peer())


def swin_train(batch: int, size: Size, device: torch.device) -> tuple[Step, Step, float]:
    """Forward, cross-entropy, backward, without stochastic depth."""
    ours, peer = (model.train() for model in swin_pair(device))
    images = torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    labels = torch.arange(batch, device=device)

    def run(model: nn.Module) -> Tensor:
        model.zero_grad(set_to_none=True)
        out = model(images)
        loss = nn.functional.cross_entropy(out if isinstance(out, Tensor) else out.logits, labels)
        loss.backward()
        return loss.detach()

    return lambda: run(ours), lambda: run(peer), worst(run(ours), run(peer))


Maker = Callable[[int, Size, torch.device], tuple[Step, Step, float]]
ROWS: dict[str, tuple[Maker, int, Size]] = {
    "detr-forward": (detr_forward, 2, (480, 640)),
    "detr-train": (detr_train, 2, (480, 640)),
    "resnet50-forward": (resnet_forward, 8, (224, 224)),
    "resnet50-train": (resnet_train, 8, (224, 224)),
    "swin-forward": (swin_forward, 8, (224, 224)),
    "swin-train": (swin_train, 8, (224, 224)),
    "maskformer-forward": (maskformer_forward, 1, (480, 640)),
    "maskformer-train": (maskformer_train, 2, (320, 320)),
    "conv3x3-forward": (conv3x3_forward, 1, (120, 160)),
    "conv3x3-train": (conv3x3_train, 2, (80, 80)),
    "linear-forward": (linear_forward, 1, (30, 40)),
    "linear-train": (linear_train, 2, (20, 20)),
    "gru4rec-train": (gru4rec_train, 64, (2048, 20000)),  # lanes, (negatives, items)
    "sasrec-train": (sasrec_train, 128, (50, 20000)),  # sequences, (longest, items)
    "sasrec-eval": (sasrec_eval, 128, (50, 20000)),
}


def worst(ours: Tensor, peer: Tensor) -> float:
    """Return the largest difference relative to the largest value."""
    return float((ours - peer).abs().max() / peer.abs().max())


def seconds(step: Step, device: torch.device, clock: Clock) -> float:
    """Time one call, on a GPU until it has finished."""
    start = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def measure(name: str, runs: int, batch: int | None, size: Size | None, device: torch.device, clock: Clock) -> Row:
    """Build, compare, warm up and time one row."""
    make, default_batch, default_size = ROWS[name]
    batch, size = batch or default_batch, size or default_size
    ours, peer, difference = make(batch, size, device)
    if difference > 1e-3:
        raise SystemExit(f"{name}: ours and the peer differ by {difference:.1e}; nothing was timed")
    for step in (ours, peer, ours, peer):
        seconds(step, device, clock)
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    for index in range(runs):
        order = (("ours", ours), ("peer", peer))
        for label, step in order if index % 2 else order[::-1]:
            times[label].append(seconds(step, device, clock))
    ratios = [theirs / mine for mine, theirs in zip(times["ours"], times["peer"], strict=True)]
    milliseconds = [1000 * statistics.median(times[label]) for label in ("ours", "peer")]
    shape = f"{batch}x{size[0]}x{size[1]}"
    return Row(name, shape, *milliseconds, statistics.median(ratios), min(ratios), max(ratios), difference)


def hardware(device: torch.device) -> str:
    """Describe the machine in one line."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to time (default: all)")
    parser.add_argument("--runs", type=int, default=9, help="timed rounds of each row (default: 9)")
    parser.add_argument("--batch", type=int, help="images in a batch (default: 2 for DETR, 8 for ResNet and Swin)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="size of the images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time of all threads, which other work disturbs less"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.cpu_time and device.type != "cpu":
        parser.error("--cpu-time says nothing about a GPU")
    clock = time.process_time if options.cpu_time else time.perf_counter
    print(
        f"{date.today().isoformat()}, {hardware(device)}, {options.runs} interleaved rounds"
        + (", processor time" if options.cpu_time else "")
    )
    print("| row | batch | ours ms | peer ms | peer / ours (range) | difference |\n|---|---|---|---|---|---|")
    rows = []
    for name in options.rows:
        row = measure(name, options.runs, options.batch, tuple(options.size) if options.size else None, device, clock)
        rows.append(row)
        ratio = f"**{row.ratio:.2f}** ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
        times = f"{row.ours_ms:.0f} | {row.peer_ms:.0f}"
        print(f"| {name} | {row.shape} | {times} | {ratio} | {row.difference:.0e} |", flush=True)
    if options.json:
        report = {"date": date.today().isoformat(), "hardware": hardware(device), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
