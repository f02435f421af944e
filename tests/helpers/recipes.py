"""Recipes for tests."""

from srgan.config.data import Prepare
from srgan.degradations.recipe import Recipe

# Two rounds, the first in random order.
STEPS = (
    {"name": "shuffle", "steps": ({"name": "resize", "probability": 0.8}, {"name": "noise", "sigma": (1.0, 20.0)})},
    {"name": "resize", "factor": (0.3, 1.2)},
    {"name": "noise", "probability": 0.5},
    {"name": "downscale", "modes": {"area": 1.0, "bilinear": 1.0, "bicubic": 1.0}},
)
SECOND_ORDER = Recipe(Prepare(recipe=STEPS).recipe)
