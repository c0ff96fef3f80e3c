"""Networks as files for other engines: ONNX, torch.export, ncnn. Imports those engines where they are used."""
