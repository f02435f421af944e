"""Sample random, aligned HR/LR patches as a pure function of (seed, step, rank, number of ranks).

A resumed run therefore sees the patches of an uninterrupted run. Any number of workers that share the steps produces the same batches.
Processes that train together share the batch that one process with the whole batch size sees.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch

from srgan.config.stepwise import at_step, by_step
from srgan.data.packed_store import Store
from srgan.data.rectangles import draw_rectangles, inside
from srgan.data.windows import Windows, steps_of_a_window
from srgan.degradations.colours import luma
from srgan.images.read import to_uint8
from srgan.utils.errors import SrganError

# Streams of random numbers of a step. The positions have none, the recipe has 2 and the windows have 7.
COLORS, AUGMENTATION, NOISE, CUTMIX, CUTBLUR = 1, 3, 4, 5, 6
UPLOAD_BYTES = 1 << 28  # pixels copied to the device at a time
DEVICE_SHARE = 0.5  # largest share of the device's free memory for the pixels. The networks need the rest


class PatchSampler:
    """Sample batches of augmented HR/LR patches from a store.

    Args:
        store: the packed pixels.
        batch_size: patches per batch of this process.
        patch_size: side of an HR patch in pixels, a multiple of the store's scale. Or sides by the first step that has them: patches
            come from images that are as large as the largest.
        seed: batches depend on the seed, the step, the rank and the number of processes only.
        rank: index of this process.
        processes: number of processes that train together. A step has `processes * batch_size` patches.
        cutmix: probability that a rectangle of a patch shows a patch of another place, in HR and LR alike (CutMix: Yun et al. 2019,
            https://arxiv.org/abs/1905.04899. For super-resolution: Yoo et al. 2020, https://arxiv.org/abs/2004.00448). Not in step 0.
        window: shards that the patches of a step come from, see `srgan.data.windows`. 0 means all.

    Raises:
        SrganError: no image is as large as the largest patch.
    """

    def __init__(
        self,
        store: Store,
        batch_size: int,
        patch_size: int | dict[int, int],
        seed: int,
        rank: int = 0,
        processes: int = 1,
        cutmix: float = 0.0,
        window: int = 0,
    ) -> None:
        self.store, self.batch_size, self.patch_size, self.seed = store, batch_size, patch_size, seed
        self.rank, self.processes, self.cutmix = rank, processes, cutmix
        self._share, self._all = slice(rank * batch_size, (rank + 1) * batch_size), processes * batch_size
        needed = max(by_step(patch_size).values())
        self._eligible = np.flatnonzero(store.sizes.min(1) >= needed)
        self.eligible_images: list[int] = self._eligible.tolist()
        if not self.eligible_images:
            largest = store.sizes.min(1).max()
            raise SrganError(
                f"patch_size: {needed} pixels is more than any training image has (at most {largest}). Lower it in params.yaml"
            )
        shards = np.unique(store.shard_of[self._eligible])
        steps = steps_of_a_window(store.sizes[self._eligible].prod(1).sum() / len(shards), self._all, needed)
        self.windows = Windows(shards, window, steps, seed)
        self._window: tuple[int, np.ndarray, np.ndarray] | None = None

    def _images_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images that the patches of a step come from, `(N,)`, and the sizes of their LR images, `(N, 2)`."""
        number = self.windows.number(step)
        if not self._window or self._window[0] != number:
            shards = self.windows.shards(number)
            self.store.keep(shards.tolist(), self.windows.ahead(number).tolist())
            images = self._eligible[np.isin(self.store.shard_of[self._eligible], shards)]
            self._window = number, images, self.store.sizes[images] // self.store.scale
        return self._window[1:]

    def side(self, step: int) -> int:
        """Return the side of the HR patches of a step in pixels."""
        return at_step(self.patch_size, step)

    def sample_positions(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the patches of a step, `(N,)` each: image index, top and left in LR pixels, symmetry 0..7, and LR variant.

        The image is drawn first and uniformly, from the window of the step. The position, the symmetry and the variant follow.
        """
        return self._positions(np.random.default_rng((self.seed, step)), step)

    def sample_donors(self, step: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return what CutMix adds to the patches of a step: patches as of `sample_positions`, and the rectangle of each that is used.

        The rectangles are `(N, 4)` in LR pixels, see `srgan.data.rectangles.draw_rectangles`.
        """
        random = self._random(step, CUTMIX)
        rectangles = draw_rectangles(random, self._all, self.side(step) // self.store.scale, self.cutmix)
        return self._positions(random, step), rectangles[self._share]

    def _positions(self, random: np.random.Generator, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        images, lr_sizes = self._images_at(step)
        drawn = random.integers(len(images), size=self._all)
        top, left = random.integers(lr_sizes[drawn] - self.side(step) // self.store.scale + 1).T
        symmetry, variant = (random.integers(count, size=self._all) for count in (8, max(self.store.variants, 1)))
        positions = images[drawn], top, left, symmetry, variant
        return tuple(values[self._share] for values in positions)  # type: ignore[return-value]

    def __call__(self, step: int) -> tuple[np.ndarray, ...]:
        """Return the batch of a step, HR `(N, patch, patch, channels)` and LR `(N, patch / scale, patch / scale, channels)`.

        The type is that of the store. There is no LR if the store has none. `degrade` then makes it.
        """
        batch = self._cut(self.sample_positions(step), self.side(step))
        if self.cutmix and step:
            positions, rectangles = self.sample_donors(step)
            mixed = np.flatnonzero(rectangles[:, 1] > rectangles[:, 0])
            donors = self._cut(tuple(values[mixed] for values in positions), self.side(step))
            for own, other, scale in zip(batch, donors, (self.store.scale, 1), strict=False):
                for n, donor in zip(mixed, other, strict=True):
                    top, bottom, left, right = scale * rectangles[n]
                    own[n, top:bottom, left:right] = donor[top:bottom, left:right]
        return batch

    def _cut(self, positions: tuple[np.ndarray, ...], hr_side: int) -> tuple[np.ndarray, ...]:
        """Return the HR and LR patches at these positions."""
        scale, lr_side, count = self.store.scale, hr_side // self.store.scale, len(positions[0])
        hr_images, lr_images = self.store.hr, self.store.lr_variants
        hr_batch, lr_batch = (np.empty((count, side, side, self.store.channels), self.store.dtype) for side in (hr_side, lr_side))
        for n, (image, top, left, symmetry, variant) in enumerate(zip(*(values.tolist() for values in positions), strict=True)):
            if self.store.variants:
                lr_image = lr_images[image][variant]
                _dihedral(lr_image[top : top + lr_side, left : left + lr_side], symmetry, lr_batch[n])
            top, left = top * scale, left * scale
            _dihedral(hr_images[image][top : top + hr_side, left : left + hr_side], symmetry, hr_batch[n])
        return (hr_batch, lr_batch) if self.store.variants else (hr_batch,)

    def degrade(self, hr_patches: torch.Tensor, step: int) -> torch.Tensor:
        """Make the LR patches of a step by the recipe of the store.

        Args:
            hr_patches: `(N, channels, patch, patch)` float32 in 0..1, on any device.
            step: of the training.

        Returns:
            `(N, channels, patch / scale, patch / scale)` float32 in 0..1, rounded to the numbers of the store.
        """
        white = self.store.white
        shared = self.store.scale, self.seed, step, self.rank, self.processes, white
        if self.store.channels == 3:
            return self.store.recipe.degrade_patches(hr_patches, *shared)
        lr_patches = self.store.recipe.degrade_patches(hr_patches.expand(-1, 3, -1, -1), *shared)  # steps may change colours
        return luma(lr_patches).mul(white).round_().div_(white)

    def lr_patches(self, step: int) -> np.ndarray:
        """Return the LR patches of a step alone, `(N, patch / scale, patch / scale, channels)` uint8."""
        hr_batch, *lr_batch = self(step)
        if lr_batch:
            return to_uint8(lr_batch[0])
        degraded = self.degrade(torch.from_numpy(hr_batch).permute(0, 3, 1, 2).float() / self.store.white, step)
        return degraded.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def color_gains(self, step: int, jitter: float) -> np.ndarray:
        """Return a factor for each patch and channel of a step, `(N, channels)` float32 in `1 - jitter` to 1."""
        return 1 - jitter * self._random(step, COLORS).random((self._all, self.store.channels), dtype=np.float32)[self._share]

    def uniforms(self, step: int, count: int) -> np.ndarray:
        """Return numbers for the augmentation of each patch of a step, `(N, count)` float32, at least 0 and below 1."""
        return self._random(step, AUGMENTATION).random((self._all, count), dtype=np.float32)[self._share]

    def noise(self, step: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Return Gaussian noise for each patch of a step, `(N, *shape)` float32 on a device. Kinds of devices give different noise."""
        generator = torch.Generator(device).manual_seed(int(self._random(step, NOISE).integers(2**63)))
        return torch.randn((self._all, *shape), generator=generator, device=device)[self._share]

    def _random(self, step: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, step, stream))

    def finish(self, images: list[torch.Tensor], step: int, jitter: float, cutblur: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the HR and LR images that a network sees in a step, `(N, channels, H, W)` float32 in 0..1.

        Args:
            images: HR and LR patches of the step, or HR patches alone, float32 in 0..1.
            step: of the training.
            jitter: see `color_gains`. The LR patches stay those of the HR patches, because the gains are linear.
            cutblur: probability that a rectangle of the input shows the HR patch, or all except a rectangle (CutBlur: Yoo et al. 2020,
                https://arxiv.org/abs/2004.00448). The scale must be 1. A network learns where it has to change the input.
        """
        if jitter:
            gains = torch.from_numpy(self.color_gains(step, jitter)).to(images[0].device, non_blocking=True)[:, :, None, None]
            images = [image * gains for image in images]
        hr_image, lr_image = images if len(images) == 2 else (images[0], self.degrade(images[0], step))
        if cutblur:
            random = self._random(step, CUTBLUR)
            rectangles = draw_rectangles(random, self._all, self.side(step), cutblur)
            outside = random.integers(2, size=self._all).astype(bool) & (rectangles[:, 1] > rectangles[:, 0])
            shown, inverted = (
                torch.from_numpy(drawn[self._share]).to(hr_image.device, non_blocking=True) for drawn in (rectangles, outside)
            )
            shown = inside(shown, self.side(step)) ^ inverted[:, None, None]
            lr_image = torch.where(shown[:, None], hr_image, lr_image)
        return hr_image, lr_image


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
    """Cut the batches of a `PatchSampler` on a device that holds the shards of a window. Only the positions are transferred.

    Args:
        patches: the sampler.
        device: holds the pixels and receives the batches.
    """

    def __init__(self, patches: PatchSampler, device: torch.device) -> None:
        self.patches, self.device = patches, device
        store = patches.store
        self.pixels = torch.empty(self.needed(patches), dtype=torch.uint8, device=device)
        # First byte of each shard in `pixels`. Shards of windows share places of one size.
        self._starts = np.zeros(len(store.shards), np.int64) if patches.windows.moves else store.starts[:-1]
        self._places: dict[int, int] = {}  # shard -> its place
        self._number = -1  # of the window
        areas = store.sizes.prod(1)
        self.lr_sizes = store.channels * (areas // store.scale**2)
        # First byte of each image in its shard, and widths. HR in row 0 and LR in row 1: the LR variants follow the HR pixels of an image.
        self.offsets = np.stack([store.offsets, store.offsets + store.channels * areas])
        self.widths = np.stack([store.sizes[:, 1], store.sizes[:, 1] // store.scale])

    @staticmethod
    def needed(patches: PatchSampler) -> int:
        """Return the bytes of all shards, or of as many of the largest as a window has."""
        store, windows = patches.store, patches.windows
        return windows.width * max(shard.bytes for shard in store.shards) if windows.moves else store.size

    @classmethod
    def fits(cls, patches: PatchSampler, device: torch.device) -> bool:
        """Return True if a CUDA device has room for the pixels of 8 bits: `DEVICE_SHARE` of its free memory."""
        return (
            device.type == "cuda"
            and patches.store.white == 255
            and cls.needed(patches) <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
        )

    def _load(self, number: int) -> None:
        """Copy the shards of a window to the device that are not there yet."""
        wanted = self.patches.windows.shards(number).tolist()
        self._places = {shard: place for shard, place in self._places.items() if shard in wanted}
        free = iter(sorted(set(range(self.patches.windows.width)) - set(self._places.values())))
        for shard in wanted:
            if shard not in self._places:
                self._places[shard] = next(free)
                if self.patches.windows.moves:
                    self._starts[shard] = self._places[shard] * (len(self.pixels) // self.patches.windows.width)
                self._upload(self.patches.store.pixels(shard), int(self._starts[shard]))
        self._number = number

    def _upload(self, pixels: np.ndarray, start: int) -> None:
        for first in range(0, pixels.size, UPLOAD_BYTES):  # processes that start together must not each hold a copy in memory
            piece = torch.from_numpy(np.array(pixels[first : first + UPLOAD_BYTES]))
            self.pixels[start + first : start + first + len(piece)] = piece

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return the batch of a step on the device, as `PatchSampler` does."""
        side, scale, number = self.patches.side(step), self.patches.store.scale, self.patches.windows.number(step)
        if number != self._number:
            self._load(number)
        batch = self._patches(self.patches.sample_positions(step), side)
        if self.patches.cutmix and step:
            positions, rectangles = self.patches.sample_donors(step)
            donors, mixed = self._patches(positions, side), torch.from_numpy(rectangles).to(self.device, non_blocking=True)
            masks = inside(mixed * scale, side), inside(mixed, side // scale)
            batch = tuple(torch.where(mask[..., None], donor, own) for mask, donor, own in zip(masks, donors, batch, strict=False))
        return batch

    def _patches(self, drawn: tuple[np.ndarray, ...], side: int) -> tuple[torch.Tensor, ...]:
        """Return the HR and LR patches at these positions."""
        image, top, left, symmetry, variant = drawn
        scale, channels = self.patches.store.scale, self.patches.store.channels
        first = self.offsets[:, image] + self._starts[self.patches.store.shard_of[image]]
        found = [(side, _strides(first[0], self.widths[0][image], top * scale, left * scale, symmetry, side, channels))]
        if self.patches.store.variants:
            starts = first[1] + variant * self.lr_sizes[image]
            found.append((side // scale, _strides(starts, self.widths[1][image], top, left, symmetry, side // scale, channels)))
        strides = torch.from_numpy(np.stack([each for _, each in found])).to(self.device, non_blocking=True)
        return tuple(self._cut(each, side) for each, (side, _) in zip(strides, found, strict=True))

    def _cut(self, strides: torch.Tensor, side: int) -> torch.Tensor:
        """Cut patches in one gather, `(N, side, side, channels)`. `strides` is the result of `_strides`."""
        first, down, right = strides
        line = torch.arange(side, device=self.device)
        index = torch.addcmul(torch.addcmul(first, down, line[:, None, None]), right, line[:, None])
        return self.pixels[index + torch.arange(self.patches.store.channels, device=self.device)]


def _strides(
    starts: np.ndarray, widths: np.ndarray, top: np.ndarray, left: np.ndarray, symmetry: np.ndarray, side: int, channels: int
) -> np.ndarray:
    """Return where patches are in the bytes of a store, in one of eight symmetries, numbered 0..7.

    Args:
        starts: first byte of the image of each patch.
        widths: of these images in pixels.
        top: first row of each patch.
        left: first column.
        symmetry: of each patch.
        side: of the patches.
        channels: bytes of a pixel.

    Returns:
        The byte of the first pixel, and the bytes to the next pixel below it and to its right, `(3, N, 1, 1, 1)`.
    """
    down, right = channels * widths, np.full_like(widths, channels)
    first = starts + top * down + left * right
    steps = []
    for bit, step in ((1, down), (2, right)):
        flipped = symmetry & bit != 0
        first = first + np.where(flipped, (side - 1) * step, 0)
        steps.append(np.where(flipped, -step, step))
    transposed = symmetry & 4 != 0
    down, right = np.where(transposed, steps[::-1], steps)
    return np.stack([first, down, right])[..., None, None, None]


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
    return GpuPatchSampler(patches, device) if GpuPatchSampler.fits(patches, device) else PrefetchingSampler(patches, device)
