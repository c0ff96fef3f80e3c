"""Language modelling: causal, and masked with or without the prediction of next sentences."""
