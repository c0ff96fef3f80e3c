"""Time lab's code against another implementation (its peer): same weights, batch and process, runs interleaved.

    python scripts/benchmark.py --rows detr-forward detr-train --runs 9 --json out.json

Each row first checks that both give the same results, then times them in turn. The order changes every round, so that
neither profits from the other's warm caches. It prints medians and the median of the rounds' ratios: above 1, lab is
faster. Peers: transformers' DETR with timm's ResNet-50 (its default) and Swin-T, torchvision's ResNet-50, AlexNet,
DenseNet-121, ShuffleNetV2, MobileNetV2 and deformable convolution, timm's ViT and VoVNet, transformers' BERT and BLOOM,
plain torch for AFNO (as published), the wide ResNet, YOLO-Fastest (V2 with its published boxes and loss), GRU4Rec,
SASRec and the CPU kernels (conv3x3, linear), torchvision's ImageFolder for reading images, the transforms of DETR's
authors for reading images with boxes, torchvision's policies image by image
(rand_augment, trivial_augment), its hue and saturation (hsv), whole images pasted (mosaic), the same samples without
mosaics (mosaic-sample: the ratio is what they cost), a loader of one image after the other for a batch of MixMatch,
embreex's own interface for rendering (where the peer casts rays only and paints nothing), trimesh for questions about a
mesh, faster-coco-eval for AP of boxes and codes of masks, NumPy for the pixels of mIoU, plain torch for ranks. Rows
called deploy time the copy that ``lab.deploy`` makes, against the peer as it is, and those called deploy-frozen against
``torch.jit.optimize_for_inference`` of the peer. A training step is forward, loss (DETR's with matching, on every
decoder layer) and backward; ``detr-step`` clips and steps too. For GRU4Rec it is 20 steps including data and optimizer,
for SASRec one step including the optimizer. SASRec's peer evaluates user by user among 101 items, lab among all.

The last column is the share of this process's rate in products of matrices (1024x1024 in float32, the better one of
torch.mm and oneDNN) that ours reaches, counted by the operations of the peer: near 100 % nothing is left to gain
without saving operations. Elementwise work counts as nothing, so a training step never comes near.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from benchmarks import (
    afno,
    backbones,
    bert,
    bloom,
    classifiers,
    darknet,
    detr,
    detr3d,
    segmenters,
    vggish,
    yolo_fastest,
)
from benchmarks.augmentation import mixmatch_batch
from benchmarks.box_augmentation import hsv_row, mosaic_row, mosaic_sample_row
from benchmarks.counting import FORMULAS
from benchmarks.gru4rec import gru4rec_train
from benchmarks.images import boxes_batch, boxes_test_batch, decoded_batch, folder_batch, small_batch
from benchmarks.kernels import conv3x3_forward, conv3x3_train, linear_forward, linear_train
from benchmarks.metrics import box_ap_row, mask_codes_row, pixels_row, ranking_row
from benchmarks.pairs import Made, Make, Size, Step, deploy_row, forward_row, optimizer_row, train_row, whole_step_row
from benchmarks.policies import policy_row
from benchmarks.queries import inside_row, nearest_row, rays_row, simplify_row
from benchmarks.rendering import rig_row, scene_row
from benchmarks.sasrec import sasrec_eval, sasrec_train
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lab.compat.torch import has_onednn_linear, onednn_linear
from lab.system.provenance import cpu_name

SIDE = 1024
"""Of the matrices whose product gives the rate that others are compared with."""


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
    gflops: float
    share: float


Clock = Callable[[], float]

DEPLOYED: dict[str, tuple[Make, str, Size]] = {
    "resnet50": (classifiers.make_torchvision, "resnet50", (224, 224)),
    "densenet121": (classifiers.make_torchvision, "densenet121", (224, 224)),
    "shufflenet": (classifiers.make_torchvision, "shufflenet_v2_x1_0", (224, 224)),
    "mobilenet": (classifiers.make_torchvision, "mobilenet_v2", (224, 224)),
    "alexnet": (classifiers.make_torchvision, "alexnet", (224, 224)),
    "wide_resnet": (classifiers.make_wide_resnet, "wide_resnet28_2", (32, 32)),
    "vit-small": (classifiers.make_vit, "vit_small_patch16_224", (224, 224)),
}

Maker = Callable[[int, Size, torch.device], Made]
ROWS: dict[str, tuple[Maker, int, Size]] = {
    "detr-forward": (forward_row(detr.make, "detr_resnet50"), 2, (480, 640)),
    "detr-train": (train_row(detr.make, "detr_resnet50"), 2, (480, 640)),
    "detr-step": (whole_step_row(detr.make, "detr_resnet50", detr.OPTIMIZER, clip=0.1), 2, (480, 640)),
    "detr-optimizer": (optimizer_row(detr.make, "detr_resnet50", detr.OPTIMIZER), 1, (64, 64)),
    "detr3d_tiny-train": (train_row(detr3d.make, "detr3d_tiny"), 4, (96, 160)),
    "detr3d-lookup-forward": (detr3d.lookup_forward, 1, (928, 1600)),
    "detr3d-lookup-train": (detr3d.lookup_train, 1, (928, 1600)),
    "resnet50-forward": (forward_row(classifiers.make_torchvision, "resnet50"), 8, (224, 224)),
    "resnet50-train": (train_row(classifiers.make_torchvision, "resnet50"), 8, (224, 224)),
    "shufflenet-forward": (forward_row(classifiers.make_torchvision, "shufflenet_v2_x1_0"), 16, (224, 224)),
    "shufflenet-train": (train_row(classifiers.make_torchvision, "shufflenet_v2_x1_0"), 16, (224, 224)),
    "mobilenet-forward": (forward_row(classifiers.make_torchvision, "mobilenet_v2"), 16, (224, 224)),
    "mobilenet-train": (train_row(classifiers.make_torchvision, "mobilenet_v2"), 16, (224, 224)),
    "wide_resnet-forward": (forward_row(classifiers.make_wide_resnet, "wide_resnet28_2"), 16, (32, 32)),
    "wide_resnet-train": (train_row(classifiers.make_wide_resnet, "wide_resnet28_2"), 64, (32, 32)),
    "alexnet-forward": (forward_row(classifiers.make_torchvision, "alexnet"), 1, (224, 224)),
    "alexnet-train": (train_row(classifiers.make_torchvision, "alexnet"), 16, (224, 224)),
    "densenet121-forward": (forward_row(classifiers.make_torchvision, "densenet121"), 4, (224, 224)),
    "densenet121-train": (train_row(classifiers.make_torchvision, "densenet121"), 4, (224, 224)),
    "swin-forward": (forward_row(classifiers.make_swin, "swin_tiny"), 8, (224, 224)),
    "swin-train": (train_row(classifiers.make_swin, "swin_tiny"), 8, (224, 224)),
    "vit-forward": (forward_row(classifiers.make_vit, "vit_base_patch16_224"), 1, (224, 224)),
    "vit-small-forward": (forward_row(classifiers.make_vit, "vit_small_patch16_224"), 16, (224, 224)),
    "vit-small-train": (train_row(classifiers.make_vit, "vit_small_patch16_224"), 8, (224, 224)),
    **{
        f"{row}-deploy{'-frozen' if frozen else ''}": (deploy_row(make, name, frozen), 16, size)
        for row, (make, name, size) in DEPLOYED.items()
        for frozen in (False, True)
    },
    "maskformer-forward": (forward_row(segmenters.make_maskformer, "maskformer_swin_tiny"), 1, (480, 640)),
    "maskformer-train": (train_row(segmenters.make_maskformer, "maskformer_swin_tiny"), 2, (320, 320)),
    "mixmatch-batch": (mixmatch_batch, 64, (32, 32)),
    "conv3x3-forward": (conv3x3_forward, 1, (120, 160)),
    "conv3x3-train": (conv3x3_train, 2, (80, 80)),
    "linear-forward": (linear_forward, 1, (30, 40)),
    "linear-train": (linear_train, 2, (20, 20)),
    "deform_conv-forward": (backbones.deform_conv_row(train=False), 1, (58, 100)),
    "deform_conv-train": (backbones.deform_conv_row(train=True), 1, (58, 100)),
    "resnet50-dcn-forward": (forward_row(backbones.make_deformable, "resnet50"), 1, (224, 384)),
    "resnet50-dcn-train": (train_row(backbones.make_deformable, "resnet50"), 1, (224, 384)),
    "vovnet99-forward": (forward_row(backbones.make_vovnet, "vovnet99"), 1, (224, 384)),
    "vovnet39-train": (train_row(backbones.make_vovnet, "vovnet39"), 2, (224, 384)),
    "rand_augment": (policy_row("rand_augment"), 128, (32, 32)),
    "trivial_augment": (policy_row("trivial_augment"), 64, (224, 224)),
    "hsv": (hsv_row, 8, (352, 352)),
    "mosaic": (mosaic_row, 8, (480, 640)),
    "mosaic-sample": (mosaic_sample_row, 8, (480, 640)),
    "images-decode": (decoded_batch, 16, (480, 640)),
    "images-folder": (folder_batch, 32, (375, 500)),
    "images-small": (small_batch, 128, (32, 32)),
    "images-boxes": (boxes_batch, 16, (480, 640)),
    "images-boxes-test": (boxes_test_batch, 16, (480, 640)),
    "render-scene": (scene_row, 30, (256, 256)),  # objects, (height, width)
    "render-rig": (rig_row, 30, (256, 256)),
    "mesh-nearest": (nearest_row, 10000, (64, 72)),  # points, (sides, rings) of a torus
    "mesh-inside": (inside_row, 10000, (64, 72)),
    "mesh-rays": (rays_row, 10000, (64, 72)),
    "mesh-simplify": (simplify_row, 1000, (128, 64)),  # triangles of the result, (sides, rings) of a ball
    "bloom-prefill": (bloom.bloom_prefill, 2, (256, 8192)),  # sequences, (length, vocabulary)
    "bloom-decode": (bloom.bloom_decode, 2, (256, 8192)),
    "bloom-generate": (bloom.bloom_generate, 2, (256, 8192)),
    "bloom-generate-deploy": (bloom.bloom_generate_deployed, 2, (256, 8192)),
    "bloom-train": (train_row(bloom.make, "bloom_tiny"), 2, (256, 8192)),
    "bert-pretraining": (bert.pretraining_row, 8, (128, 30522)),  # sequences, (longest, vocabulary)
    "bert-classification": (bert.inference_row("text_classifier"), 32, (128, 30522)),
    "bert-answering": (bert.inference_row("span_answerer"), 8, (384, 30522)),
    "vggish-front-end": (vggish.front_end_row, 64, (1, 0)),  # files in memory, of up to (seconds, -)
    "vggish-embeddings": (vggish.embeddings_row, 64, (1, 0)),
    "vggish-forward": (forward_row(vggish.make, "vggish"), 16, (1, 10)),  # clips, (examples of each, classes)
    "vggish-train": (train_row(vggish.make, "vggish"), 8, (1, 10)),
    "vggish-tiny-forward": (forward_row(vggish.make, "vggish_tiny"), 32, (1, 10)),
    "vggish-tiny-train": (train_row(vggish.make, "vggish_tiny"), 32, (1, 10)),
    "yolo_fastest_v1-forward": (forward_row(darknet.make, "yolo_fastest_v1_1"), 1, (320, 320)),
    "yolo_fastest_v1-deploy": (deploy_row(darknet.make, "yolo_fastest_v1_1", call=yolo_fastest.maps_of), 1, (320, 320)),
    "yolo_fastest-forward": (forward_row(yolo_fastest.make, "yolo_fastest_v2"), 1, (352, 352)),
    "yolo_fastest-deploy": (deploy_row(yolo_fastest.make, "yolo_fastest_v2", call=yolo_fastest.maps_of), 1, (352, 352)),
    "yolo_fastest-boxes": (yolo_fastest.boxes_row, 16, (352, 352)),  # decoding and suppression
    "yolo_fastest-train": (train_row(yolo_fastest.make, "yolo_fastest_v2"), 16, (352, 352)),
    "gru4rec-train": (gru4rec_train, 64, (2048, 20000)),  # lanes, (negatives, items)
    "sasrec-train": (sasrec_train, 128, (50, 20000)),  # sequences, (longest, items)
    "sasrec-eval": (sasrec_eval, 128, (50, 20000)),
    "metric-boxes": (box_ap_row, 500, (100, 80)),  # images, (detections of each, classes)
    "metric-masks": (mask_codes_row, 100, (480, 640)),
    "metric-pixels": (pixels_row, 150, (512, 512)),  # classes
    "metric-ranks": (ranking_row, 512, (100000, 64)),  # queries, (items, numbers of each)
    "afno-mixing-forward": (afno.mixing_row, 1, (90, 180)),
    "afno-mixing-train": (afno.mixing_step_row, 1, (90, 180)),
    "afno-forward": (forward_row(afno.make, "afno_small"), 1, (256, 512)),
    "afno-train": (train_row(afno.make, "afno_small"), 1, (256, 512)),
    "afno_imagenet-forward": (forward_row(afno.make, "afno_imagenet"), 1, (224, 224)),
}


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
        raise SystemExit(f"{name}: lab and the peer differ by {difference:.1e}; nothing was timed")
    for step in (ours, peer, ours, peer):
        seconds(step, device, clock)
    times: dict[str, list[float]] = {"ours": [], "peer": [], "product": []}
    product = products(device)
    for index in range(runs):
        order = (("ours", ours), ("peer", peer))
        for label, step in order if index % 2 else order[::-1]:
            times[label].append(seconds(step, device, clock))
        times["product"].append(min(seconds(step, device, clock) for step in product for _ in range(2)))
    ratios = [theirs / mine for mine, theirs in zip(times["ours"], times["peer"], strict=True)]
    milliseconds = [1000 * statistics.median(times[label]) for label in ("ours", "peer")]
    shape = f"{batch}x{size[0]}x{size[1]}"
    gflops = operations(peer) / 1e9
    rates = gflops / statistics.median(times["ours"]), 2 * SIDE**3 / 1e9 / statistics.median(times["product"])
    spread = statistics.median(ratios), min(ratios), max(ratios)
    return Row(name, shape, *milliseconds, *spread, difference, gflops, rates[0] / rates[1])


def products(device: torch.device) -> tuple[Step, ...]:
    """Return calls that multiply two matrices of ``SIDE``."""
    left, right = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    plain: Step = torch.inference_mode()(lambda: left @ right)
    if device.type != "cpu" or not has_onednn_linear():
        return (plain,)
    return plain, torch.inference_mode()(lambda: onednn_linear(left, right, None))


class _Untracked(nullcontext[None]):
    """In place of the counter's own tracker of modules, whose hooks fail within a matcher that needs no gradient."""

    parents = frozenset({"Global"})


