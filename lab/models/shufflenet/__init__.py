"""ShuffleNetV2 (Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018): classifiers and backbones."""
