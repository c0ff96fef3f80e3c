"""Mean and standard deviation of ImageNet's colours, from 0 to 1: of images where nothing else is said."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
