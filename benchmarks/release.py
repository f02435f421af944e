"""Count the single-bit changes of a release that `srgan verify` finds.

    python benchmarks/release.py releases/demo-1.0.0 public.pem

Each change is one bit at a random place of a random file. The folder is copied first.
"""

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from srgan.inference import signature
from srgan.release import oci
from srgan.utils.errors import SrganError

FLIPS = 1000


def check(folder: Path, key: Path) -> None:
    """Verify a release or its OCI image layout."""
    if (folder / oci.MARKER).is_file():
        oci.verify_layout(folder, key)
    else:
        signature.verify(folder, key)


def count(folder: Path, key: Path, flips: int = FLIPS) -> tuple[int, Counter[str]]:
    """Return the number of changes that were found, and the files that were changed."""
    generator, changed, found = random.Random(0), Counter(), 0
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for _ in range(flips):
        path = generator.choice(files)  # not by size: most bytes are weights
        place, bit = generator.randrange(path.stat().st_size), generator.randrange(8)
        _flip(path, place, bit)
        try:
            check(folder, key)
        except SrganError:
            found += 1
        _flip(path, place, bit)
        changed[path.relative_to(folder).as_posix()] += 1
    check(folder, key)
    return found, changed


def _flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (value,) = file.read(1)
        file.seek(place)
        file.write(bytes([value ^ 1 << bit]))


def main() -> None:
    """Print the numbers for a release and for its layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the release")
    parser.add_argument("key", type=Path, help="its public key")
    given = parser.parse_args()
    for place in (given.folder, given.folder.with_name(f"{given.folder.name}.oci")):
        with tempfile.TemporaryDirectory() as scratch:
            copy = shutil.copytree(place, Path(scratch) / place.name)
            start = time.monotonic()
            found, changed = count(copy, given.key)
            print(f"{place}: {found} of {FLIPS} changes found in {len(changed)} files, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
