"""Export a generator to ONNX, to lower precisions, and to other checkpoint formats."""
