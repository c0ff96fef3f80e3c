"""ViT (An Image is Worth 16x16 Words, ICLR 2021): classifiers and backbones."""
