"""Exported models: damaged graphs, and `sr.*` entries that make no sense, through one enlargement."""

import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import torch

from srgan.export import onnx as export
from srgan.images.png import write_png
from srgan.images.read import open_image
from srgan.inference.photo import upscale_file
from srgan.inference.upscaler import Upscaler
from srgan.models.registry import build_generator
from tests.fuzz import mutations
from tests.fuzz.cases import Case, Seeds, Target
from tests.helpers.project import write_model

SIZE = (9, 13)
ODD = (
    "", " ", "0", "1", "-1", "3", "2.0", "1e9", "nan", "inf", "²", "٣", "99999999999999999999", "None", "[]", "a/b", "../x",
    "\0", "\x1b[31m", "<b>&amp;", "\ufffe", "x" * 100_000, "1" * 5000,
)  # fmt: skip
ENTRIES = ("contract", "scale", "tile_overlap", "memory_per_pixel", "arch", "name", "precision", "objective", "tool_version", "train_run")


class OnnxModels(Target):
    """Files of contract 1 that are not what they say."""

    name = "onnx"
    count = 1_500

    def build(self, folder: Path) -> None:
        made = write_model(folder)
        made.rename(folder / "compact.onnx")
        torch.manual_seed(0)
        network = build_generator("srresnet", scale=2, features=4, depth=1, upsampling="pixelshuffle").eval()
        export.export_onnx(folder / "srresnet.onnx", network, {"sr.objective": "psnr", "sr.name": "s"}, optimize_graph=False)

    def fixed(self) -> dict[str, Callable[[], bytes]]:
        return FIXED

    def mutate(self, rng: np.random.Generator, seeds: Seeds) -> Case:
        name = list(seeds)[rng.integers(len(seeds))]
        content = seeds[name]
        match rng.integers(4):
            case 0:
                return Case(f"edited-{name}", _with_entries(content, _drawn(rng)))
            case 1:
                return Case(f"edited-{name}", _edited_graph(rng, content))
            case 2:
                return Case(name, mutations.flip(rng, content))
            case _:
                return Case(name, mutations.mutated(rng, content, list(seeds.values())))

    def setup(self, shared: Path) -> None:
        global _seed
        _seed = (shared / "compact.onnx").read_bytes()
        self.photograph = shared / "photograph" / "small.png"
        self.photograph.parent.mkdir(exist_ok=True)
        write_png(self.photograph, np.arange(SIZE[0] * SIZE[1] * 3, dtype=np.uint8).reshape(*SIZE, 3))

    def check(self, case: Case, folder: Path) -> None:
        model = folder / case.name
        model.write_bytes(case.content)
        upscaler = Upscaler(model, "cpu", threads=1)
        height, width = (side * upscaler.scale for side in SIZE)
        suffix = (".png", ".tif", ".jpg")[zlib.crc32(case.content) % 3]
        assert upscale_file(upscaler, self.photograph, folder / f"result{suffix}") == (width, height)
        written = open_image(folder / f"result{suffix}")
        assert written.pixels.shape[:2] == (height, width)
        assert written.xmp
        ElementTree.fromstring(written.xmp)


_seed = b""  # a valid model, for the fixed cases


def _with_entries(content: bytes, changes: dict[str, str | None]) -> bytes:
    """The model with other `sr.*` entries; None removes one."""
    proto = onnx.load_from_string(content)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    entries |= {f"sr.{key}": value for key, value in changes.items()}  # type: ignore[misc]
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {key: value for key, value in entries.items() if value is not None})
    return proto.SerializeToString()


def _drawn(rng: np.random.Generator) -> dict[str, str | None]:
    chosen = rng.choice(ENTRIES, rng.integers(1, 3), replace=False)
    return {str(key): None if rng.integers(5) == 0 else ODD[rng.integers(len(ODD))] for key in chosen}


def _edited_graph(rng: np.random.Generator, content: bytes) -> bytes:
    """One to two nodes, attributes, weights or dimensions; the file is a valid protobuf."""
    proto = onnx.load_from_string(content)
    graph = proto.graph
    for _ in range(rng.integers(1, 3)):
        node = graph.node[rng.integers(len(graph.node))]
        odd = int(rng.choice([0, 1, -1, 2, 3, 7, 1000, 2**31 - 1, -(2**63)]))
        match rng.integers(7):
            case 0 if node.attribute:
                attribute = node.attribute[rng.integers(len(node.attribute))]
                if attribute.ints:
                    attribute.ints[rng.integers(len(attribute.ints))] = odd
                else:
                    attribute.i = odd
            case 1:
                node.op_type = str(rng.choice(["Conv", "Resize", "Add", "Identity", "Loop", "Reshape", "NoSuchNode"]))
            case 2 if len(node.input):
                node.input[rng.integers(len(node.input))] = graph.node[rng.integers(len(graph.node))].output[0]
            case 3:
                del graph.node[rng.integers(len(graph.node))]
            case 4 if graph.initializer:
                weight = graph.initializer[rng.integers(len(graph.initializer))]
                if weight.dims:
                    weight.dims[rng.integers(len(weight.dims))] = odd
            case 5 if graph.initializer:
                weight = graph.initializer[rng.integers(len(graph.initializer))]
                weight.raw_data = mutations.mutated(rng, weight.raw_data, [])
            case _:
                value = (graph.input, graph.output)[rng.integers(2)][0]
                dimension = value.type.tensor_type.shape.dim[rng.integers(4)]
                dimension.dim_value = max(odd, 0)
    return proto.SerializeToString()


def _lying(**changes: str | None) -> Callable[[], bytes]:
    return lambda: _with_entries(_seed, changes)


def _not_finite() -> bytes:
    proto = onnx.load_from_string(_seed)
    for weight in proto.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            weight.raw_data = np.full(len(weight.raw_data) // 4, np.nan, np.float32).tobytes()
    return proto.SerializeToString()


def _external() -> bytes:
    """Weights in another file, which the model names."""
    proto = onnx.load_from_string(_seed)
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/hostname"
    return proto.SerializeToString()


FIXED: dict[str, Callable[[], bytes]] = {
    **{f"no-{key}.onnx": _lying(**{key: None}) for key in ENTRIES},
    "larger-scale.onnx": _lying(scale="4"),
    "smaller-scale.onnx": _lying(scale="1"),
    "huge-scale.onnx": _lying(scale="1000000"),
    "negative-overlap.onnx": _lying(tile_overlap="-5"),
    "huge-overlap.onnx": _lying(tile_overlap="100000000"),
    "no-memory.onnx": _lying(memory_per_pixel="0"),
    "negative-memory.onnx": _lying(memory_per_pixel="-8192"),
    "endless-memory.onnx": _lying(memory_per_pixel="inf"),
    "control-characters.onnx": _lying(name="a\x00b\x1b[31m\x08", arch="\x01"),
    "markup.onnx": _lying(name='"/><script>alert(1)</script>'),
    "not-finite.onnx": _not_finite,
    "external-data.onnx": _external,
    "empty.onnx": lambda: b"",
    "text.onnx": lambda: b"version https://git-lfs.github.com/spec/v1\n",
}
