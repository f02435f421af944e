"""What `prepare` knows of each image takes no memory."""

import subprocess
import sys

import pytest

GROWTH = """
import json, sys
from contextlib import nullcontext
from pathlib import Path
import numpy as np
from srgan.config.data import Prepare
from srgan.data.near_duplicates import fingerprint
from srgan.data.prepare import prepare
from srgan.data.prepare_image import Done
from srgan.data.store_writer import pack
from srgan.utils.machine import keep_freed_memory

PIXELS = np.zeros((32, 32, 3), np.uint8)
PRINT = fingerprint(PIXELS)

class Quick:
    def map(self, tasks):
        for task in tasks:
            packed = {1: pack(task.files[0], PIXELS, PIXELS[:8, :8])} if task.part == "train" else {}
            records = [] if packed else [{"lr_sha256": "0" * 64, "hr_sha256": "1" * 64}]
            yield Done(task, pixels=f"{task.number:064}", size=(32, 32), packed=packed, records=records, fingerprint=PRINT)

def memory_after(folder, count):
    raw, images = folder / f"raw{count}", []
    for number in range(count):
        split = "train" if number else "test"
        path = raw / split / "set" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        image = {"path": str(path.relative_to(raw)), "set": "set", "split": split, "sha256": f"{number:064x}"}
        images.append(image | {"group": "", "licence": "none"})
    (raw / "manifest.json").write_text(json.dumps({"images": images}))
    del images
    options = Prepare(scale=4, validation=0.01)
    manifest = prepare(raw, folder / "out", options, engine=lambda function: nullcontext(Quick()), shard_bytes=1 << 20)
    assert len(manifest["images"]) == count
    return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

keep_freed_memory()  # so the memory at the end is the largest
few = memory_after(Path(sys.argv[1]), 1000)
print((memory_after(Path(sys.argv[1]), 6000) - few) / 5000)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is of Linux")
def test_an_image_takes_less_than_a_kilobyte(tmp_path):
    done = subprocess.run([sys.executable, "-c", GROWTH, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1000  # bytes, with the list of the test itself
