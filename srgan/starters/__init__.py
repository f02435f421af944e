"""Trained generators that ship with the package: their weights and cards, and the choice of the model that `srgan upscale` takes."""
