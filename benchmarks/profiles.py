"""Score a trained profile on images that it was not trained on: ``python benchmarks/profiles.py PROFILE WEIGHTS``.

    python benchmarks/profiles.py photo-cpu models/generator.safetensors

The images are those of Kodak24 and B100, for noise the 68 of CBSD68, in ``$SRGAN_MIRROR/datasets``. OpenCV and Pillow make the inputs,
except those of old photographs, which the project's own recipe makes. The wavelets of `denoise-cpu` need ``pip install PyWavelets``. Each
row has the means of a method over all images. At x4 the method `input` is MATLAB's bicubic filter. The last lines are
``bar NAME VALUE LIMIT met`` or ``missed``.

    --images 10    score only the first images
    --save FOLDER  write the inputs and the results of the network
"""

import argparse
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_wavelet

from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale, modcrop
from srgan.degradations.recipe import Recipe
from srgan.inference.torch_upscale import upscale
from srgan.metrics.color import ciede2000, lab
from srgan.metrics.hatch import hatch
from srgan.metrics.lpips import Lpips
from srgan.metrics.psnr_ssim import grey, psnr_ssim
from srgan.models.checkpoints import load_generator

# The images of B100 that are CBSD68 (Roth and Black 2009, "Fields of Experts").
CBSD68 = """
101085 101087 102061 103070 105025 106024 108005 108070 108082 109053 119082 12084 123074 126007 130026 134035 14037 143090 145086
147091 148026 148089 157055 159008 160068 16077 163085 167062 167083 170057 175032 175043 182053 189080 19021 196073 197017 208001
210088 21077 216081 219090 220075 223061 227092 229036 236037 24077 241004 241048 253027 253055 260058 271035 285079 291000 295087
296007 296059 299086 300091 302008 304034 304074 306005 3096 33039 351093
"""

Images = Iterator[np.ndarray]
Method = Callable[[np.ndarray], np.ndarray]


class Scores:
    """The figures of every image by condition and method."""

    def __init__(self, network: torch.nn.Module, save: Path | None) -> None:
        self.network, self.save = network, save
        self.lpips = Lpips("alex")
        self.rows: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def compare(self, condition: str, images: Images, degrade: Method, before: Method, others: dict[str, Method] | None = None) -> None:
        """Degrade images and score the results. Print a row for each method.

        Args:
            condition: name of the degradation.
            images: HR images.
            degrade: makes the LR image.
            before: makes the image of the method `input`, which has the size of the HR image.
            others: more methods by name.
        """
        methods = {"input": before, "network": lambda lr_image: upscale(self.network, lr_image), **(others or {})}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        for number, hr_image in enumerate(images):
            lr_image = degrade(hr_image)
            border = hr_image.shape[0] // lr_image.shape[0] if lr_image.shape != hr_image.shape else 0
            plain = before(lr_image)
            for name, method in methods.items():
                image = method(lr_image)
                if self.save and name in ("input", "network"):
                    self.save.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(self.save / f"{condition}-{number:03}-{name}.png")
                found[name].append(
                    {
                        **psnr_ssim(image, hr_image, border),
                        "lpips": self.lpips(image, hr_image, border),
                        "hatch": hatch(image, hr_image),
                        "ciede2000": float(ciede2000(lab(image), lab(hr_image)).mean()),
                        "luma_change": float(np.abs(grey(image).astype(int) - grey(plain)).max()),
                    }
                )
        for name, rows in found.items():
            figures = {figure: np.array([row[figure] for row in rows]) for figure in rows[0]}
            self.rows[condition, name] = figures
            print(f"{condition:22} {name:8} " + "  ".join(f"{key} {value.mean():.4f}" for key, value in figures.items()), flush=True)

    def mean(self, condition: str, method: str, figure: str) -> float:
        """Return the mean of a figure over the images."""
        return float(self.rows[condition, method][figure].mean())

    def highest_difference(self, condition: str, figure: str) -> float:
        """Return the upper end of the 95 % bootstrap interval of the network's mean difference from the input."""
        differences = self.rows[condition, "network"][figure] - self.rows[condition, "input"][figure]
        drawn = np.random.default_rng(0).integers(len(differences), size=(10_000, len(differences)))
        return float(np.percentile(differences[drawn].mean(1), 97.5))


def read(folder: str, count: int | None, names: str = "") -> Images:
    """Yield the first images of a data set, or of those with the given names."""
    paths = sorted((Path(os.environ["SRGAN_MIRROR"]) / "datasets" / folder).iterdir())
    chosen = [path for path in paths if not names or path.stem in names.split()]
    yield from (np.array(Image.open(path).convert("RGB")) for path in chosen[:count])


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress an image with Pillow, with 4:2:0 subsampling."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality, subsampling=2)
    return np.array(Image.open(file))


