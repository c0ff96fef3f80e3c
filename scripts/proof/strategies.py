"""Part 4: every strategy on one device: losses against ``single``'s, memory against the planner's estimate."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any

from proof import jobs
from proof.runner import Proof

STRATEGIES = (
    "single",
    "ddp",
    "fsdp",
    "deepspeed_zero2",
    "deepspeed_zero3",
    "deepspeed_zero2_offload",
    "deepspeed_zero3_offload",
)
BLOOM = {
    "single": ("strategy=single",),
    "tensor_parallel, dtensor": ("strategy=tensor_parallel", "model.net.tensor_parallel=dtensor"),
    "tensor_parallel, megatron": ("strategy=tensor_parallel", "model.net.tensor_parallel=megatron"),
}
"""A language model, the tensor-parallel ones on two GPUs where there are two."""
LOSS_TOLERANCE = 1e-4


def run(proof: Proof) -> None:
    """Train a few steps under each; on a GPU the model is large enough for its memory to be measured."""
    alone: list[float] = []
    for name in STRATEGIES[:3] if proof.tiny else STRATEGIES:
        proof.item(name, partial(_try, proof, name, alone), 1 if proof.tiny else 10)
    alone = []
    for way, words in BLOOM.items():
        proof.item(f"BLOOM, {way}", partial(_bloom, proof, way, words, alone), 1 if proof.tiny else 10)


def _try(proof: Proof, name: str, alone: list[float], found: dict[str, Any]) -> None:
    """Train under a strategy and compare with the losses of ``alone``, which the first one fills."""
    if name.startswith("deepspeed") and find_spec("deepspeed") is None:
        found["not_run"] = "deepspeed is not installed here"
        return
    words = _words(proof, name)
    _train(proof, f"runs-{name}", words, alone, found)
    found.update(jobs.asked(lambda: _estimate(words, name), proof.folder))


def _bloom(proof: Proof, way: str, more: tuple[str, ...], alone: list[float], found: dict[str, Any]) -> None:
    """Train a language model and compare with the losses of ``alone``, which the first one fills."""
    import torch

    runs = f"runs-bloom-{way.replace(', ', '-')}"
    words = [*jobs.common_words(proof, runs), "model=bloom_tiny", "data=text", "data.tokenizer=characters"]
    if not proof.tiny:
        words += ["model.net.embed_dim=1024", "model.net.num_heads=16", "model.net.num_layers=12"]
    if way != "single" and proof.device == "cuda":
        words += [f"trainer.devices={min(2, torch.cuda.device_count())}"]
    words += ["model.net.vocab_multiple=2", "data.num_train=200", "data.num_val=20", "data.num_test=20"]
    _train(proof, runs, [*words, *_steps(proof), *more], alone, found)


def _train(proof: Proof, runs: str, words: list[str], alone: list[float], found: dict[str, Any]) -> None:
    jobs.done(jobs.command(words))
    trained = jobs.trained_rows(jobs.only_run(proof.folder / runs))
    losses = [row["train/loss"] for row in trained]
    if not alone:
        alone.extend(losses)
    found["loss_difference"] = max(abs(mine / other - 1) for mine, other in zip(losses, alone, strict=True))
    found["holds"] = found["loss_difference"] <= LOSS_TOLERANCE
    found["samples_per_s"] = trained[-1]["train/samples_per_s"]
    found["memory_gib"] = trained[-1]["train/peak_memory_gib"]


def _steps(proof: Proof) -> list[str]:
    """Return the words of a short training by SGD: Adam would turn the rounding of tiny gradients into full steps."""
    steps = 3 if proof.tiny else 10
    words = ["optimizer=sgd", "optimizer.lr=1e-4", "scheduler=constant", "scheduler.warmup_steps=0"]
    return [*words, f"trainer.max_steps={steps}", f"trainer.val_every_n_steps={steps}", "trainer.log_every_n_steps=1"]


def _words(proof: Proof, strategy: str) -> list[str]:
    size = ["model=detr_tiny", "data.num_val=16", "data.num_test=16", "callbacks.pictures=0", "callbacks.ema=null"]
    if not proof.tiny:
        size += ["model.net.embed_dim=768", "model.net.feedforward_dim=3072", "model.net.num_encoder_layers=12"]
        size += ["model.net.num_decoder_layers=12", "model.net.num_heads=12", "data.batch_size=32"]
    words = [*jobs.common_words(proof, f"runs-{strategy}"), *size, "data=shapes", f"strategy={strategy}"]
    return [*words, *_steps(proof)]


def _estimate(words: list[str], strategy: str) -> dict[str, Any]:
    """Return the planner's estimate of the strategy's memory on this device."""
    import torch

    from lab.experiment.assembly import build_data, build_task, give_plan, make_plan, prepare
    from lab.experiment.planning import describe, find_machine, of_many, rows_of, with_activations
    from lab.launch.prepare import prepare_job

    config = prepare_job(words, []).config
    prepare(config)
    data, place = build_data(config), of_many(config)
    plan = make_plan(config, data, place)
    give_plan(data, plan.load)
    with torch.device("meta"):
        task = build_task(config, data, plan.schedule_steps)
    machine = find_machine(config, place)
    work = with_activations(describe(config, task, training=True), config, task, data)
    row = next(row for row in rows_of(config, work, machine) if row.settings["name"] == strategy)
    return {"estimate_gib": row.needs.total / 2**30, "estimate_host_gib": row.needs.host / 2**30}
