"""What happens inside a network: activations and gradients of its modules, its tree and costs, heat maps."""
