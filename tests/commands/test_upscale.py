"""`srgan upscale`, as people type it."""

import errno
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image

from srgan.images.read import open_image, read_image
from srgan.images.write import Options
from srgan.inference.batch import plan, run_one
from srgan.inference.batch import run as run_jobs
from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from tests.helpers.commands import environment, run
from tests.helpers.project import write_model

CAT = Image.fromarray(skimage.data.chelsea()[100:140, 100:160])


@pytest.fixture
def folder(tmp_path):
    for name in ("in/a.jpg", "in/sub/b.png", "in/sub/deep/c.tif", "in/d.bmp", "in/.hidden/e.png", "in/.f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        CAT.save(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path


def results(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_photograph(project, tmp_path):
    CAT.save(tmp_path / "photo.jpg")
    done = run("srgan", "upscale", tmp_path / "photo.jpg", "-o", tmp_path / "out.png", cwd=project)
    assert read_image(tmp_path / "out.png").shape == (160, 240, 3)
    assert "x4 by 4x-demo-compact-fp32.onnx on CPUExecutionProvider" in done.stderr
    assert "out.png: 240 x 160 pixels in " in done.stderr
    first = (tmp_path / "out.png").stat().st_mtime_ns
    run("srgan", "upscale", tmp_path / "photo.jpg", "-o", tmp_path / "out.png", "--outscale", "2", cwd=project)  # named, so replaced
    assert (tmp_path / "out.png").stat().st_mtime_ns > first
    assert read_image(tmp_path / "out.png").shape == (80, 120, 3)


def test_a_folder_keeps_its_structure_goes_past_bad_files_and_is_done_once(model, folder):
    (folder / "in" / "sub" / "cut.jpg").write_bytes((folder / "in" / "a.jpg").read_bytes()[:700])
    (folder / "in" / "zero.png").touch()
    command = ("srgan", "upscale", folder / "in", "-o", folder / "out", "--model", model)
    done = run(*command, cwd=folder, check=False)
    assert done.returncode == 1
    assert results(folder / "out") == ["a.jpg", "d.png", "sub/b.png", "sub/deep/c.tif"]
    assert "4 of 6 images upscaled" in done.stderr
    assert "2 of 6 images failed:" in done.stderr
    assert f"{folder}/in/sub/cut.jpg: image file is truncated" in done.stderr
    assert f"{folder}/in/zero.png: not an image that can be read" in done.stderr
    before = {path: (folder / "out" / path).stat().st_mtime_ns for path in results(folder / "out")}

    (folder / "in" / "sub" / "cut.jpg").unlink()
    (folder / "in" / "zero.png").unlink()
    later = time.time() + 5
    os.utime(folder / "in" / "a.jpg", (later, later))  # changed since
    done = run(*command, cwd=folder)
    assert "1 of 4 images upscaled, 3 existed already (--overwrite writes them again)" in done.stderr
    after = {path: (folder / "out" / path).stat().st_mtime_ns for path in results(folder / "out")}
    assert [path for path in before if after[path] != before[path]] == ["a.jpg"]
    assert "4 of 4 images upscaled" in run(*command, "--overwrite", cwd=folder).stderr


def test_several_files_patterns_and_formats(model, folder):
    run("srgan", "upscale", "in/a.jpg", "in/sub/b.png", "-o", "two", "--model", model, cwd=folder)
    assert results(folder / "two") == ["a.jpg", "b.png"]
    run("srgan", "upscale", "in/**/*.[pt]*", "-o", "some", "--model", model, "--format", "webp", cwd=folder)
    assert results(folder / "some") == ["sub/b.webp", "sub/deep/c.webp"]


def test_a_folder_may_have_a_dot(model, folder):
    run("srgan", "upscale", "in/a.jpg", "-o", "v1.0/", "--model", model, cwd=folder)
    run("srgan", "upscale", "in/a.jpg", "-o", "v1.0", "--model", model, cwd=folder)
    assert results(folder / "v1.0") == ["a.jpg"]


def test_what_a_folder_run_leaves_out_is_counted_and_named(model, folder):
    (folder / "in" / "photo.psd").write_bytes(b"8BPS\0\1")
    (folder / "in" / "sub" / "film.mov").touch()
    CAT.save(folder / "in" / "from-the-web.jfif", "JPEG")
    (folder / "elsewhere").mkdir()
    (folder / "in" / "linked").symlink_to(folder / "elsewhere")
    done = run("srgan", "upscale", "in", "-o", "out", "--model", model, cwd=folder)
    assert results(folder / "out") == ["a.jpg", "d.png", "from-the-web.png", "sub/b.png", "sub/deep/c.tif"]
    assert "4 files are left out: .mov 1 (film.mov); .psd 1 (photo.psd); .txt 1 (notes.txt); hidden 1 (.f.png)" in done.stderr
    assert "in/linked: a linked folder is not entered. It is left out" in done.stderr


AS_A_USER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.name != "nt" and os.geteuid() == 0 else ()


ONE_BY_ONE = """
import sys
from srgan.commands.main import main
for command in sys.argv[1:]:
    try:
        code = main(command.split()) or 0
    except SystemExit as end:
        code = end.code
    print(f"exit {code}", file=sys.stderr)
"""


def as_a_user(*commands, cwd):
    """Run `srgan` commands without root's right to read and write everything, in one process. Return exit code and messages of each."""
    if AS_A_USER and not shutil.which("setpriv"):
        pytest.skip("needs setpriv")
    command = [*AS_A_USER, sys.executable, "-c", ONE_BY_ONE, *commands]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120)
    found = [(int(code), text) for text, code in re.findall(r"(.*?)^exit (\d+)\n", done.stderr, re.DOTALL | re.MULTILINE)]
    assert len(found) == len(commands), done.stderr
    return found


def locked(path):
    path.mkdir()
    if AS_A_USER:
        os.chown(path, 65534, 65534)
    path.chmod(0o700 if AS_A_USER else 0)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_folders_that_cannot_be_read_or_written_are_told(model, folder):
    locked(folder / "in" / ".Trashes")
    locked(folder / "in" / "lost+found")
    locked(folder / "closed")
    try:
        upscaled, closed_target, closed_source = as_a_user(
            f"upscale in -o out --model {model}",
            f"upscale in/a.jpg in/d.bmp -o closed/ --model {model}",
            f"upscale closed -o out --model {model}",
            cwd=folder,
        )
        assert upscaled[0] == 0, upscaled
        assert len(results(folder / "out")) == 4
        assert "in/lost+found: the folder cannot be read (Permission denied). It is left out" in upscaled[1]
        assert ".Trashes" not in upscaled[1]
        assert closed_target[0] == 1
        assert closed_target[1].count("closed: files cannot be written there (Permission denied). Choose another folder") == 1
        assert "closed: the folder cannot be read (Permission denied). Change its permissions" in closed_source[1]
    finally:
        for path in (folder / "in" / ".Trashes", folder / "in" / "lost+found", folder / "closed"):
            path.chmod(0o755)


def test_a_decoder_that_crashes_or_does_not_end_costs_its_photograph_alone(model, folder, monkeypatch):
    def decoder(source, page):
        if source.name == "b.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        if source.name == "c.tif":
            time.sleep(60)
        return open_image(source, page)

    monkeypatch.setattr("srgan.inference.batch.open_image", decoder)
    monkeypatch.setattr("srgan.utils.workers.MAX_SECONDS_PER_ITEM", 2)
    failures = run_jobs(Upscaler(model), plan([str(folder / "in")], str(folder / "out")), Options())
    assert results(folder / "out") == ["a.jpg", "d.png"]  # no temporary file, either
    assert len(failures) == 2
    assert f"{folder}/in/sub/b.png: decoding it crashes the process that works on it (SIGSEGV)" in failures[0]
    assert f"{folder}/in/sub/deep/c.tif: decoding it takes more than 2 s" in failures[1]


def test_a_decoder_that_crashes_or_does_not_end_is_an_error_of_the_single_photograph(model, folder, monkeypatch):
    monkeypatch.setattr("srgan.utils.workers.MAX_SECONDS_PER_ITEM", 2)
    for harm, reason in (
        (lambda *_: os.kill(os.getpid(), signal.SIGSEGV), r"crashes the process that works on it \(SIGSEGV\)"),
        (lambda *_: time.sleep(60), "takes more than 2 s"),
    ):
        monkeypatch.setattr("srgan.inference.batch.open_image", harm)
        with pytest.raises(SrganError, match=f"in/a.jpg: decoding it {reason}. Replace or remove the file"):
            run_one(Upscaler(model), str(folder / "in" / "a.jpg"), str(folder / "b.png"), Options())
    assert not (folder / "b.png").exists()


def test_a_pipe_is_a_photograph(model, folder):
    command = f"{sys.executable} -m srgan upscale <(cat in/a.jpg) -o out.png --model {model}"
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), check=True, timeout=120)
    assert read_image(folder / "out.png").shape == (80, 120, 3)


