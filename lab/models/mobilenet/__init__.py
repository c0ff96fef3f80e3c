"""MobileNetV2 (Inverted Residuals and Linear Bottlenecks, CVPR 2018): a classifier and a backbone."""
