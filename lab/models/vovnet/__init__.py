"""VoVNet (An Energy and GPU-Computation Efficient Backbone Network, CVPR Workshops 2019): backbones of detectors."""
