import json

import c2pa
import numpy as np
import pytest
from PIL import Image

from srgan.images.suffixes import FORMATS
from tests.helpers.commands import run
from tests.helpers.keys import write_credentials, write_keys


@pytest.fixture(scope="module")
def place(tmp_path_factory, model):
    """A folder with a photograph and the credentials of a photographer."""
    folder = tmp_path_factory.mktemp("credentials")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    for suffix in ("jpg", "png", "bmp"):
        Image.fromarray(pixels).save(folder / f"photo.{suffix}")
    write_credentials(folder)
    return folder


def _read(path, place):
    """Return the state of the validation by the reference library, and the active manifest."""
    trust = {"trust": {"trust_anchors": (place / "ca.pem").read_text()}, "verify": {"verify_trust": True}}
    with c2pa.Reader(path, context=c2pa.Context(c2pa.Settings.from_dict(trust))) as reader:
        store = json.loads(reader.json())
        return reader.get_validation_state(), store["manifests"][store["active_manifest"]]


def _upscale(place, model, source, target, *options, check=True):
    return run("srgan", "upscale", source, "-o", target, "--model", model, *options, cwd=place, check=check)


@pytest.mark.parametrize("suffix", sorted({FORMATS[name]: name for name in FORMATS}.values()))
def test_the_result_has_valid_credentials_with_its_source(place, model, suffix):
    _upscale(place, model, "photo.jpg", f"big{suffix}", "--credentials", "credentials.pem")
    state, manifest = _read(place / f"big{suffix}", place)
    assert state == "Trusted"
    assert manifest["title"] == f"big{suffix}"
    (ingredient,) = manifest["ingredients"]
    assert (ingredient["title"], ingredient["relationship"]) == ("photo.jpg", "parentOf")
    actions = next(one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions"))
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert "sha-256" in json.dumps(actions[1]).lower()


def test_a_changed_pixel_is_found(place, model):
    _upscale(place, model, "photo.jpg", "changed.png", "--credentials", "credentials.pem", "--overwrite")
    content = bytearray((place / "changed.png").read_bytes())
    content[content.rindex(b"IDAT") + 20] ^= 1
    (place / "changed.png").write_bytes(content)
    assert _read(place / "changed.png", place)[0] == "Invalid"


def test_the_xmp_stays_beside_the_credentials(place, model):
    _upscale(place, model, "photo.jpg", "both.png", "--credentials", "credentials.pem")
    assert b"AISystemUsed" in (place / "both.png").read_bytes()


def test_credentials_of_the_source_stay_in_its_record(place, model):
    for source, target in (("photo.png", "once.png"), ("once.png", "twice.png")):
        _upscale(place, model, source, target, "--credentials", "credentials.pem")
    state, manifest = _read(place / "twice.png", place)
    assert state == "Trusted"
    assert manifest["ingredients"][0]["active_manifest"]


def test_without_the_option_no_file_is_signed(place, model):
    _upscale(place, model, "photo.png", "plain.png")
    with pytest.raises(c2pa.C2paError.ManifestNotFound):
        c2pa.Reader(place / "plain.png")


def test_a_source_that_cannot_be_an_ingredient_gives_a_warning(place, model):
    done = _upscale(place, model, "photo.bmp", "of-bmp.png", "--credentials", "credentials.pem")
    assert "cannot be an ingredient of content credentials" in done.stderr
    assert _read(place / "of-bmp.png", place)[0] == "Trusted"


def test_an_unfit_pem_file_is_named_and_nothing_is_written(place, model):
    write_keys(place)
    other = (place / "private.pem").read_bytes() + (place / "ca.pem").read_bytes()
    (place / "other.pem").write_bytes(other)
    (place / "text.pem").write_text("nothing")
    for name, message in (
        ("missing.pem", "missing.pem: no content credentials can be signed with it"),
        ("text.pem", "text.pem: no content credentials can be signed with it"),
        ("private.pem", "It needs a private key without a password and the certificates"),
        ("other.pem", "the first certificate is not that of the private key"),
    ):
        done = _upscale(place, model, "photo.png", "no.png", "--credentials", name, check=False)
        assert done.returncode == 1
        assert message in done.stderr
        assert not (place / "no.png").exists()
