"""Ground floor: pure functions on tensors."""
