"""Make the fingerprints of the benchmarks that ship with the package: ``SRGAN_MIRROR=FOLDER python benchmarks/fingerprints.py``.

The folder holds the benchmarks' images, as `docs/data.md` says. They are how `srgan prepare` knows a benchmark picture among training
images without having the benchmark.
"""

import os
from pathlib import Path

from srgan.data import near_duplicates
from srgan.data.prepare import BENCHMARKS
from srgan.images.read import read_image


def main() -> None:
    """Write ``srgan/data/benchmarks.npz``."""
    references = near_duplicates.References()
    for name in ("set5", "set14", "b100"):
        for path in sorted((Path(os.environ["SRGAN_MIRROR"]) / "datasets" / name).iterdir()):
            references.add(f"{name}/{path.stem}", near_duplicates.fingerprint(read_image(path)))
    references.save(BENCHMARKS)
    print(f"{BENCHMARKS}: {len(references.names)} images, {BENCHMARKS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
