"""Image datasets: annotations, files, decoding, augmentation."""
