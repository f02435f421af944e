"""GIF, animated WebP and APNG: durations, repeats and transparency."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from srgan.images.write import Options
from srgan.inference.batch import run_one
from srgan.utils.errors import SrganError
from srgan.video.animation import FOREVER, Animation, is_animation
from srgan.video.clip import Clip
from srgan.video.upscale import VideoOptions, upscale_clip
from tests.helpers.clips import picture, write_clip
from tests.helpers.commands import run

DURATIONS = [40, 100, 200, 70]


def write_animation(path, transparent=True, **options):
    images = []
    for number in range(4):
        alpha = np.full((48, 64), 255, np.uint8)
        alpha[: 10 + number] = 0 if transparent else 255
        images.append(Image.fromarray(np.dstack([picture(5 * number), alpha])))
    kind = {".apng": "PNG"}.get(path.suffix)
    more = {"lossless": True} if path.suffix == ".webp" else {"disposal": 2}
    images[0].save(path, kind, save_all=True, append_images=images[1:], duration=DURATIONS, loop=3, **more | options)
    return path


def durations(path):
    found = []
    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            frame.load()
            found.append(frame.info["duration"])
    return found


@pytest.mark.parametrize("source", ["in.gif", "in.webp", "in.png"])
@pytest.mark.parametrize("target", ["out.gif", "out.webp", "out.png"])
def test_frames_durations_repeats_and_transparency_are_kept(upscaler, tmp_path, source, target):
    path = write_animation(tmp_path / source)
    upscale_clip(upscaler, path, tmp_path / target, VideoOptions(lossless=True))
    before, after = Animation(path), Animation(tmp_path / target)
    assert after.plays == before.plays == (4 if source == "in.gif" else 3)
    assert (after.picture.width, after.picture.height) == (128, 96)
    shown = durations(tmp_path / target)
    assert shown[:3] == DURATIONS[:3]
    assert shown[3] == 70 or target == "out.webp"  # FFmpeg gives the last frame of a WebP the mean duration
    for number, frame in enumerate(after.frames()):
        rows = (frame.pixels[..., 3] < 128).mean(1) > 0.5
        assert abs(rows.sum() - 2 * (10 + number)) <= 2


def test_an_opaque_animation_becomes_a_clip_and_a_clip_an_animation(upscaler, tmp_path):
    path = write_animation(tmp_path / "in.gif", transparent=False)
    assert upscale_clip(upscaler, path, tmp_path / "out.mp4") == (128, 96, 4)
    read = [round(frame.duration * Clip(tmp_path / "out.mp4").picture.time_base * 1000) for frame in Clip(tmp_path / "out.mp4").frames()]
    assert read[:3] == DURATIONS[:3]  # MP4 counts in the order of decoding, so the last one may differ
    upscale_clip(upscaler, write_clip(tmp_path / "in.mp4", 3), tmp_path / "out.gif", VideoOptions(outscale=1.5))
    assert Animation(tmp_path / "out.gif").plays == FOREVER
    assert (Image.open(tmp_path / "out.gif").size, durations(tmp_path / "out.gif")) == ((96, 72), [40, 40, 40])


def test_transparency_that_the_file_cannot_hold_is_refused(upscaler, tmp_path):
    with pytest.raises(SrganError, match=r"out.mp4: .* holds no transparency"):
        upscale_clip(upscaler, write_animation(tmp_path / "in.webp"), tmp_path / "out.mp4")


def test_hdr_does_not_become_an_animation(upscaler, tmp_path):
    source = write_clip(tmp_path / "in.mp4", 2, "libx264", "yuv420p10le", tags=(1, 9, 9, 16), size=(64, 64))
    with pytest.raises(SrganError, match=r"out.gif: animations hold no HDR"):
        upscale_clip(upscaler, source, tmp_path / "out.gif")


def test_a_damaged_animation_gives_its_beginning_and_a_warning(upscaler, tmp_path, caplog):
    path = write_animation(tmp_path / "in.png")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    _, _, count = upscale_clip(upscaler, path, tmp_path / "out.png")
    assert 0 < count < 4
    assert f"in.png: frame {count + 1} cannot be decoded" in caplog.text


def test_the_command_keeps_an_animation_and_a_still_image_stays_one(upscaler, tmp_path):
    write_animation(tmp_path / "in.webp")
    Image.fromarray(picture(0)).save(tmp_path / "still.webp")
    assert is_animation(tmp_path / "in.webp") and not is_animation(tmp_path / "still.webp")
    for name in ("in", "still"):
        run("srgan", "upscale", f"{name}.webp", "-o", f"{name}-big.webp", "--model", upscaler.path, cwd=tmp_path)
    assert [Image.open(tmp_path / f"{name}-big.webp").n_frames for name in ("in", "still")] == [4, 1]
    run_one(upscaler, str(tmp_path / "in.webp"), str(tmp_path / "first.jpg"), Options())  # as before: the first frame
    assert Image.open(tmp_path / "first.jpg").size == (128, 96)
