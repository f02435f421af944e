"""Random aligned crops: a pure function of (seed, step), so a resumed run sees what the uninterrupted one would have."""

import numpy as np

from srgan.data.store import Store
from srgan.errors import SrganError


class Crops:
    """Batches of augmented HR/LR crops from a store.

    Args:
        store: where the pixels are.
        batch: crops per batch.
        patch: side of an HR crop in pixels, a multiple of the store's scale.
        seed: batches are a function of this and of the step.

    Raises:
        SrganError: no image is as large as the patch.
    """

    def __init__(self, store: Store, batch: int, patch: int, seed: int) -> None:
        self.store, self.batch, self.patch, self.seed = store, batch, patch, seed
        self.usable = [i for i, image in enumerate(store.hr) if min(image.shape[:2]) >= patch]
        if not self.usable:
            largest = max(min(image.shape[:2]) for image in store.hr)
            raise SrganError(f"patch: {patch} pixels is more than any training image has (at most {largest}); lower it in params.yaml")

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one step: HR `(N, patch, patch, 3)` and LR `(N, patch / scale, patch / scale, 3)`, uint8.

        Images are drawn uniformly, then the position, then one of the eight flips and quarter turns.
        """
        random = np.random.default_rng((self.seed, step))
        scale, small = self.store.scale, self.patch // self.store.scale
        hr_batch = np.empty((self.batch, self.patch, self.patch, 3), np.uint8)
        lr_batch = np.empty((self.batch, small, small, 3), np.uint8)
        for n in range(self.batch):
            image = self.usable[random.integers(len(self.usable))]
            height, width = self.store.lr[image].shape[:2]
            top, left = int(random.integers(height - small + 1)), int(random.integers(width - small + 1))
            turn = int(random.integers(8))
            lr_batch[n] = _turn(self.store.lr[image][top : top + small, left : left + small], turn)
            top, left = top * scale, left * scale
            hr_batch[n] = _turn(self.store.hr[image][top : top + self.patch, left : left + self.patch], turn)
        return hr_batch, lr_batch

    def gains(self, step: int, jitter: float) -> np.ndarray:
        """Factors for the colours of each crop of a step, `(N, 3)` float32 between `1 - jitter` and 1."""
        random = np.random.default_rng((self.seed, step, 1))  # another stream than the crops'
        return 1 - jitter * random.random((self.batch, 3), dtype=np.float32)


def _turn(image: np.ndarray, which: int) -> np.ndarray:
    """One of the eight symmetries of a square, numbered 0..7."""
    if which & 1:
        image = image[::-1]
    if which & 2:
        image = image[:, ::-1]
    return image.transpose(1, 0, 2) if which & 4 else image
