"""ResNet (Deep Residual Learning for Image Recognition, CVPR 2016): classifiers and backbones."""
