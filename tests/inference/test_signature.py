import shutil

import pytest

from srgan.inference import signature
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from tests.helpers.keys import write_keys
from tests.helpers.project import write_model


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def folder(tmp_path, keys):
    """A signed folder with a model."""
    folder = tmp_path / "boats-1.0"
    (folder / "models").mkdir(parents=True)
    (folder / ".gitignore").write_text("x")
    write_model(folder / "models").rename(folder / "models/boats.onnx")
    signature.seal(folder, keys[0])
    return folder


def test_any_change_of_the_files_is_found(folder, keys):
    signature.verify(folder, keys[1])
    model = folder / "models/boats.onnx"
    for change, undo, name in (
        (
            lambda: model.rename(folder / "a.onnx"),
            lambda: (folder / "a.onnx").rename(model),
            "a.onnx was added, models/boats.onnx is missing",
        ),
        (lambda: (folder / "new").write_text(""), (folder / "new").unlink, "new was added"),
        (lambda: (folder / ".gitignore").write_text("y"), lambda: (folder / ".gitignore").write_text("x"), ".gitignore differs"),
        (lambda: (folder / "link").symlink_to(model), (folder / "link").unlink, "link: not a regular file"),
    ):
        change()
        with pytest.raises(SrganError, match=name):
            signature.verify(folder, keys[1])
        undo()
    signature.verify(folder, keys[1])


def test_checksums_that_were_made_again_do_not_replace_the_signature(folder, keys):
    (folder / ".gitignore").write_text("y")
    (folder / signature.SUMS).write_text(signature.checksums(folder))
    signature.verify(folder, None)
    with pytest.raises(SrganError, match="not the signature of these files by"):
        signature.verify(folder, keys[1])


def test_every_bit_of_the_signature_counts(folder, keys):
    path = folder / signature.SIGNATURE
    content = path.read_bytes()
    end = content.index(b'"sig":"') + 7
    end = content.index(b'"', end)
    places = [*range(0, len(content), 199), *range(end - 4, end + 2)]  # the last letters of base64 hold bits without a meaning
    for place in places:
        for bit in range(0, 8, 3) if place < end - 4 else range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(SrganError, match=r"not the signature of these files|damaged, so it does not show who signed"):
                signature.verify(folder, keys[1])


def test_a_wrong_damaged_or_missing_key_is_named(folder, keys, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_keys(tmp_path / "other")[1]
    with pytest.raises(SrganError, match=r"not the signature of these files by .*other"):
        signature.verify(folder, other)
    (tmp_path / "text.pem").write_text("no key")
    for path in (tmp_path / "text.pem", keys[0]):
        with pytest.raises(SrganError, match=f"{path.name}: not a public key"):
            signature.verify(folder, path)
    for path in (tmp_path / "text.pem", keys[1]):
        with pytest.raises(SrganError, match=f"{path.name}: not a private key"):
            signature.seal(folder, path)
    for kind, use in (("public", signature.verify), ("private", signature.seal)):
        with pytest.raises(SrganError, match=f"missing.pem: the {kind} key cannot be read \\(No such file"):
            use(folder, tmp_path / "missing.pem")
    (folder / signature.SIGNATURE).unlink()
    with pytest.raises(SrganError, match="has no signature"):
        signature.verify(folder, keys[1])


def test_an_encrypted_key_needs_its_password(folder, tmp_path, monkeypatch):
    private, public = write_keys(tmp_path, password=b"fish")
    with pytest.raises(SrganError, match="not a private key"):
        signature.seal(folder, private)
    monkeypatch.setenv(signature.PASSWORD, "fish")
    signature.seal(folder, private)
    signature.verify(folder, public)


def test_with_a_key_only_models_of_its_releases_are_used(folder, keys, tmp_path, monkeypatch):
    model = folder / "models/boats.onnx"
    alone = shutil.copy(model, tmp_path / "alone.onnx")
    Upscaler(alone)
    monkeypatch.setenv(signature.KEY, str(keys[1]))
    assert Upscaler(model).scale == 2
    with pytest.raises(SrganError, match=r"alone\.onnx: not part of a signed release, which SRGAN_VERIFY_KEY requires"):
        Upscaler(alone)
    (folder / ".gitignore").write_text("y")
    with pytest.raises(SrganError, match=r"changed after its release: \.gitignore"):
        Upscaler(model)
