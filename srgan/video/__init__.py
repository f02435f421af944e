"""Upscale clips and animations: read frames, upscale them in a bounded pipeline, write segments and join them."""
