"""Detection in 3-D from several calibrated cameras."""
