"""Enlarge any image with an exported model; needs neither torch nor the training code."""

import contextlib
import ctypes
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import psutil

from srgan import tiles
from srgan.errors import SrganError
from srgan.files import require, sha256

PROVIDERS = ("auto", "cuda", "tensorrt", "openvino", "cpu")
FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1}  # types of pixels, and their white
MEMORY = 800e6  # bytes that the activations of one tile may take on the CPU
SMALLEST, LARGEST = 32, 512  # LR pixels of a tile's side: larger ones gain nothing
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601

log = logging.getLogger(__name__)


class Upscaler:
    """An exported model, ready to enlarge. Several threads may share one.

    Args:
        model: an `.onnx` file of contract 1 (docs/onnx.md), or a function that says where it is now, such as `srgan.registry.Followed`.
        provider: what is to run it, of `PROVIDERS`; ``auto`` is CUDA where it works, else the CPU. Where `provider` does not work, a
            warning says why and the CPU takes over.
        strict: then it is an error instead.
        tile: side of the squares that the model sees, in LR pixels, at least `SMALLEST`; None: as large as the free memory allows.
            Where the memory does not suffice, the side is halved.
        threads: that work on one image on the CPU; 0: one for each core.

    Attributes:
        scale: by what it enlarges.
        sha256: digest of the file.
        metadata: the file's `sr.*` entries.
        provider: what really runs it, such as ``CPUExecutionProvider``.

    Raises:
        SrganError: no such file, not a model of contract 1, or (`strict`) `provider` does not work.

    Example:
        >>> upscaler = Upscaler("models/4x-demo-compact-fp32.onnx")
        >>> upscaler.upscale(np.zeros((30, 20, 3), np.uint8)).shape
        (120, 80, 3)
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
        self._engine = _open(self.path, provider, strict, threads)
        self.provider, self.metadata = self._engine.provider, self._engine.metadata
        contract = self.metadata.get("sr.contract")
        if contract != "1":
            raise SrganError(f"{self.path}: not a model of contract 1 (sr.contract is {contract}); make one with: srgan export CHECKPOINT")
        self.scale, self.reach = int(self.metadata["sr.scale"]), int(self.metadata["sr.tile_overlap"])
        if tile is not None and tile < SMALLEST:
            raise SrganError(f"a tile of {tile} pixels is too small to blend with its neighbours; it needs at least {SMALLEST}")
        self.tile = tile or self._affordable_tile()
        self.sha256 = sha256(self.path)
        self._short = False  # of memory, once it was
        self._compiles = self.provider.startswith("Tensorrt")  # for each shape anew, which takes minutes

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
        kind = kind or image.dtype.type

        def piece(pixels: np.ndarray) -> np.ndarray:
            result = converted(self._piece(pixels), kind)
            told()
            return result

        height, width = image.shape[:2]
        left = height * self.scale
        for strip in tiles.strips(piece, self._padded(image), self.scale, self.tile, self.reach):
            yield strip[: max(left, 0), : width * self.scale]
            left -= len(strip)

    def count(self, image: np.ndarray) -> int:
        """Number of tiles that `strips` makes of an image."""
        return tiles.count(*self._padded(image).shape[:2], self.tile, self.reach)

    def _padded(self, image: np.ndarray) -> np.ndarray:
        """At least one tile large, where another shape would cost more than the pixels do."""
        if not self._compiles:
            return image
        lacking = [(0, max(self.tile - side, 0)) for side in image.shape[:2]]
        return np.pad(image, [*lacking, *[(0, 0)] * (image.ndim - 2)], mode="edge")

    def _piece(self, pixels: np.ndarray) -> np.ndarray:
        """From `(h, w)` or `(h, w, 3)` to float32 in 0..1."""
        grey = pixels.ndim == 2
        colours = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB) if grey else pixels
        tensor = np.ascontiguousarray(colours.transpose(2, 0, 1)[None], dtype=np.float32)
        output = self.run(np.divide(tensor, FULL[pixels.dtype], out=tensor))[0].transpose(1, 2, 0)
        result = np.clip(output @ LUMA if grey else output, 0, 1)
        # Paper stays white: at an image's border a network makes it a little grey.
        white = (pixels if grey else pixels.min(axis=2)) >= FULL[pixels.dtype]
        if white.any():
            white = cv2.erode(white.astype(np.uint8), np.ones((3, 3), np.uint8))
            result[white.repeat(self.scale, 0).repeat(self.scale, 1) > 0] = 1
        return result

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """What the file itself answers: from `(N, 3, h, w)` to `(N, 3, scale * h, scale * w)`, float32, not clamped.

        Where the memory does not suffice, it is done in smaller tiles, here and from now on.

        Raises:
            SrganError: even small tiles do not fit.
        """
        height, width = tensor.shape[2:]
        if not self._short or height * width <= self.tile**2:
            try:
                return self._engine.run(tensor)
            except Exception as error:  # each runtime has its own
                if not _is_out_of_memory(error):
                    raise
                if max(height, width) < 2 * SMALLEST:
                    raise SrganError(f"{self.path}: even {width}x{height} pixels at a time take more memory than is free") from error
            self.tile, self._short = min(self.tile, max(height, width) // 2), True
            log.warning("memory is short: goes on in tiles of %d pixels", self.tile)

        def smaller(piece: np.ndarray) -> np.ndarray:
            return self.run(np.ascontiguousarray(piece.transpose(2, 0, 1)[None]))[0].transpose(1, 2, 0)

        images = [tiles.enlarged(smaller, image.transpose(1, 2, 0), self.scale, self.tile, self.reach) for image in tensor]
        return np.stack(images).transpose(0, 3, 1, 2)

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
        free = _free_on_gpu() if self.provider.startswith(("CUDA", "Tensorrt")) else min(2 * MEMORY, psutil.virtual_memory().available)
        pixels = free / 2 / float(self.metadata.get("sr.memory_per_pixel", 8192))
        return int(min(max(pixels**0.5 // 32 * 32, SMALLEST), LARGEST))


def converted(image: np.ndarray, kind: type) -> np.ndarray:
    """From float32 in 0..1 to one of the types in `FULL`, rounded."""
    full = FULL[np.dtype(kind)]
    return image if full == 1 else np.rint(image * np.float32(full)).astype(kind)


def enlarge_alpha(alpha: np.ndarray, scale: int) -> np.ndarray:
    """Bicubic, `(H, W)` of a type in `FULL`: a network for photographs would invent texture in it."""
    size = (alpha.shape[1] * scale, alpha.shape[0] * scale)
    enlarged = cv2.resize(alpha.astype(np.float32) / np.float32(FULL[alpha.dtype]), size, interpolation=cv2.INTER_CUBIC)
    return converted(np.clip(enlarged, 0, 1), alpha.dtype.type)


def without_fringes(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give transparent pixels the colour of the nearest visible ones: theirs is arbitrary, and would shine through at the edges.

    Args:
        colours: `(H, W)` or `(H, W, 3)`.
        alpha: `(H, W)`, 0 where nothing is to be seen.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colours
    # Halved again and again, each pixel the mean of its visible parts; then back up, where the finer level shows nothing.
    levels = [(np.where(hidden, 0, 1)[..., None] * np.atleast_3d(colours).astype(np.float32), (~hidden).astype(np.float32))]
    while min(levels[-1][1].shape) > 1:
        size = tuple(-(-side // 2) for side in levels[-1][1].shape[::-1])
        levels.append(
            tuple(cv2.resize(plane, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], *plane.shape[2:]) for plane in levels[-1])
        )
    filled = None
    for total, weight in reversed(levels):
        seen = weight > 0
        mean = total / np.where(seen, weight, 1)[..., None]
        if filled is not None:
            coarse = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(mean.shape)
            mean = np.where(seen[..., None], mean, coarse)
        filled = mean
    assert filled is not None
    filled = (np.rint(filled) if colours.dtype.kind == "u" else filled).astype(colours.dtype).reshape(colours.shape)
    return np.where(hidden if colours.ndim == 2 else hidden[..., None], filled, colours)


# -- what runs the model ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Engine:
    """A loaded model: from tensor to tensor, what that runs on, what the file tells, and how to free memory."""

    run: Callable[[np.ndarray], np.ndarray]
    provider: str
    metadata: dict[str, str]
    release: Callable[[], object] = lambda: None


def _state(path: Path) -> tuple[Path, int, int]:
    """Differs where a file is another, or was written anew."""
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size


def _open(path: Path, provider: str, strict: bool, threads: int) -> _Engine:
    if provider not in PROVIDERS:
        raise SrganError(f"no provider is called '{provider}'; there are {', '.join(PROVIDERS)}")
    if provider == "openvino":
        try:
            return _open_openvino(path, threads)
        except ImportError as error:
            _fall_back(provider, f"{error}; install it with: pip install openvino", strict)
    wanted, missing = _execution_providers(provider)
    if missing:
        _fall_back(provider, missing, strict)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=wanted)
    except Exception as error:  # ONNX Runtime's own classes share no public base
        raise SrganError(f"{path}: not a model that ONNX Runtime can load ({str(error).splitlines()[0]})") from error
    works = session.get_providers()[0]
    if provider in ("cuda", "tensorrt") and not missing and not works.lower().startswith(provider):
        _fall_back(provider, f"ONNX Runtime chose {works}", strict)

    def run(tensor: np.ndarray, options: onnxruntime.RunOptions | None = None) -> np.ndarray:
        return session.run(["output"], {"input": tensor}, options)[0]

    def release() -> None:
        shrinking = onnxruntime.RunOptions()
        shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        run(np.zeros((1, 3, 1, 1), np.float32), shrinking)

    metadata = session.get_modelmeta().custom_metadata_map
    return _Engine(run, works, metadata, release) if works == "CPUExecutionProvider" else _Engine(run, works, metadata)


def _fall_back(provider: str, reason: str, strict: bool) -> None:
    if strict:
        raise SrganError(f"provider {provider} does not work here: {reason}")
    log.warning("provider %s does not work here (%s); the next best takes over", provider, reason)


def _execution_providers(provider: str) -> tuple[list, str]:
    """What to ask ONNX Runtime for, and why `provider` cannot be among it.

    Asked for CUDA on a machine without its driver, ONNX Runtime prints pages of errors; so the libraries are looked for before.
    """
    windows = sys.platform == "win32"
    wanted, missing = ["CPUExecutionProvider"], ""
    if provider in ("auto", "cuda", "tensorrt"):
        missing = _lacks("CUDAExecutionProvider", "nvcuda.dll" if windows else "libcuda.so.1")
        if not missing:
            onnxruntime.preload_dlls()  # the CUDA libraries that torch brought along
            # The default would try all algorithms for each new size.
            wanted.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    if provider == "tensorrt":
        missing = missing or _lacks("TensorrtExecutionProvider", "nvinfer_10.dll" if windows else "libnvinfer.so.10")
        if not missing:
            from srgan.data.fetch import cache

            folder = cache() / "tensorrt"
            wanted.insert(0, ("TensorrtExecutionProvider", {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}))
    return wanted, "" if provider == "auto" else missing


def _lacks(name: str, library: str) -> str:
    if name not in onnxruntime.get_available_providers():
        return f"this build of ONNX Runtime has no {name}"
    with contextlib.suppress(OSError):
        ctypes.CDLL(library)
        return ""
    return f"{library} cannot be loaded"


def _open_openvino(path: Path, threads: int) -> _Engine:
    import onnx
    import openvino

    # float32 also where the CPU has bfloat16: the contract's results.
    config = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        compiled = openvino.Core().compile_model(path, "CPU", config)
    except Exception as error:
        raise SrganError(f"{path}: not a model that OpenVINO can load ({str(error).splitlines()[0]})") from error
    # A request of its own for each call: threads may share the model.
    return _Engine(lambda tensor: next(iter(compiled.create_infer_request().infer([tensor]).values())), "OpenVINO", metadata)


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in ("out of memory", "alloc", "cuda failure 2"))


def _free_on_gpu() -> float:
    """Bytes; a guess where nobody can tell."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 4e9
