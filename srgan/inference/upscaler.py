"""Enlarge any image with an exported model; needs neither torch nor the training code."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from srgan.images.alpha import FULL, converted, enlarge_alpha, without_fringes
from srgan.inference import tiling
from srgan.inference.backends import free_on_gpu, is_out_of_memory, open_model
from srgan.inference.contract import check_digest, read_contract
from srgan.utils import machine
from srgan.utils.errors import SrganError
from srgan.utils.files import require, sha256

MAX_BYTES_PER_TILE = 800e6  # of activations on the CPU
MIN_TILE, MAX_TILE = 32, 512  # LR pixels of a tile's side: larger tiles gain nothing
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601

log = logging.getLogger(__name__)


class Upscaler:
    """An exported model that upscales images. Threads may share one.

    Args:
        model: an `.onnx` file of contract 1 (docs/onnx.md), or a function that returns its current path, such as
            `srgan.tracking.registry.AliasTracker`.
        provider: what runs the model, a name in `PROVIDERS`. ``auto`` is CUDA where it works, else the CPU. If a provider does not
            work, a warning gives the reason and the CPU is used.
        strict: raise an error instead of that warning.
        tile: side of the tiles that the model gets, in LR pixels, at least `MIN_TILE`. Default: as large as the free memory allows.
            If memory runs out, the side is halved.
        threads: threads for one image on the CPU. 0 is one for each core.

    Attributes:
        scale: the factor of the model.
        sha256: digest of the file.
        metadata: the `sr.*` entries of the file.
        provider: what actually runs the model, such as ``CPUExecutionProvider``.

    Raises:
        SrganError: the file is missing, is not a model of contract 1 or is damaged (its SHA-256 differs from the one in
            ``reports/export.json`` next to ``models/``), or `strict` is set and `provider` does not work.

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
    ) -> None:
        self._source = model if callable(model) else lambda: Path(model)
        self._options = (provider, strict, tile, threads)
        self.path = require(self._source(), "export")
        self._state = _state(self.path)
        self.sha256 = sha256(self.path)
        check_digest(self.path, self.sha256)
        self._engine = open_model(self.path, provider, strict, threads)
        self.provider, self.metadata = self._engine.provider, self._engine.metadata
        self._contract = read_contract(self.path, self.metadata)
        self.scale, self.reach = self._contract.scale, self._contract.tile_overlap
        if tile is not None and tile < MIN_TILE:
            raise SrganError(f"a tile of {tile} pixels is too small to blend with its neighbours; it needs at least {MIN_TILE}")
        self.tile = tile or self._affordable_tile()
        self._short = False  # of memory, once it was
        self._compiles = self.provider.startswith("Tensorrt")  # for each shape anew, which takes minutes
        self._full: Upscaler | None = None  # the float32 file, once a float16 file's answer was not finite

    def upscale(self, image: np.ndarray) -> np.ndarray:
        """Enlarge an image in memory.

        Args:
            image: sRGB, `(H, W)` grey, `(H, W, 3)` or, with alpha, `(H, W, 4)`; uint8, uint16, or float32 in 0..1.

        Returns:
            The same kind, `(scale * H, scale * W, ...)`.

        Raises:
            SrganError: it is of another kind, or even small tiles do not fit into the memory.
        """
        if image.ndim == 3 and image.shape[2] == 4:
            colours, alpha = np.ascontiguousarray(image[..., :3]), np.ascontiguousarray(image[..., 3])
            return np.dstack([self.upscale(without_fringes(colours, alpha)), enlarge_alpha(alpha, self.scale)])
        return np.concatenate(list(self.strips(image)))

    def strips(self, image: np.ndarray, kind: type | None = None, told: Callable[[], None] = lambda: None) -> Iterator[np.ndarray]:
        """Enlarge from top to bottom, for images whose result is better not held in memory.

        Args:
            image: `(H, W)` or `(H, W, 3)`, of the types that `upscale` takes.
            kind: type of the result; None: the image's.
            told: is called after each of the `count` tiles.

        Yields:
            `(h, scale * W)` or `(h, scale * W, 3)`.
        """
        if image.dtype not in FULL or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
            wanted = "(H, W), (H, W, 3) or (H, W, 4) of uint8, uint16 or float32"
            raise SrganError(f"an image of shape {image.shape} and type {image.dtype} cannot be enlarged; wanted is {wanted}")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise SrganError("the image has values that are not finite (NaN or infinite); it cannot be enlarged")
        kind, number = kind or image.dtype.type, 0

        def piece(pixels: np.ndarray) -> np.ndarray:
            nonlocal number
            number += 1
            result = converted(self._piece(pixels, number, image), kind)
            told()
            return result

        height, width = image.shape[:2]
        left = height * self.scale
        for strip in tiling.strips(piece, self._padded(image), self.scale, self.tile, self.reach):
            yield strip[: max(left, 0), : width * self.scale]
            left -= len(strip)

    def count(self, image: np.ndarray) -> int:
        """Number of tiles that `strips` makes of an image."""
        return tiling.count(*self._padded(image).shape[:2], self.tile, self.reach)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """At least one tile large, where another shape would cost more than the pixels do."""
        if not self._compiles:
            return image
        lacking = [(0, max(self.tile - side, 0)) for side in image.shape[:2]]
        return np.pad(image, [*lacking, *[(0, 0)] * (image.ndim - 2)], mode="edge")

    def _piece(self, pixels: np.ndarray, number: int, image: np.ndarray) -> np.ndarray:
        """From `(h, w)` or `(h, w, 3)`, the tile of this number of an image, to float32 in 0..1."""
        grey = pixels.ndim == 2
        colours = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB) if grey else pixels
        tensor = np.ascontiguousarray(colours.transpose(2, 0, 1)[None], dtype=np.float32)
        output = self._finite(np.divide(tensor, FULL[pixels.dtype], out=tensor), number, image)[0].transpose(1, 2, 0)
        result = np.clip(output @ LUMA if grey else output, 0, 1)
        # Paper stays white: at an image's border a network makes it a little grey.
        white = (pixels if grey else pixels.min(axis=2)) >= FULL[pixels.dtype]
        if white.any():
            white = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8))
            result[white.repeat(self.scale, 0).repeat(self.scale, 1) > 0] = 1
        return result

    def _finite(self, tensor: np.ndarray, number: int, image: np.ndarray) -> np.ndarray:
        """The answer for one tile; where float16 overflows, that of the float32 file in its place.

        Raises:
            SrganError: it holds NaN or infinities: rounded, they would be black pixels.
        """
        output = self.run(tensor)
        if np.isfinite(output).all():
            return output
        full = self._float32_file()
        if full:
            if not self._full:
                log.warning("%s: answers are not finite (NaN or infinite) in tile %d; by %s instead", self.path.name, number, full)
                self._full = Upscaler(full, *self._options)
            output = self._full.run(tensor)
            if np.isfinite(output).all():
                return output
        where = f"tile {number} of {max(self.count(image), number)} ({tensor.shape[3]}x{tensor.shape[2]} pixels)"
        todo = "use the float32 file" if self.metadata.get("sr.precision", "fp32") != "fp32" else "the model is broken: use another"
        raise SrganError(f"{full or self.path}: the model's answer is not finite (NaN or infinite) in {where}; {todo}")

    def _float32_file(self) -> Path | None:
        """For a file in less than float32: the one it was made from, beside it or in the folder above ``reduced/``."""
        precision = self.metadata.get("sr.precision", "fp32")
        if precision == "fp32" or f"-{precision}." not in self.path.name:
            return None
        name = self.path.name.replace(f"-{precision}.", "-fp32.")
        return next((place / name for place in (self.path.parent, self.path.parent.parent) if (place / name).is_file()), None)

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """What the file itself answers: from `(N, 3, h, w)` to `(N, 3, scale * h, scale * w)`, float32, not clamped.

        Where the memory does not suffice, it is done in smaller tiles, here and from now on.

        Raises:
            SrganError: even small tiles do not fit, the model cannot be run, or its answer is of another shape than it promises.
        """
        height, width = tensor.shape[2:]
        if not self._short or height * width <= self.tile**2:
            try:
                return self._checked(self._engine.run(tensor), tensor)
            except SrganError:
                raise
            except Exception as error:  # each runtime has its own
                if not is_out_of_memory(error):
                    raise SrganError(f"{self.path}: cannot be run ({' '.join(str(error).split())[:200]}); use another model") from error
                if max(height, width) < 2 * MIN_TILE:
                    raise SrganError(f"{self.path}: even {width}x{height} pixels at a time take more memory than is free") from error
            self.tile, self._short = min(self.tile, max(height, width) // 2), True
            log.warning("memory is short: goes on in tiles of %d pixels", self.tile)

        def smaller(piece: np.ndarray) -> np.ndarray:
            return self.run(np.ascontiguousarray(piece.transpose(2, 0, 1)[None]))[0].transpose(1, 2, 0)

        images = [tiling.enlarged(smaller, image.transpose(1, 2, 0), self.scale, self.tile, self.reach) for image in tensor]
        return np.stack(images).transpose(0, 3, 1, 2)

    def _checked(self, output: np.ndarray, tensor: np.ndarray) -> np.ndarray:
        number, _, height, width = tensor.shape
        promised = (number, 3, self.scale * height, self.scale * width)
        if output.shape != promised or output.dtype != np.float32:
            raise SrganError(
                f"{self.path}: answers {width}x{height} pixels with {output.dtype} {output.shape}, though sr.scale = {self.scale} promises "
                f"float32 {promised}; export the model again: srgan export CHECKPOINT"
            )
        return output

    def refresh(self) -> "Upscaler":
        """The upscaler for the model that is there now: this one, or a new one with the same settings where the file is another.

        For programs that run long: ``upscaler = upscaler.refresh()`` between two photographs takes up a new champion. Threads that are at
        work go on with the old one. If the new model cannot be had, a warning says why, and the old one stays.
        """
        try:
            if _state(require(self._source(), "export")) == self._state:
                return self
            fresh = Upscaler(self._source, *self._options)
        except (SrganError, OSError) as error:
            log.warning("the model stays the one of before: %s", error)
            return self
        log.info("goes on with %s instead of %s", fresh.path.name, self.path.name)
        return fresh

    def release(self) -> None:
        """Give memory that was needed for the last image back to the system; the next one takes it anew."""
        self._engine.release()

    def _affordable_tile(self) -> int:
        """The side that free memory allows, in steps of 32."""
        free = free_on_gpu() if self.provider.startswith(("CUDA", "Tensorrt")) else min(2 * MAX_BYTES_PER_TILE, machine.available_memory())
        pixels = free / 2 / self._contract.memory_per_pixel
        return int(min(max(pixels**0.5 // 32 * 32, MIN_TILE), MAX_TILE))


def _state(path: Path) -> tuple[Path, int, int, int]:
    """Differs where a file is another, or was written anew."""
    found = path.stat()
    return path, found.st_ino, found.st_mtime_ns, found.st_size
