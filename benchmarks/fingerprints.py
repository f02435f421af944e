"""Write the fingerprints of the benchmark images: ``SRGAN_MIRROR=FOLDER python benchmarks/fingerprints.py``.

The layout of the folder is described in `docs/data.md` (mirror). `srgan prepare` uses the fingerprints to detect benchmark images
among the training images without the benchmark itself.
"""

import argparse
import os
from pathlib import Path

from srgan.data import near_duplicates
from srgan.data.prepare import BENCHMARKS
from srgan.images.read import read_image


def main() -> None:
    """Write ``srgan/data/benchmarks.npz``."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    references = near_duplicates.References()
    for name in ("set5", "set14", "b100"):
        for path in sorted((Path(os.environ["SRGAN_MIRROR"]) / "datasets" / name).iterdir()):
            references.add(f"{name}/{path.stem}", near_duplicates.fingerprint(read_image(path)))
    references.save(BENCHMARKS)
    print(f"{BENCHMARKS}: {len(references.names)} images, {BENCHMARKS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
