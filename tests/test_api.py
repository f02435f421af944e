"""The public API: names, types and examples."""

import ast
import doctest
import inspect
from pathlib import Path

import numpy as np
import pytest

import srgan
from tests.helpers.project import write_model, write_params

PUBLIC = sorted({*srgan.__all__} - {"__version__"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    write_model(folder).rename(folder / "2x-photo-compact-fp32.onnx")
    srgan.save_generator(folder / "generator.safetensors", srgan.build_generator("compact", scale=2, features=8, depth=1), {})
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    srgan.write_png(folder / "photo.png", image)
    srgan.write_png(folder / "photo-small.png", srgan.bicubic_downscale(image, 2))
    write_params(folder)
    return folder


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = doctest.DocTestFinder(recurse=False).find(getattr(srgan, name), name, globs={})
    examples = [test for test in found if test.examples]
    assert examples, f"{name} has no example"
    for test in examples:
        report: list[str] = []
        assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append).failed, "".join(report)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_docstring_and_types(name):
    value = getattr(srgan, name)
    text, function = value.__doc__, value.__init__ if inspect.isclass(value) else value
    assert text[0].isupper()
    if not inspect.isclass(value):
        parameters = inspect.signature(function).parameters.values()
        assert all(parameter.annotation is not parameter.empty for parameter in parameters)
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty
        assert "Returns:" in text or inspect.signature(function).return_annotation is None


def test_type_checkers_see_the_names_that_are_exported():
    tree = ast.parse(Path(srgan.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert sorted(alias.asname for node in block.body for alias in node.names) == PUBLIC
    assert sorted({*dir(srgan)} - {"__version__"}) == PUBLIC
    assert Path(srgan.__file__).with_name("py.typed").exists()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'srgan' has no attribute 'upscaler'"):
        srgan.upscaler  # noqa: B018
