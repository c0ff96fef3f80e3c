"""Settings of the environment that must stand before torch is imported."""

import os

# OpenMP's threads spin while they wait, which beside other processes costs more than the work; the launcher does the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