def operations(step: Step) -> int:
    """Count the floating-point operations of a call's products, two for each multiplication and addition."""
    counter: Any = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    counter.mod_tracker = _Untracked()
    with sdpa_kernel(SDPBackend.MATH), counter:  # fused attention is not counted
        step()
    return int(counter.get_total_flops())


def hardware(device: torch.device) -> str:
    """Describe the machine in one line."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="what to time (default: all)")
    parser.add_argument("--runs", type=int, default=9, help="timed rounds of each row (default: 9)")
    parser.add_argument(
        "--batch", type=int, nargs="+", help="images in a batch, one or more numbers (default: the row's)"
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="size of the images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument(
        "--cpu-time", action="store_true", help="CPU time of all threads, less disturbed by other processes"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.cpu_time and device.type != "cpu":
        parser.error("--cpu-time says nothing about a GPU")
    clock = time.process_time if options.cpu_time else time.perf_counter
    print(
        f"{date.today().isoformat()}, {hardware(device)}, {options.runs} interleaved rounds"
        + (", CPU time" if options.cpu_time else "")
    )
    print("| row | batch | ours ms | peer ms | peer / ours (range) | difference | of sgemm |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    size = tuple(options.size) if options.size else None
    for name, batch in itertools.product(options.rows, options.batch or [None]):
        row = measure(name, options.runs, batch, size, device, clock)
        rows.append(row)
        ratio = f"**{row.ratio:.2f}** ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
        times = f"{row.ours_ms:.1f} | {row.peer_ms:.1f}"
        share = f"{row.share:.0%}" if row.share > 0.01 else ""  # of frozen peers the operations are not counted
        print(f"| {name} | {row.shape} | {times} | {ratio} | {row.difference:.0e} | {share} |", flush=True)
    if options.json:
        report = {"date": date.today().isoformat(), "hardware": hardware(device), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
