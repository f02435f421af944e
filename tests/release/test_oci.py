import hashlib
import json
import tarfile

import pytest

from srgan.inference import signature
from srgan.release import oci
from srgan.utils.errors import SrganError
from tests.helpers.keys import write_keys


@pytest.fixture
def layout(tmp_path):
    """The layout of a small signed release, and the public key."""
    release = tmp_path / "boats-1.0"
    (release / "models").mkdir(parents=True)
    (release / "models/a.onnx").write_bytes(bytes(range(256)))
    private, public = write_keys(tmp_path)
    signature.seal(release, private)
    oci.write_layout(release, tmp_path / "boats-1.0.oci")
    return tmp_path / "boats-1.0.oci", public


def test_the_layout_follows_the_specification(layout):
    folder, public = layout
    oci.verify_layout(folder, public)
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]

    def content(descriptor):
        data = (folder / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        assert (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") == (descriptor["size"], descriptor["digest"])
        return data

    manifest = json.loads(content(image))
    (layer,) = manifest["layers"]
    assert json.loads(content(manifest["config"]))["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content(layer)).hexdigest()}"]
    assert manifest["mediaType"] == image["mediaType"] == "application/vnd.oci.image.manifest.v1+json"


def test_changed_bits_and_further_files_are_found(layout, tmp_path):
    folder, public = layout
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        for place in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            damaged = bytearray(content)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(SrganError):
                oci.verify_layout(folder, public)
        path.write_bytes(content)
    oci.verify_layout(folder, public)
    (folder / "more").write_text("")
    with pytest.raises(SrganError, match=r"boats-1\.0\.oci: changed after its release: more"):
        oci.verify_layout(folder, public)
    (folder / "more").unlink()
    (tmp_path / "other").mkdir()
    other = write_keys(tmp_path / "other")[1]
    with pytest.raises(SrganError, match=r"boats-1\.0\.oci/model\.sig: not the signature of these files"):
        oci.verify_layout(folder, other)


def test_links_are_found(layout):
    folder, public = layout
    (folder / "index.json").rename(folder.parent / "index.json")
    (folder / "index.json").symlink_to(folder.parent / "index.json")
    with pytest.raises(SrganError, match=r"index.json: not a regular file"):
        oci.verify_layout(folder, public)


def test_every_byte_of_the_index_counts(layout):
    folder, public = layout
    content = (folder / "index.json").read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (folder / "index.json").write_bytes(damaged)
        with pytest.raises(SrganError):
            oci.verify_layout(folder, public)


def test_a_layer_cannot_write_outside(layout):
    folder, public = layout
    layer = max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    with tarfile.open(layer, "w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(SrganError, match="damaged, or changed after its release"):
        oci.verify_layout(folder, public)
    assert not (folder.parent / "evil").exists()
