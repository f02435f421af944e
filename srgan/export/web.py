"""A page that runs a model in a browser: one HTML file with the model and ONNX Runtime Web. It needs no server and no network."""

import base64
import gzip
import tarfile
from pathlib import Path

import onnx

from srgan.data.download.catalog import File
from srgan.data.download.http import transfer
from srgan.export.base import Format, Source
from srgan.export.onnx import float32_file
from srgan.inference.contract import read_contract
from srgan.inference.upscaler import MAX_BYTES_PER_TILE
from srgan.pages.render import render
from srgan.utils.cache import cache_folder
from srgan.utils.errors import SrganError, Unreachable
from srgan.utils.files import write_text

VERSION = "1.30.0"
PACKAGE = File(
    (f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",),
    size=33_106_585,
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
# The JavaScript, and the WebAssembly that it starts: both for WebGPU and for processors.
SCRIPT, BINARY = "ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP"}  # that browsers encode


def _write(source: Source, folder: Path) -> list[Path]:
    path = folder / f"{source.stem}.html"
    model = float32_file(source)
    metadata = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    contract = read_contract(model, metadata)
    script, binary = _read_runtime(source.runtime)
    data = {
        "formats": list(FORMATS.items()),
        "name": source.stem,
        "license": metadata.get("sr.license", "unspecified"),
        "scale": contract.scale,
        "halo": contract.tile_overlap,
        "multipleOf": contract.multiple_of,
        "reflects": contract.padding == "reflect",
        "takesGrey": contract.adds_colour and not contract.follows_hints,
        "addsColour": contract.adds_colour,
        "mostPixels": int(MAX_BYTES_PER_TILE / 2 / contract.memory_per_pixel),
    }
    packed = {"model": model.read_bytes(), "script": script, "binary": binary}
    files = {name: base64.b64encode(gzip.compress(content, mtime=0)).decode() for name, content in packed.items()}
    write_text(path, render("web.html", package="srgan.export", data=data, files=files))
    return [path]


def _read_runtime(folder: Path | None) -> tuple[bytes, bytes]:
    """Return the files of ONNX Runtime Web, from a folder or from the downloaded package.

    Raises:
        SrganError: the folder does not have them.
        Unreachable: the package cannot be downloaded.
    """
    if folder:
        found = [place for place in (folder / "dist", folder / "package" / "dist", folder) if (place / SCRIPT).is_file()]
        if not found or not (found[0] / BINARY).is_file():
            raise SrganError(f"{folder}: has no dist/{SCRIPT} and dist/{BINARY}. Unpack the npm package onnxruntime-web {VERSION} there")
        return (found[0] / SCRIPT).read_bytes(), (found[0] / BINARY).read_bytes()
    path = cache_folder() / PACKAGE.name
    try:
        transfer({path: PACKAGE}, PACKAGE.name)
    except Unreachable as error:
        advice = f"Or download it with npm pack onnxruntime-web@{VERSION} elsewhere, unpack it and name the folder with --runtime"
        raise Unreachable(f"{error}. {advice}") from error
    with tarfile.open(path) as package:
        script, binary = (package.extractfile(f"package/dist/{name}") for name in (SCRIPT, BINARY))
        assert script and binary  # its digest is right
        return script.read(), binary.read()


WEB = Format("web", _write, "one `.html` page with the model in float32 and ONNX Runtime Web", "browsers, without a server and a network")
