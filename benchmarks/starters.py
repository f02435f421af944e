"""Score the weights of a starter next to those of a rival: ``python benchmarks/starters.py STARTER WEIGHTS RIVAL``.

    python benchmarks/starters.py x4-photo models/generator.safetensors RealESRGAN_General_x4_v3.safetensors

The images are those of ``$SRGAN_MIRROR/datasets``. Each row has the means of a network over all images. The last lines are
``bar NAME VALUE LIMIT met`` or ``missed``, as those of `profiles.py`. The bars of `restore` have no rival.

    --save FOLDER  write the inputs and the results of the network
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from profiles import Scores, bar, dejpeg, denoise, photo, read
from srgan.degradations.bicubic import bicubic_downscale, bicubic_upscale, modcrop
from srgan.inference.torch_upscale import upscale
from srgan.inference.weights import read_weights
from srgan.metrics.consistency import consistency
from srgan.metrics.niqe import OWN, niqe, read_parameters

REAL_TILE = 256  # LR pixels


def x4_photo(ours: Scores, rival: Scores) -> None:
    """Score synthetic inputs next to the rival, and real photographs next to the bicubic filter."""
    photo(ours, None)
    print("rival")
    photo(rival, None)
    for (condition, name), figures in ours.rows.items():
        if name == "network":
            theirs = rival.rows[condition, name]
            bar(f"{condition}_lpips", figures["lpips"].mean(), round(theirs["lpips"].mean(), 4))
            bar(f"{condition}_psnr_y", figures["psnr_y"].mean(), round(theirs["psnr_y"].mean() + 0.5, 2), lower=False)
    real(ours)


def real(scores: Scores) -> None:
    """Score the 25 real photographs of RealSRSet without originals."""
    parameters, rows = read_parameters(OWN), []
    for number, lr_image in enumerate(read("realsrset", None)):
        images = {"bicubic": bicubic_upscale(lr_image, 4), "network": upscale(scores.network, lr_image, REAL_TILE)}
        if scores.save:
            for name, image in images.items():
                scores.save.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(scores.save / f"real-{number:02}-{name}.png")
        rows.append([figure for image in images.values() for figure in (niqe(image, parameters), consistency(image, lr_image, 4))])
        print(
            f"real {number:2}  niqe {rows[-1][0]:.2f} -> {rows[-1][2]:.2f}  consistency {rows[-1][1]:.2f} -> {rows[-1][3]:.2f}", flush=True
        )
    table = np.array(rows)
    bar("real_niqe_wins", int((table[:, 2] < table[:, 0]).sum()), 22, lower=False)
    bar("real_consistency", table[:, 3].mean(), round(table[:, 1].mean() - 1.5, 2), lower=False)


def x4_clean(ours: Scores, rival: Scores) -> None:
    """Score Set5 and Set14 next to the rival."""
    for name in ("set5", "set14"):
        for scores in (ours, rival):
            images = (modcrop(image, 4) for image in read(name, None))
            scores.compare(name, images, lambda image: bicubic_downscale(image, 4), lambda lr_image: bicubic_upscale(lr_image, 4))
        bar(f"{name}_lpips", ours.mean(name, "network", "lpips"), round(rival.mean(name, "network", "lpips"), 4))
        bar(f"{name}_psnr_y", ours.mean(name, "network", "psnr_y"), round(rival.mean(name, "network", "psnr_y"), 2), lower=False)
        bar(f"{name}_hatch", ours.mean(name, "network", "hatch"), 0.2)


def restore(ours: Scores, rival: Scores) -> None:
    """Score the conditions of `dejpeg-cpu` and `denoise-cpu`."""
    dejpeg(ours, None)
    denoise(ours, None)


STARTERS = {"x4-photo": x4_photo, "x4-clean": x4_clean, "restore": restore}


def main() -> None:
    """Score both files and print the bars last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("starter", choices=STARTERS)
    parser.add_argument("weights", type=Path)
    parser.add_argument("rival", type=Path, nargs="?")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    ours, rival = (read_weights(path)[0] for path in (arguments.weights, arguments.rival or arguments.weights))
    with torch.inference_mode():
        STARTERS[arguments.starter](Scores(ours, arguments.save), Scores(rival, None))


if __name__ == "__main__":
    main()
