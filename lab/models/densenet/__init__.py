"""DenseNet (Densely Connected Convolutional Networks, CVPR 2017): classifiers and backbones."""
