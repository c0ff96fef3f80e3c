"""The places that launchers give, as their documentation names the variables."""

from __future__ import annotations

import pytest

from lab.errors import ConfigError
from lab.system.ranks import Place, external_place

TORCHRUN = {
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29400",
}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_ID": "10",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


def test_torchrun() -> None:
    place = external_place(TORCHRUN)
    assert place == Place(5, 1, 8, 4, 1, "node0", 29400, "torchrun")
    assert place.num_nodes == 2
    assert external_place(place.environment()) == place  # what our own parent hands to a worker reads the same


def test_slurm() -> None:
    place = external_place(SLURM)
    assert place is not None
    assert (place.rank, place.local_rank, place.world_size, place.local_world_size) == (3, 1, 4, 2)
    assert (place.node_rank, place.master_addr, place.launcher) == (1, "gpu03", "slurm")
    assert external_place({**SLURM, "SLURM_JOB_ID": "11"}).master_port != place.master_port  # type: ignore[union-attr]
    assert external_place({**SLURM, "MASTER_PORT": "7"}).master_port == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[03-04]", "gpu03"),
        ("gpu[7,9]", "gpu7"),
        ("a1,a2", "a1"),
        ("host", "host"),
        ("n[1-2].cluster", "n1.cluster"),
    ],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    place = external_place({**SLURM, "SLURM_STEP_NODELIST": nodes})
    assert place is not None
    assert place.master_addr == first


def test_a_batch_script_is_no_task() -> None:
    without_step = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"}
    assert external_place(without_step) is None
    assert external_place({**SLURM, "SLURM_JOB_NAME": "bash"}) is None  # a shell on the node, by srun --pty bash


def test_open_mpi() -> None:
    place = external_place(OPEN_MPI)
    assert place == Place(1, 1, 2, 2, 0, "127.0.0.1", 29500, "mpi")
    with pytest.raises(ConfigError, match="set MASTER_ADDR"):
        external_place({**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})


def test_mpich() -> None:
    mpich = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}
    assert external_place(mpich) == Place(0, 0, 2, 2, 0, "127.0.0.1", 29500, "mpi")


def test_alone() -> None:
    assert external_place({"HOME": "/", "SLURM_JOB_ID": "1"}) is None
    assert Place().num_nodes == 1


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="WORLD_SIZE=two"):
        external_place({**TORCHRUN, "WORLD_SIZE": "two"})
    with pytest.raises(ConfigError, match="every machine must run the same number"):
        external_place({**TORCHRUN, "WORLD_SIZE": "7"})