def test_a_large_photograph_is_no_bomb(model, tmp_path, monkeypatch):
    CAT.save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    upscaler = Upscaler(model)
    assert run_jobs(upscaler, plan([str(tmp_path / "large.png")], str(tmp_path / "out")), Options()) == []
    assert Image.MAX_IMAGE_PIXELS == 100


def test_through_pipes(model, tmp_path):
    command = [sys.executable, "-m", "srgan", "upscale", "-", "-o", "-", "--model", str(model)]
    buffer = io.BytesIO()
    CAT.save(buffer, "JPEG")
    done = subprocess.run([*command, "--format", "webp"], input=buffer.getvalue(), capture_output=True, env=environment(), check=True)
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("WEBP", (120, 80))
    done = subprocess.run(command, input=b"nothing", capture_output=True, env=environment(), check=False)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"standard input: not an image that can be read" in done.stderr


def test_what_is_to_be_done_is_planned_without_doing_it(folder):
    inside = plan([str(folder / "in")], str(folder / "in" / "big"))
    (folder / "in" / "big").mkdir()
    CAT.save(folder / "in" / "big" / "a.jpg")
    assert plan([str(folder / "in")], str(folder / "in" / "big")) == inside  # its own results are no photographs
    with pytest.raises(SrganError, match=r"holds the images. The results need a folder of their own"):
        plan([str(folder / "in")], str(folder / "in"))
    (folder / "o" / "x" / "x").mkdir(parents=True)
    CAT.save(folder / "o" / "x" / "a.png")
    CAT.save(folder / "o" / "x" / "x" / "a.png")
    with pytest.raises(SrganError, match=r"o/x/a\.png: a result would replace this image"):
        plan([str(folder / "o" / "x")], str(folder / "o"))
    with pytest.raises(SrganError, match="no such file or folder"):
        plan([str(folder / "nothing")], "out")
    with pytest.raises(SrganError, match=r"no images found. The suffixes are \.3fr"):
        plan([str(folder / "*.xyz")], "out")
    with pytest.raises(SrganError, match=r"is a file. Several results need a folder"):
        plan([str(folder / "in")], str(folder / "in" / "notes.txt"))
    CAT.save(folder / "in" / "a.png")
    CAT.save(folder / "in" / "sub" / "b.jpg")
    with pytest.raises(
        SrganError, match=r"(?s)2 results cannot be written:.*would both become out/a\.webp.*would both become out/sub/b\.webp"
    ):
        plan([str(folder / "in")], "out", ".webp")  # all at once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in/a.jpg", "-o", "in/a.jpg"], "the result would replace the image"),
        (["in/a.jpg", "-o", "out.xyz"], "no image format has the suffix '.xyz'"),
        (["in/a.jpg", "-o", "x.png", "--format", "webp"], "-o x.png and --format webp contradict each other. Leave out --format"),
        (["in", "-o", "-"], "a pipe carries one image"),
        (["-", "-", "-o", "x.png"], "a pipe carries one image"),
        (["in/a.jpg", "-o", "x.png", "--outscale", "0"], "greater than or equal to 0.01"),
        (["in/a.jpg", "-o", "x.png", "--width", "90", "--outscale", "2"], "--outscale and --width: name one size"),
        (["in/a.jpg", "-o", "x.png", "--at-least", "huge"], "--at-least huge: no size. Use fullhd, 2k, 4k"),
        (["in/a.jpg", "-o", "x.png", "--width", "90000"], "90000x60000, which is x1500. x0.01 to x64 are possible"),
        (["in/a.jpg", "-o", "x.png", "--name", "big"], "--name: does not fit -o x.png"),
        (["in", "-o", "out", "--name", "{stm}_big"], "'stm' is no field; did you mean stem?"),
        (["in/a.jpg", "-o", "x.png", "--quality", "101"], "less than or equal to 100"),
        (["in/a.jpg", "-o", "x.png", "--provider", "tensorrt", "--strict-provider"], "provider tensorrt does not work here"),
        (["in/a.jpg", "-o", "x.png", "--model", "models:/nobody@champion"], "models:/nobody@champion: "),
    ],
)
def test_mistakes_are_told(model, folder, arguments, message):
    named = [] if "--model" in arguments else ["--model", str(model)]
    done = run("srgan", "upscale", *arguments, *named, cwd=folder, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert not (folder / "x.png").exists()


def test_names_sizes_and_dates_of_a_folder(model, folder):
    year_2000 = 946_684_800
    os.utime(folder / "in" / "a.jpg", (year_2000, year_2000))
    command = ("srgan", "upscale", "in", "-o", "out", "--model", model, "--long-side", "90", "--keep-dates", "--name", "{stem}_{size}")
    done = run(*command, cwd=folder)
    assert results(folder / "out") == ["a_long90.jpg", "d_long90.png", "sub/b_long90.png", "sub/deep/c_long90.tif"]
    assert read_image(folder / "out" / "a_long90.jpg").shape == (60, 90, 3)
    assert (folder / "out" / "a_long90.jpg").stat().st_mtime == year_2000
    done = run(*command, cwd=folder)
    assert "0 of 4 images upscaled, 4 existed already" in done.stderr
    assert "other settings" not in done.stderr


def test_results_of_other_settings_or_models_are_told(model, folder):
    command = ("srgan", "upscale", "in", "-o", "out", "--model", model)
    run(*command, "--quality", "80", cwd=folder)
    assert "other settings" not in run(*command, "--quality", "80", cwd=folder).stderr
    done = run(*command, cwd=folder)  # PNG and TIFF have no quality
    assert "1 of them have another model or other settings (a.jpg). Write them again with --overwrite" in done.stderr
    assert "4 of them have another model" in run(*command, "--quality", "80", "--ensemble", "8", cwd=folder).stderr
    other = write_model(folder, objective="psnr")
    assert "4 of them have another model" in run(*command[:-1], other, cwd=folder).stderr


def test_a_result_next_to_its_image_gets_a_name_by_the_template(model, folder):
    command = ("srgan", "upscale", "in/a.jpg", "--model", model, "--name", "{stem}-{scale}x-{model}")
    run(*command, cwd=folder)
    assert read_image(folder / "in" / f"a-2x-{model.stem}.png").shape == (80, 120, 3)
    run(*command, "--overwrite", "--outscale", "1.5", "--name", "big", cwd=folder)
    done = run(*command, "--name", "big", "--outscale", "3", cwd=folder, check=False)
    assert "in/big.png: exists already, made with another model or other settings. Replace it with --overwrite" in done.stderr


def test_sizes_that_the_model_does_not_reach_are_told(model, folder):
    done = run("srgan", "upscale", "in/a.jpg", "-o", "x.png", "--model", model, "--at-least", "180x100", cwd=folder)
    assert read_image(folder / "x.png").shape == (120, 180, 3)
    assert "in/a.jpg: the model makes it x2, and interpolation (Lanczos) x1.5 more, which adds no detail" in done.stderr
    done = run("srgan", "upscale", "in/a.jpg", "-o", "x.png", "--model", model, "--at-least", "50x30", cwd=folder)
    assert read_image(folder / "x.png").shape == (40, 60, 3)
    assert "in/a.jpg: has the wanted size already" in done.stderr


def test_the_registered_model_by_its_alias(project, tmp_path):
    CAT.save(tmp_path / "photo.png")
    done = run("srgan", "upscale", tmp_path / "photo.png", "-o", tmp_path / "a.png", "--model", "models:/srgan-x4@challenger", cwd=project)
    assert "x4 by " in done.stderr
    run("srgan", "upscale", tmp_path / "photo.png", "-o", tmp_path / "b.png", cwd=project)
    assert np.array_equal(read_image(tmp_path / "a.png"), read_image(tmp_path / "b.png"))


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, *(pytest.param(signum, marks=pytest.mark.slow) for signum in (signal.SIGINT, signal.SIGTERM))]
)
def test_an_interrupted_folder_goes_on(model, tmp_path, how):
    (tmp_path / "in").mkdir()
    for number in range(6):
        CAT.resize((400, 300)).save(tmp_path / "in" / f"{number}.png")
    command = [sys.executable, "-m", "srgan", "upscale", "in", "-o", "out", "--model", str(model)]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "0.png").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    code = process.wait(60)
    assert process.stderr.read().count(b"Traceback") == 0
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}[how]
    finished = sorted((tmp_path / "out").glob("[0-9].png"))
    assert len(finished) < 6
    for path in finished:
        assert read_image(path).shape == (600, 800, 3)  # whole
    if how != signal.SIGKILL:
        assert not list((tmp_path / "out").glob(".*"))
    done = run("srgan", "upscale", "in", "-o", "out", "--model", model, cwd=tmp_path)
    assert f"{6 - len(finished)} of 6 images upscaled, {len(finished)} existed already" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number}.png" for number in range(6)]


