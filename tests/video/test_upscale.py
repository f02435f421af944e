"""Clips through a tiny model: what is kept, what is refused, and what a killed run leaves."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import onnx
import pytest

from srgan.inference.upscaler import Upscaler
from srgan.utils.errors import SrganError
from srgan.video import segments, upscale
from srgan.video.clip import Clip
from srgan.video.upscale import VideoOptions, upscale_clip
from tests.helpers.clips import packets, picture, write_clip
from tests.helpers.commands import environment, run


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    """A model that enlarges by 2 without changing colours: its last layer is zero, so it interpolates."""
    proto = onnx.load(model)
    outputs = {name for node in proto.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    last = [node for node in proto.graph.node if node.op_type == "Conv"][-1].input[1:]
    for tensor in proto.graph.initializer:
        if tensor.name in last and tensor.name in outputs:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(onnx.numpy_helper.to_array(tensor)), tensor.name))
    path = tmp_path_factory.mktemp("plain") / "2x-plain-compact-fp32.onnx"
    onnx.save(proto, path)
    return Upscaler(path)


def properties(path):
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        context = video.codec_context
        tags = context.color_range, context.colorspace, context.color_primaries, context.color_trc
        return context.name, context.format.name, (context.width, context.height), tags, video.sample_aspect_ratio


def frames(path):
    return list(Clip(path).frames())


def test_sound_titles_time_stamps_and_size_of_pixels_are_kept(plain, tmp_path):
    starts = [0, 40, 200, 240, 280, 1000, 1033, 1066, 1500, 1540]
    source = write_clip(tmp_path / "in.mkv", starts=starts, aspect=Fraction(12, 11), tags=(1, 6, 6, 6))
    assert upscale_clip(plain, source, tmp_path / "out.mkv") == (128, 96, 10)
    assert properties(tmp_path / "out.mkv") == ("h264", "yuv420p", (128, 96), (1, 6, 6, 6), Fraction(12, 11))
    assert packets(tmp_path / "out.mkv")[1] == packets(source)[1]
    assert [frame.start for frame in frames(tmp_path / "out.mkv")] == starts
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert file.metadata["title"] == "a test"
        assert "upscaled by srgan" in file.metadata["COMMENT"] and plain.sha256 in file.metadata["COMMENT"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.mkv"]


@pytest.mark.parametrize(
    ("tags", "pixel_format", "codec"),
    [
        ((1, 1, 1, 1), "yuv420p", "libx264"),
        ((2, 1, 1, 1), "yuv420p", "libx264"),
        ((1, 6, 6, 6), "yuv420p", "libx264"),
        ((1, 9, 9, 16), "yuv420p10le", "libx265"),
        ((1, 9, 9, 18), "yuv420p10le", "libx265"),
    ],
    ids=["BT.709", "full range", "BT.601", "PQ", "HLG"],
)
def test_colours_and_their_tags_are_kept(plain, tmp_path, tags, pixel_format, codec):
    quiet = {"x265-params": "log-level=error", "crf": "10"} if codec == "libx265" else None
    source = write_clip(tmp_path / "in.mp4", 3, codec, pixel_format, tags=tags, size=(64, 80), options=quiet)
    upscale_clip(plain, source, tmp_path / "out.mp4", VideoOptions(crf=8))
    assert properties(tmp_path / "out.mp4")[1:4] == ("yuvj420p" if tags[0] == 2 else pixel_format, (160, 128), tags)
    before, after = frames(source)[1].pixels, frames(tmp_path / "out.mp4")[1].pixels
    assert after.dtype == before.dtype
    means = [pixels.mean((0, 1)) / np.iinfo(pixels.dtype).max * 255 for pixels in (before, after)]
    assert np.abs(means[0] - means[1]).max() < 0.3  # in levels of 8 bits


def test_static_metadata_of_hdr_is_kept(plain, tmp_path):
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    settings = {"x265-params": f"log-level=error:{light}"}
    source = write_clip(tmp_path / "in.mkv", 3, "libx265", "yuv420p10le", tags=(1, 9, 9, 16), size=(64, 64), options=settings)
    upscale_clip(plain, source, tmp_path / "out.mkv")
    assert Clip(source).picture.light == Clip(tmp_path / "out.mkv").picture.light
    assert Clip(source).picture.light.levels == (1000, 400) and Clip(source).picture.light.luminance == (1000, 0.005)


def test_rotation_is_applied_once(plain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 2, rotation=90, aspect=Fraction(2, 1))
    upscale_clip(plain, source, tmp_path / "out.mp4", VideoOptions(crf=8))
    assert properties(tmp_path / "out.mp4")[2:] == ((96, 128), (1, 1, 1, 1), Fraction(1, 2))
    shown = frames(tmp_path / "out.mp4")[0].pixels[::2, ::2].astype(int)
    turned = np.rot90(picture(0))
    assert min(np.abs(shown - turned).mean(), np.abs(shown - np.rot90(turned, 2)).mean()) < 6
    assert next(av.open(str(tmp_path / "out.mp4")).decode(video=0)).rotation == 0


def test_transparency_is_kept_or_refused(plain, tmp_path):
    source = write_clip(tmp_path / "in.mov", 3, "prores_ks", "yuva444p10le", alpha=True, options={"profile": "4444"})
    for name, opaque in (("out.mov", 65535), ("out.mkv", 65535)):
        upscale_clip(plain, source, tmp_path / name)
        assert [round(frame.pixels[..., 3].mean() / opaque * 255) for frame in frames(tmp_path / name)] == [40, 41, 42]
    source = write_clip(tmp_path / "in.webm", 3, "libvpx-vp9", "yuva420p", alpha=True, sound=False)
    upscale_clip(plain, source, tmp_path / "out.webm")
    assert properties(tmp_path / "out.webm")[3] == properties(source)[3] == (1, 1, 1, 1)
    assert [abs(frame.pixels[..., 3].mean() - 40 - number) < 2 for number, frame in enumerate(frames(tmp_path / "out.webm"))] == [True] * 3
    with pytest.raises(SrganError, match=r"out.mp4: .* holds no transparency. Write a .mov"):
        upscale_clip(plain, source, tmp_path / "out.mp4")


def test_interlaced_frames_are_deinterlaced(plain, tmp_path):
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    with av.open(str(tmp_path / "in.mp4"), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.height, video.width, video.options = 48, 64, options
        for number in range(6):
            pixels = picture(20 * number)
            pixels[1::2] = picture(20 * number + 10)[1::2]  # the second field is half a frame later
            file.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(video.encode(None))

    def combing(pixels):
        luma = pixels.astype(float).mean(2)
        return np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean()

    upscale_clip(plain, tmp_path / "in.mp4", tmp_path / "out.mp4")
    decoded = next(av.open(str(tmp_path / "in.mp4")).decode(video=0))
    assert decoded.interlaced_frame
    assert combing(frames(tmp_path / "out.mp4")[2].pixels[::2]) < combing(decoded.to_ndarray(format="rgb24")) / 4


def test_a_truncated_clip_gives_its_beginning_and_a_warning(plain, tmp_path, caplog):
    source = write_clip(tmp_path / "in.mp4", 50, sound=False, options={"g": "5", "movflags": "+faststart"})
    whole = source.read_bytes()
    moov = whole.index(b"moov") - 4
    if moov > 100:  # the index is last: move it to the front of a cut copy by writing again
        with av.open(str(source)) as old, av.open(str(tmp_path / "fast.mp4"), "w", container_options={"movflags": "+faststart"}) as new:
            stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
            for packet in old.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
        whole = (tmp_path / "fast.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    _, _, count = upscale_clip(plain, tmp_path / "cut.mp4", tmp_path / "out.mp4")
    assert 10 < count < 45
    assert f"cut.mp4: the file ends after {count} frames" in caplog.text


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out.avi", {}, "clips are written as .mp4"),
        ("out.mp4", {"codec": "prores", "crf": 20}, "prores has no such option"),
        ("out.mp4", {"crf": 60}, "h264 has 0 to 51"),
        ("out.webm", {}, r"cannot hold stream 1 \(audio pcm_s16le\)"),
        ("out.webm", {"codec": "h264"}, "cannot hold h264"),
        ("in.mkv", {}, "would replace the clip"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_frame(plain, tmp_path, name, options, words):
    source = write_clip(tmp_path / "in.mkv", 2)
    with pytest.raises(SrganError, match=words):
        upscale_clip(plain, source, tmp_path / name, VideoOptions(**options))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("content", [b"", b"no clip at all" * 99], ids=["empty", "text"])
def test_a_file_that_is_no_clip_is_refused(plain, tmp_path, content):
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(SrganError, match=r"in.mp4: FFmpeg cannot read it"):
        upscale_clip(plain, tmp_path / "in.mp4", tmp_path / "out.mp4")


@pytest.mark.parametrize(("ending", "temporal"), [("mp4", 0), ("mkv", 0), ("mkv", 2)])
def test_a_stopped_run_continues_and_gives_the_same_file(plain, tmp_path, monkeypatch, caplog, ending, temporal):
    caplog.set_level("INFO")
    monkeypatch.setattr(upscale, "SEGMENT_FRAMES", 6)
    source = write_clip(tmp_path / f"in.{ending}", 20, starts=[number * 40 + number % 3 for number in range(20)])
    options = VideoOptions(temporal=temporal)
    upscale_clip(plain, source, tmp_path / f"whole.{ending}", options)
    for stop in (2, 10, 11):
        with monkeypatch.context() as patch:
            counted = iter(range(100))
            whole = plain.upscale

            def failing(pixels, on_tile, counted=counted, stop=stop, whole=whole):
                if next(counted) == stop:
                    raise OSError("stopped")
                return whole(pixels, on_tile)

            patch.setattr(plain, "upscale", failing)
            with pytest.raises(OSError, match="stopped"):
                upscale_clip(plain, source, tmp_path / f"parts.{ending}", options)
        done = len(list((tmp_path / f"parts.{ending}.parts").glob("*.packets")))
    assert done == 2
    assert upscale_clip(plain, source, tmp_path / f"parts.{ending}", options)[2] == 20
    assert "continuing after frame 12" in caplog.text
    assert (tmp_path / f"parts.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_other_settings_start_again(plain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 2)
    with segments.open_segments(tmp_path / "a.mp4", {"crf": 1}) as found:
        found.write(0, [])
        assert found.count() == 1
        (tmp_path / "kept").mkdir()
        (found.folder / "identity.json").rename(tmp_path / "kept" / "identity.json")
    with segments.open_segments(tmp_path / "a.mp4", {"crf": 2}) as found:
        assert found.count() == 0
        with (
            pytest.raises(SrganError, match="another process is writing"),
            segments.open_segments(tmp_path / "a.mp4", {"crf": 2}),
        ):
            pass
    assert source.exists()


def test_the_command_upscales_a_clip_and_says_how_to_name_results(plain, tmp_path):
    write_clip(tmp_path / "in.mp4", 3)
    done = run("srgan", "upscale", "in.mp4", "-o", "big.mp4", "--model", plain.path, "--crf", "30", cwd=tmp_path)
    assert "big.mp4: 3 frames of 128 x 96 pixels" in done.stderr
    done = run("srgan", "upscale", "in.mp4", "-o", "steady.mp4", "--model", plain.path, "--crf", "30", "--temporal", "1", cwd=tmp_path)
    assert "steady.mp4: 3 frames" in done.stderr
    assert (tmp_path / "steady.mp4").read_bytes() != (tmp_path / "big.mp4").read_bytes()
    done = run("srgan", "upscale", "in.png", "-o", "big.png", "--temporal", "1", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "--temporal: fits a clip" in done.stderr
    done = run("srgan", "upscale", "in.mp4", "-o", "folder/", "--model", plain.path, cwd=tmp_path, check=False)
    assert done.returncode == 1 and "name one clip and one file for its result" in done.stderr


@pytest.mark.slow
def test_five_kills_give_the_file_of_an_undisturbed_run(plain, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 400, size=(120, 160))
    command = [sys.executable, "-m", "srgan", "upscale", str(source), "--model", str(plain.path), "-o"]
    subprocess.run([*command, tmp_path / "whole.mp4"], env=environment(), check=True)
    parts = tmp_path / "killed.mp4.parts"
    for wanted in (0, 1, 3, 5, 7):
        process = subprocess.Popen([*command, tmp_path / "killed.mp4"], env=environment())
        while len(list(parts.glob("*.packets"))) < wanted or not parts.exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, tmp_path / "killed.mp4"], env=environment(), check=True)
    assert (tmp_path / "killed.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "killed.mp4", "whole.mp4"]
