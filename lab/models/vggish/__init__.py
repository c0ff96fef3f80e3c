"""VGGish (Hershey et al., ICASSP 2017): embeddings of sound by a convolutional network, and classifiers on them."""
