"""Files of weights, through what `pretrain.pretrained`, `srgan interpolate` and `srgan export` read; and checkpoints of a training."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srgan.export import checkpoints as convert
from srgan.models.checkpoints import load_generator, load_pretrained, save_generator
from srgan.models.registry import build_generator
from srgan.training.checkpoint import Checkpoints
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, SilentlyAccepted, Target

STEPS = (2, 4)  # of the checkpoints
CHECKPOINT = "checkpoint.pt"


def _network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_generator("compact", scale=2, features=8, depth=1)


def _state(step: int) -> dict[str, Any]:
    """What a training might keep."""
    weights = _network(step).state_dict()
    return {"generator": weights, "rows": [{"step": step, "loss": 0.5}], "random": torch.arange(64, dtype=torch.uint8), "best": None}


def _packed(state: dict[str, Any], new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _equal(one: Any, other: Any) -> bool:
    return _packed({"": one}) == _packed({"": other})


class Weights(Target):
    """Formats of PyTorch, old and new, safetensors, and this project's checkpoints."""

    name = "weights"
    count = 3_000

    def build(self, folder: Path) -> None:
        network = _network()
        save_generator(folder / "ours.safetensors", network, {"sr.objective": "psnr", "sr.license": "MIT"})
        (folder / "new.pth").write_bytes(_packed({"params_ema": network.state_dict()}))
        (folder / "old.pth").write_bytes(_packed({f"module.{key}": value for key, value in network.state_dict().items()}, new=False))
        rrdb = build_generator("rrdb", scale=4, features=4, growth=2, depth=1).state_dict()
        (folder / "rrdb.pth").write_bytes(_packed(rrdb))
        published = {"body.0.": "RRDB_trunk.0.", "rdb": "RDB", "conv_body": "trunk_conv", "conv_up": "upconv", "conv_hr": "HRconv"}
        for ours, theirs in published.items():
            rrdb = {key.replace(ours, theirs): value for key, value in rrdb.items()}
        (folder / "published.pth").write_bytes(_packed(rrdb, new=False))
        with Checkpoints(folder / "checkpoints", "run", every=2) as checkpoints:
            for step in STEPS:
                checkpoints.save(step, _state(step))
        (folder / CHECKPOINT).write_bytes((folder / "checkpoints" / f"step-{STEPS[-1]:08d}.pt").read_bytes())

    def fixed(self) -> dict[str, Callable[[], bytes]]:
        return FIXED

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = CHECKPOINT if rng.integers(3) == 0 else list(seeds)[rng.integers(len(seeds))]
        content = seeds[name]
        if rng.integers(3) == 0 and name != CHECKPOINT:
            if name.endswith(".safetensors"):
                return Case(f"edited-{name}", _edited_safetensors(rng, content))
            if content[:2] == b"PK":
                return Case(f"edited-{name}", _edited_zip(rng, content))
        return Case(name, mutations.mutated(rng, content, list(seeds.values())))

    def setup(self, shared: Path) -> None:
        torch.set_num_threads(1)
        self.checkpoints = {path.name: path.read_bytes() for path in (shared / "checkpoints").glob("step-*.pt")}
        self.good = shared / "ours.safetensors"

    def check(self, case: Case, folder: Path) -> None:
        if case.name.endswith(CHECKPOINT):
            self._resume(case.content, folder)
            return
        path = folder / case.name
        path.write_bytes(case.content)
        size = {"scale": 4, "features": 4, "growth": 2, "depth": 1} if "rrdb" in case.name or "published" in case.name else None
        load_pretrained(path, build_generator("rrdb", **size) if size else _network())
        if not size:
            convert.interpolate(path, self.good, 0.5, folder / "mixed.safetensors")
            load_generator(folder / "mixed.safetensors", "interpolate")
        if zlib.crc32(case.content) % 100 == 0:
            convert.export_checkpoint(path, folder / "model.onnx")

    def _resume(self, content: bytes, folder: Path) -> None:
        """The newest checkpoint is the damaged one; the one before is whole."""
        place = folder / "checkpoints"
        place.mkdir()
        for name, whole in self.checkpoints.items():
            (place / name).write_bytes(whole)
        (place / f"step-{STEPS[-1]:08d}.pt").write_bytes(content)
        restored: list[dict[str, Any]] = []
        with Checkpoints(place, "run", every=2) as checkpoints:
            step = checkpoints.resume(restored.append)
        if not restored:
            raise SilentlyAccepted(f"resumed at step {step}, though the checkpoint of step {STEPS[0]} is whole")
        if not _equal(restored[-1], _state(step)):
            raise SilentlyAccepted(f"resumed at step {step} with another state than was saved")


