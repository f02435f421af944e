"""A release as an OCI image layout: one layer with the folder, which container tools copy, push and mount.

The layout follows from the files of the release alone, so that it can be checked without a daemon: unpack it and write it again.
Source: OCI Image Format Specification 1.1, https://github.com/opencontainers/image-spec.
"""

import hashlib
import json
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from srgan.inference import signature
from srgan.utils.errors import SrganError

MARKER = "oci-layout"
ROOT = "models"  # folder of the layer that holds the release, where KServe expects it
IMAGE = "application/vnd.oci.image"


def write_layout(release: Path, layout: Path) -> None:
    """Write the layout of a release. The image has no name of its own, which nothing would protect.

    Args:
        release: folder of the release, sealed.
        layout: an empty folder, or one to make.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"{IMAGE}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layer = blob("layer.v1.tar", _tar(release))
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    manifest = {"schemaVersion": 2, "mediaType": f"{IMAGE}.manifest.v1+json", "config": blob("config.v1+json", _json(config))}
    image = blob("manifest.v1+json", _json(manifest | {"layers": [layer]}))
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": f"{IMAGE}.index.v1+json", "manifests": [image]}))
    (layout / MARKER).write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def verify_layout(layout: Path, key: Path | None) -> None:
    """Check a layout: the release in it verifies, and the layout is the one that follows from the release.

    Args:
        layout: the folder with ``oci-layout``.
        key: as for `srgan.inference.signature.verify`.

    Raises:
        SrganError: the layout or the release in it was changed.
    """
    advice = "Do not use it. Copy or download it again"
    with tempfile.TemporaryDirectory() as scratch:
        unpacked, again = Path(scratch, "unpacked"), Path(scratch, "again")
        try:
            with tarfile.open(_layer(layout)) as archive:
                archive.extractall(unpacked, filter="data")
        except (OSError, tarfile.TarError, ValueError, LookupError, TypeError) as error:
            raise SrganError(f"{layout}: damaged, or changed after its release. {advice}") from error
        try:
            signature.verify(unpacked / ROOT, key)
        except SrganError as error:
            raise SrganError(str(error).replace(str(unpacked / ROOT), str(layout))) from error
        write_layout(unpacked / ROOT, again)
        expected, found = _content(again), _content(layout)
        if others := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
            raise SrganError(f"{layout}: changed after its release: {', '.join(others[:5])}. {advice}")


def _layer(layout: Path) -> Path:
    """Return the file of the layer."""
    manifest = _blob(layout, json.loads((layout / "index.json").read_bytes())["manifests"][0])
    return _blob(layout, json.loads(manifest.read_bytes())["layers"][0])


def _blob(layout: Path, descriptor: dict[str, Any]) -> Path:
    return layout / "blobs" / "sha256" / Path(descriptor["digest"].removeprefix("sha256:")).name


def _tar(folder: Path) -> bytes:
    """Return an archive that depends on names and contents alone."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in (folder, *sorted(folder.rglob("*"))):
            name = Path(ROOT, path.relative_to(folder)).as_posix()
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if path.is_dir() else (tarfile.REGTYPE, 0o644)
            content = b"" if path.is_dir() else path.read_bytes()
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    return buffer.getvalue()


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in signature.regular_files(folder)}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
