"""A small backbone of convolutions, for networks that learn on a CPU."""
