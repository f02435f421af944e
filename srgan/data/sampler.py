"""Random aligned crops, a pure function of (seed, step, rank, number of ranks).

So a resumed run sees what the uninterrupted one would have; any number of workers, each asking for some of the steps, makes the same
batches as one; and processes that train together see, between them, the batch that one alone would see if it were as large.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch

from srgan.data.packed_store import Store
from srgan.utils.errors import SrganError

PIECE = 1 << 28  # bytes that go to a device at a time
DEVICE_SHARE = 0.5  # of a device's free memory that the pixels may take; the rest is the networks'


class Crops:
    """Batches of augmented HR/LR crops from a store.

    Args:
        store: where the pixels are.
        batch: crops per batch.
        patch: side of an HR crop in pixels, a multiple of the store's scale.
        seed: batches are a function of this, of the step, the rank and the shares.
        rank: which share of a step this process takes.
        shares: processes that train together; a step has `shares * batch` crops.

    Raises:
        SrganError: no image is as large as the patch.
    """

    def __init__(self, store: Store, batch: int, patch: int, seed: int, rank: int = 0, shares: int = 1) -> None:
        self.store, self.batch, self.patch, self.seed = store, batch, patch, seed
        self._share, self._all = slice(rank * batch, (rank + 1) * batch), shares * batch
        self.usable = [i for i, image in enumerate(store.hr) if min(image.shape[:2]) >= patch]
        if not self.usable:
            largest = max(min(image.shape[:2]) for image in store.hr)
            raise SrganError(f"patch: {patch} pixels is more than any training image has (at most {largest}); lower it in params.yaml")
        self._usable = np.array(self.usable)
        self._sizes = np.array([image.shape[:2] for image in store.lr])[self._usable] - patch // store.scale + 1

    def places(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where the crops of a step lie, `(N,)` each: image, top and left in LR pixels, and which of the eight flips and turns.

        Images are drawn uniformly, then the position, then the turn.
        """
        random = np.random.default_rng((self.seed, step))
        drawn = random.integers(len(self._usable), size=self._all)
        top, left = random.integers(self._sizes[drawn]).T
        places = self._usable[drawn], top, left, random.integers(8, size=self._all)
        return tuple(values[self._share] for values in places)  # type: ignore[return-value]

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one step: HR `(N, patch, patch, 3)` and LR `(N, patch / scale, patch / scale, 3)`, uint8."""
        scale, small = self.store.scale, self.patch // self.store.scale
        hr_batch = np.empty((self.batch, self.patch, self.patch, 3), np.uint8)
        lr_batch = np.empty((self.batch, small, small, 3), np.uint8)
        places = zip(*(values.tolist() for values in self.places(step)), strict=True)
        for n, (image, top, left, turn) in enumerate(places):
            _turn(self.store.lr[image][top : top + small, left : left + small], turn, lr_batch[n])
            top, left = top * scale, left * scale
            _turn(self.store.hr[image][top : top + self.patch, left : left + self.patch], turn, hr_batch[n])
        return hr_batch, lr_batch

    def gains(self, step: int, jitter: float) -> np.ndarray:
        """Factors for the colours of each crop of a step, `(N, 3)` float32 between `1 - jitter` and 1."""
        random = np.random.default_rng((self.seed, step, 1))  # another stream than the crops'
        return 1 - jitter * random.random((self._all, 3), dtype=np.float32)[self._share]


_FLIPS = {1: 0, 2: 1, 3: -1}  # top and bottom, left and right, both; as OpenCV numbers them


def _turn(image: np.ndarray, which: int, out: np.ndarray) -> None:
    """Write one of the eight symmetries of a square image, numbered 0..7, to `out`."""
    flip = _FLIPS.get(which & 3)
    if which & 4:
        cv2.transpose(image if flip is None else cv2.flip(image, flip), out)
    elif flip is not None:
        cv2.flip(image, flip, out)
    else:
        out[...] = image


class ResidentCrops:
    """The same batches, cut on a device that holds the whole store: nothing but the places goes there.

    Args:
        crops: which batches.
        device: where the pixels go, once, and where the batches come out.
    """

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self.crops, self.device = crops, device
        store = crops.store
        self.pixels = torch.empty(store.pixels.size, dtype=torch.uint8, device=device)
        for start in range(0, store.pixels.size, PIECE):  # so that processes that start together do not each hold a copy in memory
            piece = slice(start, start + PIECE)
            self.pixels[piece] = torch.from_numpy(np.array(store.pixels[piece]))
        # Rows of both kinds of image lie one after the other: where they begin, and how long they are.
        hr_sizes = np.array([image.size for image in store.hr], np.int64)
        widths = np.array([image.shape[1] for image in store.hr], np.int64)
        self.starts = torch.from_numpy(np.stack([store.offsets, store.offsets + hr_sizes])).to(device)
        self.widths = torch.from_numpy(np.stack([widths, widths // store.scale])).to(device)

    @staticmethod
    def fits(store: Store, device: torch.device) -> bool:
        """Whether the store is to lie on the device: on CUDA, if it takes at most `DEVICE_SHARE` of the memory that is free."""
        return device.type == "cuda" and store.pixels.size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of one step on the device: HR `(N, patch, patch, 3)` and LR `(N, patch / scale, patch / scale, 3)`, uint8."""
        image, top, left, turn = torch.from_numpy(np.stack(self.crops.places(step))).to(self.device, non_blocking=True)
        scale, patch = self.crops.store.scale, self.crops.patch
        hr_batch = self._cut(0, image, top * scale, left * scale, turn, patch)
        return hr_batch, self._cut(1, image, top, left, turn, patch // scale)

    def _cut(self, kind: int, image: torch.Tensor, top: torch.Tensor, left: torch.Tensor, turn: torch.Tensor, side: int) -> torch.Tensor:
        """Crops of HR (0) or LR (1) images in one gather: the turns are in the indices."""
        line = torch.arange(side, device=self.device)
        y, x = line[None, :, None], line[None, None, :]
        turn = turn[:, None, None]
        y, x = torch.where(turn & 4 != 0, x, y), torch.where(turn & 4 != 0, y, x)
        y, x = torch.where(turn & 1 != 0, side - 1 - y, y), torch.where(turn & 2 != 0, side - 1 - x, x)
        row = (top[:, None, None] + y) * self.widths[kind][image][:, None, None]
        first = self.starts[kind][image][:, None, None] + 3 * (row + left[:, None, None] + x)
        return self.pixels[first[..., None] + torch.arange(3, device=self.device)]


class PinnedCrops:
    """The same batches, made ahead by a thread in page-locked memory: for a device that has no room for the store.

    Args:
        crops: which batches.
        device: where the batches come out.
    """

    AHEAD = 4  # batches

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self.crops, self.device = crops, device
        self.thread = ThreadPoolExecutor(1)
        self.coming: dict[int, Future[tuple[torch.Tensor, ...]]] = {}

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        """The batch of one step on the device, as `ResidentCrops` gives it."""
        for number in range(step, step + self.AHEAD):
            if number not in self.coming:
                self.coming[number] = self.thread.submit(self._make, number)
        batch = self.coming[step].result()
        self.coming = {number: made for number, made in self.coming.items() if number > step}
        return tuple(pixels.to(self.device, non_blocking=True) for pixels in batch)

    def _make(self, step: int) -> tuple[torch.Tensor, ...]:
        batch = tuple(map(torch.from_numpy, self.crops(step)))
        return tuple(pixels.pin_memory() for pixels in batch) if self.device.type == "cuda" else batch
