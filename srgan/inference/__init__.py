"""Upscale images with an ONNX model."""
