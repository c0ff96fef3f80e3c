"""Swin Transformer (Hierarchical Vision Transformer using Shifted Windows, ICCV 2021): classifiers and backbones."""
