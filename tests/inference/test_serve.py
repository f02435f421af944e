"""The registered model, served by MLflow and called as the documentation says."""

import base64
import contextlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest
import skimage.data
from mlflow.tracking import MlflowClient
from PIL import Image

from srgan.inference import serve
from srgan.inference.upscaler import Upscaler
from tests.helpers.commands import environment, run
from tests.helpers.project import ROOT, write_model


@contextlib.contextmanager
def served(folder, model):
    """`mlflow models serve`; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["models", "serve", "-m", model, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow/mlflow.db")
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1):
                break
            time.sleep(0.1)
        else:
            pytest.fail(process.stdout.read().decode())
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.mark.slow
def test_a_photograph_by_curl_in_one_line(copy_of_project, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    photograph = skimage.data.chelsea()[:40, :60]
    Image.fromarray(photograph).save(tmp_path / "photo.png", dpi=(300, 300))
    (line,) = re.findall(r"^curl .*$", (ROOT / "docs" / "promotion.md").read_text(), re.MULTILINE)
    with served(copy_of_project, "models:/srgan-x4@challenger") as port:
        line = line.replace("127.0.0.1:5001", f"127.0.0.1:{port}")
        subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment(), check=True, timeout=60)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=b'{"dataframe_records": [{"image": "' + base64.b64encode(b"no image") + b'"}]}',
            headers={"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 400
        answer = json.loads(refused.value.read())
        assert answer["message"] == "the image: not an image that can be read. Replace or remove the file"
        assert "stack_trace" not in answer
    with Image.open(tmp_path / "big.png") as result:
        expected = Upscaler(copy_of_project / "models" / "4x-demo-compact-fp32.onnx").upscale(photograph)
        assert np.array_equal(np.asarray(result), expected)
        assert result.info["dpi"] == pytest.approx((300, 300), rel=1e-3)


class Context:
    """As MLflow hands it to a model that is loaded."""

    def __init__(self, model):
        self.artifacts = {"model": str(model)}


def encoded(width, height, form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, form)
    return buffer.getvalue()


def asked(images, *contents):
    return images.predict(None, pd.DataFrame({"image": contents}))


def test_a_request_has_limits(tmp_path, monkeypatch):
    monkeypatch.setenv("SRGAN_SERVICE_PIXELS", "5000")
    monkeypatch.setenv("SRGAN_SERVICE_REQUESTS", "1")
    images = serve.Images()
    images.load_context(Context(write_model(tmp_path)))
    assert len(asked(images, encoded(100, 50))) == 1
    for content, sentence in (
        (encoded(100, 51), r"the image: 100x51 pixels. This service takes 5,000 pixels at most \(SRGAN_SERVICE_PIXELS\)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "the image: the format PostScript is not read. Convert the file to PNG"),
        (encoded(100, 50)[:-60], "the image: "),
    ):
        with pytest.raises(serve.Refused, match=sentence) as refused:
            asked(images, content)
        refused.value.message = "MLflow's words"
        assert json.loads(refused.value.serialize_as_json())["message"].startswith("the image: ")
        assert refused.value.get_http_status_code() == 400

    def during(*_, told, **__):
        with pytest.raises(serve.Refused, match=r"1 requests are running. Try again later") as refused:
            asked(images, encoded(10, 10))
        assert refused.value.get_http_status_code() == 429
        raise KeyError("a secret place")

    with monkeypatch.context() as patch:
        patch.setattr("srgan.inference.serve.upscale_file", during)
        with pytest.raises(serve.Refused, match=r"^the image failed. The log of the server has the reason$"):
            asked(images, encoded(10, 10))
    assert len(asked(images, encoded(10, 10))) == 1  # the place is free again


def test_work_ends_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    images = serve.Images()
    images.load_context(Context(write_model(tmp_path)))
    images.upscaler.run = lambda _: pytest.fail("a tile was computed")
    with pytest.raises(serve.Refused, match=r"the time of a request is over after 0 of 1 tiles. Send a smaller image"):
        asked(images, encoded(10, 10))


# The service as MLflow loads it, in a process that must not read the files of this clone. Prints the packages that it imports.
SERVICE = """
import importlib.metadata, io, sys
import mlflow.pyfunc, pandas

version, code, clone = sys.argv[1:]
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)

def ours():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "srgan"}

before = set(sys.modules)
sys.path.insert(0, code)
import srgan.inference.serve
imported = set(sys.modules) - before
sys.path.remove(code)
for name in ours():
    del sys.modules[name]

model = mlflow.pyfunc.load_model(version)
loaded = set(sys.modules)
from PIL import Image

for mode, form in (("RGB", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "WEBP"), ("I;16", "TIFF"), ("P", "GIF")):
    file = io.BytesIO()
    Image.new(mode, (12, 10)).save(file, form)
    (answer,) = model.predict(pandas.DataFrame({"image": [file.getvalue()]}))["image"]
    with Image.open(io.BytesIO(answer)) as result:
        assert result.size == (48, 40), (mode, form, result.size)

assert ours() and all(module.__file__.startswith(code) for module in ours().values()), "a module is not from the zip file"
assert not [path for path in opened if path.startswith(clone)], "a file of the clone was read"
packages = importlib.metadata.packages_distributions()
needed = imported | set(sys.modules) - loaded
print(*{name for module in needed for name in packages.get(module.partition(".")[0], [])})
"""


@pytest.mark.slow
def test_a_version_is_the_graph_and_the_service_and_needs_what_is_installed(project, tmp_path):
    (requirements,) = (project / "mlflow" / "artifacts").rglob("requirements.txt")
    named = dict(line.split("==") for line in requirements.read_text().split())
    assert all(importlib.metadata.version(name.partition("[")[0]) == version for name, version in named.items())
    version = requirements.parent
    (code,) = (file for file in version.joinpath("code").rglob("*") if file.is_file())  # a server takes a request for each file
    needed = set(run(sys.executable, "-c", SERVICE, version, code, ROOT / "srgan", cwd=tmp_path).stdout.split())
    brought = {name.partition("[")[0] for name in named} | {"srgan", "onnxruntime"}
    brought |= {"pyvips-binary", "cffi", "pyarrow", "pydantic"}  # come with pyvips and MLflow
    assert needed - {"onnxruntime-gpu"} <= brought
    (description,) = (project / "mlflow" / "artifacts").rglob("MLmodel")
    assert str(ROOT) not in description.read_text()  # no paths of this machine but MLflow's own


def test_the_card_describes_the_version(project):
    store = MlflowClient(f"sqlite:///{project}/mlflow/mlflow.db")
    card = (project / "reports" / "MODEL_CARD.md").read_text()
    version = store.get_model_version_by_alias("srgan-x4", "challenger")
    assert version.description == card
    for heading in ("Intended use", "Limits", "Data", "Scores", "Worst cases"):
        assert f"## {heading}\n" in card
    assert "It invents detail" in card
    assert "research only (the training photographs include Middlebury Stereo 2014)" in card
    assert "| train | sample |" in card
    assert io.StringIO(card).readline() == "# demo: super-resolution x4\n"
