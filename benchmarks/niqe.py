"""Fit the parameters of NIQE to sharp photographs: ``python benchmarks/niqe.py IMAGE... [-o FILE]``.

Without `-o` it writes ``srgan/metrics/niqe.npz``, the parameters that the package ships. They describe 32 CC0 photographs of 1600 pixels:
15 of BuddiesOfBudgie/budgie-backgrounds and 17 that Unsplash published before June 2017. The file lists their names.
"""

import argparse
from pathlib import Path

import numpy as np

from srgan.images.read import read_rgb
from srgan.metrics.niqe import OWN, fit
from srgan.utils.files import atomic_file


def main() -> None:
    """Read the photographs and write the file."""
    parser = argparse.ArgumentParser(description="Fit the parameters of NIQE to sharp photographs.")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("-o", "--output", type=Path, default=OWN, metavar="FILE")
    arguments = parser.parse_args()
    parameters = fit(read_rgb(path) for path in arguments.images)
    with atomic_file(arguments.output) as temporary, temporary.open("wb") as file:
        np.savez(file, mean=parameters.mean, covariance=parameters.covariance, images=sorted(path.name for path in arguments.images))
    print(f"{arguments.output}: {len(arguments.images)} photographs, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
