"""Tells Lightning that the processes of a job are running already, and which of them this is."""

from __future__ import annotations

from lightning.fabric.plugins.environments import ClusterEnvironment

from lab.system.ranks import Place


class ManagedEnvironment(ClusterEnvironment):
    """The cluster environment of a process that lab or an external launcher has started."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        """Return True: see ``lab.launch``."""
        return True

    @property
    def main_address(self) -> str:
        """The host where the ranks meet."""
        return self.place.master_addr

    @property
    def main_port(self) -> int:
        """The port of the rendezvous."""
        return self.place.master_port

    @staticmethod
    def detect() -> bool:
        """Return False: the Trainer is given this environment explicitly."""
        return False

    def world_size(self) -> int:
        """Return the number of processes of the job."""
        return self.place.world_size

    def set_world_size(self, size: int) -> None:
        """Do nothing: the place is known."""

    def global_rank(self) -> int:
        """Return the number of this process in the job."""
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the place is known."""

    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return self.place.local_rank

    def node_rank(self) -> int:
        """Return the number of this machine."""
        return self.place.node_rank
