"""Upscale any image with an exported model. Neither torch nor the training code is needed, except for weights."""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from srgan.images.alpha import WHITE, fill_transparent, from_unit_range, upscale_alpha
from srgan.images.hints import LUMA
from srgan.inference import tiling
from srgan.inference.backends import free_on_gpu, is_out_of_memory, open_model
from srgan.inference.chroma import with_chroma
from srgan.inference.contract import check_digest, read_contract
from srgan.inference.signature import require_signed
from srgan.starters import catalogue
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.files import require, sha256

MAX_BYTES_PER_TILE = 800e6  # of activations on the CPU
MIN_TILE, MAX_TILE = 32, 512  # LR pixels of a tile's side: larger tiles gain nothing

log = logging.getLogger(__name__)


class ModelFailed(SrganError):
    """The model or its runtime failed on an image that could be read."""


class Upscaler:
    """An exported model that upscales images. Threads may share one.

    Args:
        model: an `.onnx` file of contract 1 (docs/onnx.md), weights or the name of a starter (`srgan models list`), which PyTorch
            computes, or a function that returns its current path, such as `srgan.tracking.registry.AliasTracker`.
        provider: what runs the model, a name in `PROVIDERS`. ``auto`` is CUDA where it works, else the CPU. If a provider does not
            work, a warning gives the reason and the CPU is used.
        strict: raise an error instead of that warning.
        tile: side of the tiles that the model gets, in LR pixels, at least `MIN_TILE`. Default: as large as the free memory allows.
            If memory runs out, the side is halved.
        threads: threads for one image on the CPU. 0 is one for each core.
        refine: changes the model for each image, see `srgan.inference.refine.Refinement`.

    Attributes:
        scale: the factor of the model.
        sha256: digest of the file.
        metadata: the `sr.*` entries of the file.
        provider: what actually runs the model, such as ``CPUExecutionProvider``.
        channels: of the model's images: 3 for RGB, or 1 for the luma. The colours of the result are then interpolated.
        adds_colour: the model colourizes. The result of a grey image then has three channels.
        follows_hints: such a model takes colours in its input as hints.

    Raises:
        SrganError: the file is missing, is not a model of contract 1 or is damaged (its SHA-256 differs from the one in
            ``reports/export.json`` next to ``models/``), ``SRGAN_VERIFY_KEY`` names a key and the file is in no release that this key
            signed, or `strict` is set and `provider` does not work.

    Example:
        >>> import numpy as np
        >>> from srgan import Upscaler
        >>> upscaler = Upscaler("2x-photo-compact-fp32.onnx")
        >>> upscaler.upscale(np.zeros((30, 20, 3), np.uint8)).shape
        (60, 40, 3)
    """

    def __init__(
        self,
        model: str | Path | Callable[[], Path],
        provider: str = "auto",
        strict: bool = False,
        tile: int | None = None,
        threads: int = 0,
        refine: "Refine | None" = None,
    ) -> None:
        self._source = model if callable(model) else lambda: catalogue.resolve(model)
        self._options, self._refine = (provider, strict, tile, threads), refine
        self.path = require(self._source(), "export")
        self._state = _state(self.path)
        self.sha256 = sha256(self.path)
        check_digest(self.path, self.sha256)
        require_signed(self.path, self.sha256)
        self._engine = open_model(self.path, provider, strict, threads)
        self.provider, self.metadata = self._engine.provider, self._engine.metadata
        self._contract = read_contract(self.path, self.metadata)
        self.scale, self.halo, self.channels = self._contract.scale, self._contract.tile_overlap, self._contract.channels
        self.adds_colour, self.follows_hints = self._contract.adds_colour, self._contract.follows_hints
        if tile is not None and tile < MIN_TILE:
            raise SrganError(f"a tile of {tile} pixels is too small to blend with its neighbours. Use at least {MIN_TILE}")
        self.tile = tile or self._affordable_tile()
        self._short_of_memory = False
        self._compiles = self.provider.startswith("Tensorrt")  # TensorRT compiles each shape, which takes minutes
        self._full: Upscaler | None = None  # the float32 file, after a float16 output that was not finite

    def upscale(self, image: np.ndarray, on_tile: Callable[[], None] = lambda: None) -> np.ndarray:
        """Upscale an image in memory.

        Args:
            image: sRGB, `(H, W)` grey, `(H, W, 3)` or `(H, W, 4)` with alpha. The type is uint8, uint16, or float32 in 0..1.
            on_tile: is called after each tile. An exception that it raises ends the work.

        Returns:
            `(scale * H, scale * W, ...)` of the same type. A model that colourizes returns three channels for a grey image.

        Raises:
            SrganError: the image has another shape or type, or even small tiles exceed the memory.
        """
        if image.ndim == 3 and image.shape[2] == 4:
            colours, alpha = np.ascontiguousarray(image[..., :3]), np.ascontiguousarray(image[..., 3])
            return np.dstack([self.upscale(fill_transparent(colours, alpha), on_tile), upscale_alpha(alpha, self.scale)])
        return np.concatenate(list(self.for_image(image).strips(image, on_tile=on_tile)))

    @property
    def refinement(self) -> str:
        """Return what `refine` does, for the settings that a result names. It is empty if there is nothing."""
        return str(self._refine) if self._refine else ""

    def for_image(self, image: np.ndarray) -> "Upscaler":
        """Return the upscaler for an image, `(H, W)` or `(H, W, 3)`: this one, or one that `refine` changed."""
        return self._refine(self, image) if self._refine else self

    def replaced(self, run: Callable[[np.ndarray], np.ndarray], reach: int) -> "Upscaler":
        """Return an upscaler with another function and the same settings.

        Args:
            run: as `run`.
            reach: pixels around a pixel that its result depends on, in addition to those of the model.
        """
        other = copy.copy(self)
        other._engine, other.halo, other._refine = replace(self._engine, run=run), self.halo + reach, None
        return other

    def strips(self, image: np.ndarray, dtype: type | None = None, on_tile: Callable[[], None] = lambda: None) -> Iterator[np.ndarray]:
        """Upscale from top to bottom, for results that are too large for the memory.

        Args:
            image: `(H, W)` or `(H, W, 3)`, of the types that `upscale` takes.
            dtype: type of the result. Default: the type of the image.
            on_tile: is called after each of the `tile_count` tiles.

        Yields:
            `(h, scale * W)` or `(h, scale * W, 3)`.
        """
        if image.dtype not in WHITE or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
            wanted = "(H, W), (H, W, 3) or (H, W, 4) of uint8, uint16 or float32"
            raise SrganError(f"an image of shape {image.shape} and type {image.dtype} cannot be upscaled. Expected: {wanted}")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise SrganError("the image has values that are not finite (NaN or infinite). It cannot be upscaled")
        result_type, number = dtype or image.dtype.type, 0

        def piece(pixels: np.ndarray) -> np.ndarray:
            nonlocal number
            number += 1
            result = from_unit_range(self._piece(pixels, number, image), result_type)
            on_tile()
            return result

        height, width = image.shape[:2]
        left = height * self.scale
        blocks = self._contract.multiple_of, self._contract.padding
        for strip in tiling.upscale_strips(piece, self._padded(image), self.scale, self.tile, self.halo, *blocks):
            yield strip[: max(left, 0), : width * self.scale]
            left -= len(strip)

    def tile_count(self, image: np.ndarray) -> int:
        """Return the number of tiles of an image."""
        height, width = self._padded(image).shape[:2]
        return tiling.tile_count(height, width, self.tile, self.halo, self._contract.multiple_of)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """Pad an image to at least one tile if the provider compiles each shape, which costs more than the pixels."""
        if not self._compiles:
            return image
        lacking = [(0, max(self.tile - side, 0)) for side in image.shape[:2]]
        return np.pad(image, [*lacking, *[(0, 0)] * (image.ndim - 2)], mode="edge")

    def _piece(self, pixels: np.ndarray, number: int, image: np.ndarray) -> np.ndarray:
        """Upscale a tile, `(h, w)` or `(h, w, 3)`, to float32 in 0..1. Number and image are for messages."""
        if pixels.ndim == 3 and self.adds_colour and not self.follows_hints:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # a tint is not what such a model was trained with
        grey = pixels.ndim == 2
        if self.channels == 1:
            result = self._from_luma(pixels, number, image)
        else:
            colours = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB) if grey else pixels
            tensor = np.ascontiguousarray(colours.transpose(2, 0, 1)[None], dtype=np.float32)
            output = self._finite(np.divide(tensor, WHITE[pixels.dtype], out=tensor), number, image)[0].transpose(1, 2, 0)
            result = np.clip(output @ LUMA if grey and not self.adds_colour else output, 0, 1)
        # White paper stays white. Networks turn it slightly grey at the border of an image.
        white = (pixels if grey else pixels.min(axis=2)) >= WHITE[pixels.dtype]
        if white.any():
            white = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8))
            result[white.repeat(self.scale, 0).repeat(self.scale, 1) > 0] = 1
        return result

    def _from_luma(self, pixels: np.ndarray, number: int, image: np.ndarray) -> np.ndarray:
        """Upscale a tile with a model for gray images. A tile with colours gets them by interpolation."""
        colours = np.divide(pixels, WHITE[pixels.dtype], dtype=np.float32)
        luma = np.ascontiguousarray(colours @ LUMA if pixels.ndim == 3 else colours)
        result = np.clip(self._finite(luma[None, None], number, image)[0, 0], 0, 1)
        return with_chroma(result, colours) if pixels.ndim == 3 else result

    def _finite(self, tensor: np.ndarray, number: int, image: np.ndarray) -> np.ndarray:
        """Return the output for one tile. If float16 overflows, the float32 file computes the tile.

        Raises:
            ModelFailed: the output has NaN or infinite values. Rounded, they would become black pixels.
        """
        output = self.run(tensor)
        if np.isfinite(output).all():
            return output
        full = self._float32_file()
        if full:
            if not self._full:
                log.warning("%s: the output is not finite (NaN or infinite) in tile %d; %s is used instead", self.path.name, number, full)
                self._full = Upscaler(full, *self._options)
            output = self._full.run(tensor)
            if np.isfinite(output).all():
                return output
        where = f"tile {number} of {max(self.tile_count(image), number)} ({tensor.shape[3]}x{tensor.shape[2]} pixels)"
        todo = "Use the float32 file" if self.metadata.get("sr.precision", "fp32") != "fp32" else "The model is broken: use another"
        raise ModelFailed(f"{full or self.path}: the model's output is not finite (NaN or infinite) in {where}. {todo}")

    def _float32_file(self) -> Path | None:
        """Return the float32 file that a file of lower precision was made from: in its folder or in the one above ``reduced/``."""
        precision = self.metadata.get("sr.precision", "fp32")
        if precision == "fp32" or f"-{precision}." not in self.path.name:
            return None
        name = self.path.name.replace(f"-{precision}.", "-fp32.")
        return next((place / name for place in (self.path.parent, self.path.parent.parent) if (place / name).is_file()), None)

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the raw output of the model: `(N, channels, h, w)` to `(N, channels, scale * h, scale * w)`, float32, not clamped.

        If memory runs out, this call and all later ones use smaller tiles.

        Raises:
            ModelFailed: even small tiles exceed the memory, the model fails, or its output has another shape than the contract.
        """
        height, width = tensor.shape[2:]
        if not self._short_of_memory or height * width <= self.tile**2:
            try:
                return self._checked(self._engine.run(tensor), tensor)
            except SrganError:
                raise
            except Exception as error:  # each runtime has classes of its own
                if not is_out_of_memory(error):
                    raise ModelFailed(f"{self.path}: cannot be run ({' '.join(str(error).split())[:200]}). Use another model") from error
                if max(height, width) < 2 * MIN_TILE:
                    raise ModelFailed(f"{self.path}: even {width}x{height} pixels at a time take more memory than is free") from error
            self.tile, self._short_of_memory = min(self.tile, max(height, width) // 2), True
            log.warning("memory is short: continuing with tiles of %d pixels", self.tile)

        def smaller(piece: np.ndarray) -> np.ndarray:
            return self.run(np.ascontiguousarray(piece.transpose(2, 0, 1)[None]))[0].transpose(1, 2, 0)

        blocks = self._contract.multiple_of, self._contract.padding
        images = [tiling.upscale_tiled(smaller, image.transpose(1, 2, 0), self.scale, self.tile, self.halo, *blocks) for image in tensor]
        return np.stack(images).transpose(0, 3, 1, 2)

    def _checked(self, output: np.ndarray, tensor: np.ndarray) -> np.ndarray:
        number, _, height, width = tensor.shape
        promised = (number, self.channels, self.scale * height, self.scale * width)
        if output.shape != promised or output.dtype != np.float32:
            raise ModelFailed(
                f"{self.path}: the output for {width}x{height} pixels is {output.dtype} {output.shape}, but sr.scale = {self.scale} "
                f"requires float32 {promised}. Export the model again: srgan export CHECKPOINT"
            )
        return output

    def refresh(self) -> "Upscaler":
        """Return an upscaler for the current model: this one, or a new one with the same settings if the file has changed.

        A program that runs for long calls ``upscaler = upscaler.refresh()`` between two images to use a new champion. Other threads keep
        the old one. If the new model cannot be loaded, a warning gives the reason and the old one is returned.
        """
        try:
            if _state(require(self._source(), "export")) == self._state:
                return self
            fresh = Upscaler(self._source, *self._options, self._refine)
        except (SrganError, OSError) as error:
            log.warning("the former model stays in use: %s", error)
            return self
        log.info("using %s instead of %s", fresh.path.name, self.path.name)
        return fresh

    def release(self) -> None:
        """Return the memory of the last image to the system. The next image allocates it again."""
        self._engine.release()

    def _affordable_tile(self) -> int:
        """Return the side that free memory allows, in steps of 32."""
        free = free_on_gpu() if self.provider.startswith(("CUDA", "Tensorrt")) else min(2 * MAX_BYTES_PER_TILE, machine.available_memory())
        pixels = free / 2 / self._contract.memory_per_pixel
        return int(min(max(pixels**0.5 // 32 * 32, MIN_TILE), MAX_TILE))


Refine = Callable[[Upscaler, np.ndarray], Upscaler]


def _state(path: Path) -> tuple[Path, int, int, int]:
    """Return a value that changes when the file is replaced or written."""
    found = path.stat()
    return path, found.st_ino, found.st_mtime_ns, found.st_size
