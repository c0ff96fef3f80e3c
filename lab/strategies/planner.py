"""``strategy=auto``: estimates the memory of every strategy that could run and picks the fastest that fits. No torch.

The order by speed: one device, DDP (one all-reduce of the gradients), FSDP (parameters are also gathered twice),
DeepSpeed's ZeRO-3, and last the strategies that keep states or parameters in the host's memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lab.config.combinations import conflict
from lab.errors import ConfigError
from lab.strategies.memory import Estimate, Workload, estimate

OFFLOAD = ("fsdp_offload", "deepspeed_zero2_offload", "deepspeed_zero3_offload")
ORDER = ("single", "ddp", "fsdp", "deepspeed_zero3", *OFFLOAD)
"""Candidates, the fastest first; ``fsdp_offload`` is ``fsdp`` with ``cpu_offload``."""
HEADROOM = 0.8
"""The share of a device's memory that a strategy may fill: on a CPU, workspace and malloc took up to a fifth more."""
NOT_INSTALLED = "not installed"
GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """The devices to run on.

    Attributes:
        ranks: the number of devices of the job.
        memory: bytes of each device; on CPUs a rank's share of the machine's memory.
        host: a rank's share of the host's memory, if that is separate from the device's; 0 on CPUs.
        gpu: whether the devices are GPUs.
    """

    ranks: int
    memory: int
    host: int = 0
    gpu: bool = False


@dataclass(frozen=True)
class Row:
    """A candidate strategy.

    Attributes:
        name: its name in the table.
        settings: ``name`` and options of the strategy.
        needs: the memory that each rank needs.
        obstacle: why it cannot run here, for a reason other than memory; empty if it can.
        fits: whether it can run and the memory suffices.
    """

    name: str
    settings: Mapping[str, Any]
    needs: Estimate
    obstacle: str
    fits: bool


@dataclass(frozen=True)
class Choice:
    """The planner's choice: the settings of a strategy, and the reason in one line."""

    settings: dict[str, Any]
    reason: str

    @property
    def name(self) -> str:
        """The strategy's name."""
        return str(self.settings["name"])


def candidates(
    options: Mapping[str, Mapping[str, Any]], configured: Mapping[str, Any], machine: Machine
) -> dict[str, Mapping[str, Any]]:
    """Return the settings of every candidate by its name, in the planner's order.

    Args:
        options: the settings of each option of ``conf/strategy``.
        configured: the strategy of the config; unless it is ``auto``, it replaces the candidate with default options,
            or is added at the end.
        machine: with one device the candidate is ``single``, with several the others; CPUs have no offload variants.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name in ORDER:
        if (name not in OFFLOAD and (name == "single") != (machine.ranks == 1)) or (
            name in OFFLOAD and not machine.gpu
        ):
            continue
        if name == "fsdp_offload":
            found[name] = {**options["fsdp"], "cpu_offload": True}
        elif name in options:
            found[name] = options[name]
    if configured["name"] != "auto":
        found[configured["name"]] = configured
    return found


def obstacle(settings: Mapping[str, Any], machine: Machine, trainer: Mapping[str, Any]) -> str:
    """Say why a strategy cannot run, for a reason other than memory; "" if it can.

    Args:
        settings: the settings of the strategy.
        machine: the devices.
        trainer: the config group ``trainer``.
    """
    name = settings["name"]
    offload = any(settings.get(key) for key in ("cpu_offload", "offload_optimizer", "offload_parameters"))
    if name.startswith("deepspeed") and find_spec("deepspeed") is None:
        return NOT_INSTALLED
    if (found := conflict(name, trainer, machine.ranks if machine.gpu else 0)) is not None:
        return f"not with {trainer[found[0].partition('.')[2]]}"
    if offload and not machine.gpu:
        return "no other memory"
    return ""


def table(
    work: Workload, machine: Machine, chosen: Mapping[str, Mapping[str, Any]], trainer: Mapping[str, Any]
) -> list[Row]:
    """Return a row for each candidate."""
    rows = []
    for name, settings in chosen.items():
        needs, why_not = estimate(work, settings, machine.ranks, machine.gpu), obstacle(settings, machine, trainer)
        enough = needs.total <= HEADROOM * machine.memory and needs.host <= HEADROOM * machine.host
        rows.append(Row(name, settings, needs, why_not, enough and not why_not))
    return rows


def pick(rows: Sequence[Row], machine: Machine) -> Choice:
    """Return the first row that fits; rows are ordered by speed.

    Raises:
        ConfigError: none fits. The message says what the smallest candidate needs, and what would help.
    """
    for row in rows:
        if row.fits:
            needs = f"{row.needs.total / GIB:.2f} of {machine.memory / GIB:.2f} GiB"
            where = "the device" if machine.ranks == 1 else f"each of {machine.ranks} devices"
            return Choice(dict(row.settings), f"the fastest that fits: {needs} on {where}, by estimate")
    raise ConfigError(refusal(rows, machine))


def refusal(rows: Sequence[Row], machine: Machine) -> str:
    """Return the message that nothing fits: what the smallest candidate needs, and what would help."""
    possible = [row for row in rows if not row.obstacle]
    if not possible:
        reasons = ", ".join(f"{row.name} ({row.obstacle})" for row in rows)
        return f"strategy=auto: no strategy can run here: {reasons}"
    least = min(possible, key=lambda row: row.needs.total)
    needs = least.needs
    lack = (
        f"needs the least, {needs.total / GIB:.2f} GiB for each device, {machine.memory * HEADROOM / GIB:.2f} GiB of "
        f"{machine.memory / GIB:.2f} may be used"
    )
    if needs.total <= HEADROOM * machine.memory:
        lack = (
            f"fits the devices and needs {needs.host / GIB:.2f} GiB of the host's memory for each, "
            f"{machine.host * HEADROOM / GIB:.2f} GiB may be used"
        )
    helps = ["more trainer.devices"]
    if needs.activations > needs.scratch:
        share = needs.activations / GIB
        helps.insert(0, f"a smaller data.batch_size or more trainer.accumulate_grad_batches (activations: {share:.2f})")
    if least.name == "fsdp":
        helps.append("strategy=fsdp strategy.activation_checkpointing=true")
    if machine.gpu and any(row.obstacle == NOT_INSTALLED for row in rows):
        helps.append("pip install 'lab[deepspeed]', which can offload to the host's memory")
    return f"strategy=auto: nothing fits: {least.name} {lack}; what helps: {', '.join(helps)}"
