"""Export of generators to ONNX and interpolation of weights."""
