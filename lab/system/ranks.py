"""Reads the rank of this process from the environment variables of its launcher. No torch.

lab's own parent process, torchrun, Slurm's ``srun`` and MPI-like launchers each set their own variables. All of them
become a ``Place``, so that the rest of the code is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """The rank of a process and the size of its job.

    Attributes:
        rank: its rank in the whole job.
        local_rank: its rank on its machine.
        world_size: the number of processes of the job.
        local_world_size: the number of processes on its machine.
        node_rank: the number of its machine.
        master_addr: the host of the rendezvous.
        master_port: the port of the rendezvous.
        launcher: the launcher that started it: ``lab``, ``torchrun``, ``slurm`` or ``mpi``.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    master_port: int = 0
    launcher: str = "lab"

    @property
    def num_nodes(self) -> int:
        """The number of machines; each runs as many processes as this one."""
        return self.world_size // self.local_world_size

    def environment(self) -> dict[str, str]:
        """Return torchrun's environment variables for this place."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.local_world_size),
            "GROUP_RANK": str(self.node_rank),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }


def external_place(environ: Mapping[str, str]) -> Place | None:
    """Return the place that torchrun, Slurm or an MPI-like launcher gave this process; None without a launcher.

    Raises:
        ConfigError: the launcher's variables are incomplete, or its machines run different numbers of processes.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _checked(_from_torchrun(environ))
    # sbatch and salloc set most of Slurm's variables too, in a shell that is not a task of a job step.
    if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ and environ.get("SLURM_JOB_NAME") not in _SHELLS:
        return _checked(_from_slurm(environ))
    for names in _MPI:
        if names[0] in environ and names[2] in environ:
            return _checked(_from_mpi(environ, *names))
    return None


_SHELLS = ("bash", "interactive")
_MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE", "MPI_LOCALNRANKS"),
)
"""Open MPI, MVAPICH and MPICH/Intel MPI: rank, local rank, world size, local world size."""


def _from_torchrun(environ: Mapping[str, str]) -> Place:
    world_size = _number(environ, "WORLD_SIZE")
    return Place(
        rank=_number(environ, "RANK"),
        local_rank=_number(environ, "LOCAL_RANK", 0),
        world_size=world_size,
        local_world_size=_number(environ, "LOCAL_WORLD_SIZE", world_size),
        node_rank=_number(environ, "GROUP_RANK", 0),
        master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=_number(environ, "MASTER_PORT", 29500),
        launcher="torchrun",
    )


def _from_slurm(environ: Mapping[str, str]) -> Place:
    world_size, nodes = _number(environ, "SLURM_NTASKS"), _number(environ, "SLURM_NNODES", 1)
    # Each step needs its own port, because several jobs may share a machine.
    port = 15000 + (_number(environ, "SLURM_JOB_ID", 0) * 31 + _step(environ)) % 20000
    return Place(
        rank=_number(environ, "SLURM_PROCID"),
        local_rank=_number(environ, "SLURM_LOCALID", 0),
        world_size=world_size,
        local_world_size=world_size // nodes,
        node_rank=_number(environ, "SLURM_NODEID", 0),
        master_addr=environ.get("MASTER_ADDR") or _first_host(environ.get("SLURM_STEP_NODELIST", "127.0.0.1")),
        master_port=_number(environ, "MASTER_PORT", port),
        launcher="slurm",
    )


def _from_mpi(environ: Mapping[str, str], rank: str, local_rank: str, size: str, local_size: str) -> Place:
    world_size = _number(environ, size)
    local_world_size = _number(environ, local_size, world_size)
    if world_size > local_world_size and "MASTER_ADDR" not in environ:
        raise ConfigError("several machines under an MPI launcher: set MASTER_ADDR to the host of rank 0")
    return Place(
        rank=_number(environ, rank),
        local_rank=_number(environ, local_rank, 0),
        world_size=world_size,
        local_world_size=local_world_size,
        node_rank=_number(environ, rank) // local_world_size,
        master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=_number(environ, "MASTER_PORT", 29500),
        launcher="mpi",
    )


def _checked(place: Place) -> Place:
    if place.world_size % place.local_world_size:
        raise ConfigError(
            f"{place.launcher} started {place.world_size} processes, {place.local_world_size} on this machine: every "
            "machine must run the same number"
        )
    return place


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ConfigError(f"{name}={text}: the launcher's variable should be a number") from None


def _step(environ: Mapping[str, str]) -> int:
    text = environ.get("SLURM_STEP_ID", "0")
    return int(text) if text.isdigit() else 0


def _first_host(hosts: str) -> str:
    """Return the first host of Slurm's list: ``node[03-05,9]`` is ``node03``."""
    head, bracket, rest = hosts.partition("[")
    if not bracket or "," in head:
        return hosts.split(",")[0]
    inside, _, tail = rest.partition("]")
    return head + inside.split(",")[0].split("-")[0] + tail.split(",")[0]