def noisy(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise and round to 8 bits."""
    return np.clip(np.round(image + random.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def same(image: np.ndarray) -> np.ndarray:
    """Return the input of scale 1."""
    return image


def bar(name: str, value: float, limit: float, lower: bool = True) -> None:
    """Print a figure, its limit and the verdict."""
    print(f"bar {name} {value:.4f} {limit} {'met' if (value <= limit if lower else value >= limit) else 'missed'}")


def photo(scores: Scores, count: int | None) -> None:
    """Score x4: clean, compressed, and blurred with noise."""
    random = np.random.default_rng(0)
    ten = [modcrop(image, 4) for image in read("b100", count or 10)]

    def hard(image: np.ndarray) -> np.ndarray:
        return jpeg(noisy(bicubic_downscale(cv2.GaussianBlur(image, (0, 0), 1.6, borderType=cv2.BORDER_REFLECT), 4), 6, random), 60)

    inputs: dict[str, Method] = {
        "clean": lambda image: bicubic_downscale(image, 4),
        "jpeg-50": lambda image: jpeg(bicubic_downscale(image, 4), 50),
        "blur1.6-noise6-jpeg60": hard,
    }
    for name, degrade in inputs.items():
        scores.compare(name, iter(ten), degrade, lambda lr_image: bicubic_upscale(lr_image, 4))
    bar("jpeg50_lpips", scores.mean("jpeg-50", "network", "lpips"), 0.430)
    bar("jpeg50_psnr_y", scores.mean("jpeg-50", "network", "psnr_y"), 24.9, lower=False)
    bar("blur_lpips", scores.mean("blur1.6-noise6-jpeg60", "network", "lpips"), 0.443)
    bar("blur_psnr_y", scores.mean("blur1.6-noise6-jpeg60", "network", "psnr_y"), 25.1, lower=False)
    bar("clean_lpips", scores.mean("clean", "network", "lpips"), 0.37)
    bar("hatch", max(scores.mean(name, "network", "hatch") for name in inputs), 0.2)


def dejpeg(scores: Scores, count: int | None) -> None:
    """Score scale 1: JPEG files of several qualities."""
    for quality in (10, 20, 40):
        scores.compare(f"jpeg-{quality}", read("kodak24", count), lambda image, quality=quality: jpeg(image, quality), same)
    bar("gain_psnr_y", scores.mean("jpeg-20", "network", "psnr_y") - scores.mean("jpeg-20", "input", "psnr_y"), 0.8, lower=False)
    bar("lpips_difference", scores.highest_difference("jpeg-20", "lpips"), 0)


def denoise(scores: Scores, count: int | None) -> None:
    """Score scale 1: noise of several levels, also against two classical methods."""
    random = np.random.default_rng(0)

    def means(image: np.ndarray) -> np.ndarray:
        found = denoise_nl_means(
            image / 255, h=0.6 * 25 / 255, sigma=25 / 255, fast_mode=True, patch_size=5, patch_distance=6, channel_axis=-1
        )
        return np.round(np.clip(found, 0, 1) * 255).astype(np.uint8)

    def wavelet(image: np.ndarray) -> np.ndarray:
        found = denoise_wavelet(image / 255, sigma=25 / 255, channel_axis=-1, convert2ycbcr=True, method="BayesShrink", rescale_sigma=True)
        return np.round(np.clip(found, 0, 1) * 255).astype(np.uint8)

    for sigma in (15, 25, 50):
        others: dict[str, Method] = {"nl_means": means, "wavelet": wavelet} if sigma == 25 else {}
        images = read("b100", count or (None if sigma == 25 else 20), CBSD68)
        scores.compare(f"noise-{sigma}", images, lambda image, sigma=sigma: noisy(image, sigma, random), same, others)
    ours = scores.mean("noise-25", "network", "psnr_rgb")
    bar("psnr_rgb", ours, 29.5, lower=False)
    for name in ("nl_means", "wavelet"):
        bar(f"over_{name}", ours - scores.mean("noise-25", name, "psnr_rgb"), 1.0, lower=False)


def colorize(scores: Scores, count: int | None) -> None:
    """Score scale 1: gray images."""
    recipe = Recipe("grayscale")
    scores.compare("grayscale", read("b100", count), lambda image: recipe.degrade(image, 1, (0,))[0], same)
    bar("ciede2000_ratio", scores.mean("grayscale", "network", "ciede2000") / scores.mean("grayscale", "input", "ciede2000"), 0.93)
    bar("lpips_difference", scores.highest_difference("grayscale", "lpips"), 0)
    bar("luma_change", float(scores.rows["grayscale", "network"]["luma_change"].max()), 1)


def old_photo(scores: Scores, count: int | None) -> None:
    """Score scale 1: synthetic damage."""
    recipe, numbers = Recipe("old-photo"), iter(range(1000))
    scores.compare("old-photo", read("b100", count), lambda image: recipe.degrade(image, 1, (0, next(numbers)))[0], same)
    bar("lpips_ratio", scores.mean("old-photo", "network", "lpips") / scores.mean("old-photo", "input", "lpips"), 0.75)


PROFILES = {"photo-cpu": photo, "dejpeg-cpu": dejpeg, "denoise-cpu": denoise, "colorize-cpu": colorize, "old-photo-cpu": old_photo}


def main() -> None:
    """Score the weights and print the bars last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    network, _ = load_generator(arguments.weights)
    PROFILES[arguments.profile](Scores(network.eval(), arguments.save), arguments.images)


if __name__ == "__main__":
    main()
