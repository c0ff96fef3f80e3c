"""Settings of the environment that must stand before torch is imported."""

import os

# As the launcher does: OpenMP's threads spin while they wait, which beside other processes costs more than the work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
