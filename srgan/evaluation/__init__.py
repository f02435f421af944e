"""Evaluation of models on test images with the report and the cards."""
