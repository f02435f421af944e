"""Evaluation of models on test images, the report and the cards."""
