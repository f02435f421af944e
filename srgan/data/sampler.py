"""Sample random, aligned HR/LR patches as a pure function of (seed, step, rank, number of ranks).

A resumed run therefore sees the patches of an uninterrupted run. Any number of workers that share the steps produces the same batches.
Processes that train together share the batch that one process with the whole batch size sees.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch

from srgan.data.packed_store import Store
from srgan.utils.errors import SrganError

UPLOAD_BYTES = 1 << 28  # pixels copied to the device at a time
DEVICE_SHARE = 0.5  # largest share of the device's free memory for the pixels. The networks need the rest


class PatchSampler:
    """Sample batches of augmented HR/LR patches from a store.

    Args:
        store: the packed pixels.
        batch_size: patches per batch of this process.
        patch_size: side of an HR patch in pixels, a multiple of the store's scale.
        seed: batches depend on the seed, the step, the rank and the number of processes only.
        rank: index of this process.
        processes: number of processes that train together. A step has `processes * batch_size` patches.

    Raises:
        SrganError: no image is as large as a patch.
    """

    def __init__(self, store: Store, batch_size: int, patch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.store, self.batch_size, self.patch_size, self.seed = store, batch_size, patch_size, seed
        self._share, self._all = slice(rank * batch_size, (rank + 1) * batch_size), processes * batch_size
        self.eligible_images = [i for i, image in enumerate(store.hr) if min(image.shape[:2]) >= patch_size]
        if not self.eligible_images:
            largest = max(min(image.shape[:2]) for image in store.hr)
            raise SrganError(
                f"patch_size: {patch_size} pixels is more than any training image has (at most {largest}). Lower it in params.yaml"
            )
        self._eligible = np.array(self.eligible_images)
        self._positions = np.array([image.shape[:2] for image in store.lr])[self._eligible] - patch_size // store.scale + 1

    def sample_positions(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the patches of a step, `(N,)` each: image index, top and left in LR pixels, and symmetry 0..7.

        The image is drawn first and uniformly. The position and the symmetry follow.
        """
        random = np.random.default_rng((self.seed, step))
        drawn = random.integers(len(self._eligible), size=self._all)
        top, left = random.integers(self._positions[drawn]).T
        positions = self._eligible[drawn], top, left, random.integers(8, size=self._all)
        return tuple(values[self._share] for values in positions)  # type: ignore[return-value]

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the batch of a step, uint8: HR `(N, patch, patch, 3)` and LR `(N, patch / scale, patch / scale, 3)`."""
        scale, hr_side, lr_side = self.store.scale, self.patch_size, self.patch_size // self.store.scale
        hr_batch = np.empty((self.batch_size, hr_side, hr_side, 3), np.uint8)
        lr_batch = np.empty((self.batch_size, lr_side, lr_side, 3), np.uint8)
        positions = zip(*(values.tolist() for values in self.sample_positions(step)), strict=True)
        for n, (image, top, left, symmetry) in enumerate(positions):
            _dihedral(self.store.lr[image][top : top + lr_side, left : left + lr_side], symmetry, lr_batch[n])
            top, left = top * scale, left * scale
            _dihedral(self.store.hr[image][top : top + hr_side, left : left + hr_side], symmetry, hr_batch[n])
        return hr_batch, lr_batch

    def color_gains(self, step: int, jitter: float) -> np.ndarray:
        """Return a factor for each patch and channel of a step, `(N, 3)` float32 in `1 - jitter` to 1."""
        random = np.random.default_rng((self.seed, step, 1))  # independent of the positions' stream
        return 1 - jitter * random.random((self._all, 3), dtype=np.float32)[self._share]


_FLIPS = {1: 0, 2: 1, 3: -1}  # OpenCV's codes: vertical, horizontal, both


def _dihedral(image: np.ndarray, symmetry: int, out: np.ndarray) -> None:
    """Write one of the eight symmetries of a square image, numbered 0..7, to `out`."""
    flip = _FLIPS.get(symmetry & 3)
    if symmetry & 4:
        cv2.transpose(image if flip is None else cv2.flip(image, flip), out)
    elif flip is not None:
        cv2.flip(image, flip, out)
    else:
        out[...] = image


class GpuPatchSampler:
    """Cut the batches of a `PatchSampler` on a device that holds the whole store. Only the positions are transferred.

    Args:
        patches: the sampler.
        device: holds the pixels and receives the batches.
    """

    def __init__(self, patches: PatchSampler, device: torch.device) -> None:
        self.patches, self.device = patches, device
        store = patches.store
        self.pixels = torch.empty(store.pixels.size, dtype=torch.uint8, device=device)
        for start in range(0, store.pixels.size, UPLOAD_BYTES):  # processes that start together must not each hold a copy in memory
            piece = slice(start, start + UPLOAD_BYTES)
            self.pixels[piece] = torch.from_numpy(np.array(store.pixels[piece]))
        # First pixel and width of each image, HR in row 0 and LR in row 1: the LR pixels follow the HR pixels of an image.
        hr_sizes = np.array([image.size for image in store.hr], np.int64)
        widths = np.array([image.shape[1] for image in store.hr], np.int64)
        self.starts = torch.from_numpy(np.stack([store.offsets, store.offsets + hr_sizes])).to(device)
        self.widths = torch.from_numpy(np.stack([widths, widths // store.scale])).to(device)

    @staticmethod
    def fits(store: Store, device: torch.device) -> bool:
        """Return True if a CUDA device has room for the store: `DEVICE_SHARE` of its free memory."""
        return device.type == "cuda" and store.pixels.size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the batch of a step on the device, uint8: HR `(N, patch, patch, 3)` and LR `(N, patch / scale, patch / scale, 3)`."""
        image, top, left, symmetry = torch.from_numpy(np.stack(self.patches.sample_positions(step))).to(self.device, non_blocking=True)
        scale, side = self.patches.store.scale, self.patches.patch_size
        hr_batch = self._cut(0, image, top * scale, left * scale, symmetry, side)
        return hr_batch, self._cut(1, image, top, left, symmetry, side // scale)

    def _cut(self, row: int, image: torch.Tensor, top: torch.Tensor, left: torch.Tensor, symmetry: torch.Tensor, side: int) -> torch.Tensor:
        """Cut patches of HR (row 0) or LR (row 1) images in one gather. The indices include the symmetry."""
        line = torch.arange(side, device=self.device)
        y, x = line[None, :, None], line[None, None, :]
        symmetry = symmetry[:, None, None]
        y, x = torch.where(symmetry & 4 != 0, x, y), torch.where(symmetry & 4 != 0, y, x)
        y, x = torch.where(symmetry & 1 != 0, side - 1 - y, y), torch.where(symmetry & 2 != 0, side - 1 - x, x)
        pixel = (top[:, None, None] + y) * self.widths[row][image][:, None, None] + left[:, None, None] + x
        first = self.starts[row][image][:, None, None] + 3 * pixel
        return self.pixels[first[..., None] + torch.arange(3, device=self.device)]


class PrefetchingSampler:
    """Prepare the batches of a `PatchSampler` ahead, in a thread and in page-locked memory, for a device without room for the store.

    Args:
        patches: the sampler.
        device: receives the batches.
    """

    PREFETCH = 4  # batches

    def __init__(self, patches: PatchSampler, device: torch.device) -> None:
        self.patches, self.device = patches, device
        self.thread = ThreadPoolExecutor(1)
        self.pending: dict[int, Future[tuple[torch.Tensor, ...]]] = {}

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return the batch of a step on the device, as `GpuPatchSampler` does."""
        for number in range(step, step + self.PREFETCH):
            if number not in self.pending:
                self.pending[number] = self.thread.submit(self._make, number)
        batch = self.pending[step].result()
        self.pending = {number: made for number, made in self.pending.items() if number > step}
        return tuple(pixels.to(self.device, non_blocking=True) for pixels in batch)

    def _make(self, step: int) -> tuple[torch.Tensor, ...]:
        batch = tuple(map(torch.from_numpy, self.patches(step)))
        return tuple(pixels.pin_memory() for pixels in batch) if self.device.type == "cuda" else batch


def choose_sampler(patches: PatchSampler, device: torch.device) -> PatchSampler | PrefetchingSampler | GpuPatchSampler:
    """Return the fastest sampler of the same batches for a device."""
    if device.type != "cuda":
        return patches
    return GpuPatchSampler(patches, device) if GpuPatchSampler.fits(patches.store, device) else PrefetchingSampler(patches, device)