def test_what_cannot_be_written_is_told_in_a_sentence(model, folder):
    limited = f"ulimit -f 4; exec {sys.executable} -m srgan upscale in -o out --model {model}"
    done = subprocess.run(["sh", "-c", f"trap '' XFSZ; {limited}"], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "out/a.jpg: File too large" in done.stderr
    assert results(folder / "out") == []


def test_a_full_disk_stops_the_folder(model, folder, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("srgan.inference.batch.upscale_file", full)
    with pytest.raises(OSError, match="No space left"):
        run_jobs(Upscaler(model), plan([str(folder / "in")], str(folder / "out")), Options())


def damaged(content, generator):
    """One of the ways in which files get damaged."""
    content = bytearray(content)
    match generator.randrange(4):
        case 0:  # cut off
            del content[generator.randrange(len(content)) :]
        case 1:  # bits turned
            for _ in range(generator.randrange(1, 30)):
                content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        case 2:  # a stretch of other bytes
            start, size = generator.randrange(len(content)), generator.randrange(1, 400)
            content[start : start + size] = generator.randbytes(size)
        case 3:  # a stretch missing
            start = generator.randrange(len(content))
            del content[start : start + generator.randrange(1, 300)]
    return bytes(content)


def test_damaged_files_end_in_results_or_errors(model, tmp_path):
    """Never in a crash, a hang or a traceback."""
    generator, exif = random.Random(0), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    (tmp_path / "in").mkdir()
    for suffix, options in {
        "jpg": {"exif": exif, "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"},
        "png": {"exif": exif},
        "tif": {"exif": exif, "compression": "tiff_lzw"},
        "webp": {"exif": exif},
        "avif": {"exif": exif},
        "gif": {},
        "bmp": {},
    }.items():
        buffer = io.BytesIO()
        CAT.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
        for number in range(40):
            (tmp_path / "in" / f"{number}-{suffix}.{suffix}").write_bytes(damaged(buffer.getvalue(), generator))
    jobs = plan([str(tmp_path / "in")], str(tmp_path / "out"))
    assert len(jobs) == 280
    failures = run_jobs(Upscaler(model, threads=1), jobs, Options())
    written = results(tmp_path / "out")
    assert len(written) + len(failures) == 280
    assert len(failures) > 50
    assert not [line for line in failures if "Error: " in line], "an error that nobody has put into words"
    for name in written:
        read_image(tmp_path / "out" / name)
