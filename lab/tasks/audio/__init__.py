"""Audio: clips of sound are classified or tagged."""