def _edited_safetensors(rng: np.random.Generator, content: bytes) -> bytes:
    """The header: senseless values, with the right length."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    odd: list[Any] = [None, [], {}, "", "x", "F64", "I8", -1, 0, 1 << 62, [0, 1 << 62], [5, 1]]
    odd += [{"srgan": text} for text in ("{", "[1]", 5)]
    for _ in range(rng.integers(1, 3)):
        key = list(header)[rng.integers(len(header))]
        value = odd[rng.integers(len(odd))]
        if isinstance(header[key], dict) and header[key] and rng.integers(3):
            header[key][list(header[key])[rng.integers(len(header[key]))]] = value
        elif rng.integers(2):
            header[key] = value
        else:
            header[str(value)] = header.pop(key)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _edited_zip(rng: np.random.Generator, content: bytes) -> bytes:
    """One record, with right checksums; every second time the pickle."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    pickled = next(place for place, (name, _) in enumerate(records) if name.endswith("data.pkl"))
    chosen = pickled if rng.integers(2) else int(rng.integers(len(records)))
    name, inside = records[chosen]
    match rng.integers(8):
        case 0:
            del records[chosen]
        case 1:
            records[chosen] = f"../{name}", inside
        case _:
            records[chosen] = name, mutations.mutated(rng, inside, [])
    return _rebuilt(records)


def _rebuilt(records: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, inside in records:
            archive.writestr(zipfile.ZipInfo(name), inside, method)
    return buffer.getvalue()


# -- made by hand ----------------------------------------------------------------------------------------------------------


class _Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/fuzz-escape", "w"))


def _bomb() -> bytes:
    """Half a megabyte that unpacks to 400 MB of weights."""
    state = {"body.0.weight": torch.zeros(100_000_000)}
    with zipfile.ZipFile(io.BytesIO(_packed(state))) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    return _rebuilt(records, zipfile.ZIP_DEFLATED)


def _lying_safetensors(**changes: Any) -> bytes:
    header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


FIXED: dict[str, Callable[[], bytes]] = {
    "bomb.pth": _bomb,
    "code.pth": lambda: pickle.dumps({"params": _Command()}),
    "code-in-zip.pth": lambda: _rebuilt([("archive/data.pkl", pickle.dumps(_Command())), ("archive/version", b"3\n")]),
    "list.pth": lambda: _packed([1, 2, 3]),  # type: ignore[arg-type]
    "nothing.pth": lambda: _packed({}),
    "numbers.pth": lambda: _packed({"params": {"conv_first.weight": 1.0, 5: torch.zeros(1)}}),
    "flat.pth": lambda: _packed({"conv_first.weight": torch.zeros(4), "body.0.rdb1.conv1.weight": torch.zeros(4)}),
    "keys.pth": lambda: _packed({5: torch.zeros(1), None: torch.zeros(1)}),  # type: ignore[dict-item]
    "nested-pickle.pth": lambda: pickle.dumps(0, 0)[:-1].join([b"(" * 100_000, b"t" * 100_000]),
    "huge-shape.safetensors": lambda: _lying_safetensors(shape=[1 << 40], data_offsets=[0, 1 << 42]),
    "overflow.safetensors": lambda: _lying_safetensors(shape=[1 << 62, 1 << 62]),
    "nested-header.safetensors": lambda: struct.pack("<Q", 200_000) + b"[" * 200_000,
    "long-number.safetensors": lambda: struct.pack("<Q", 10_000) + b"1" * 10_000,
    "metadata-list.safetensors": lambda: (lambda t: struct.pack("<Q", len(t)) + t)(b'{"__metadata__": {"srgan": "[1, 2]"}}'),
    "metadata-text.safetensors": lambda: (lambda t: struct.pack("<Q", len(t)) + t)(b'{"__metadata__": {"srgan": 7}}'),
    "empty.pth": lambda: b"",
    "empty.safetensors": lambda: b"",
    f"empty-{CHECKPOINT}": lambda: b"",
    f"code-{CHECKPOINT}": lambda: pickle.dumps(_Command()),
}
