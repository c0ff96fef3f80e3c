"""Wide residual networks (BMVC 2016) as MixMatch trains them: classifiers of small images, and backbones."""
