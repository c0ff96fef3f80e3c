"""AlexNet (One weird trick for parallelizing convolutional neural networks, 2014): a classifier and a backbone."""
