"""Compression as a frame of a video by H.264, HEVC or MPEG-4. FFmpeg encodes and decodes, through PyAV."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from srgan.config.base import option
from srgan.config.recipe import Range, StepOptions, Weights, among, within
from srgan.degradations.base import Batch, Degradation, Drawing, Drawn
from srgan.degradations.by_image import by_image

MAX_FRAMES = 3
MAX_MOTION = 2  # pixels between two frames, in each direction
MIN_SIDE, SIDE_STEP = 64, 8  # pixels of a frame. x265 writes beyond its buffers if frames are lower than 40 pixels

# Name of the encoder and of the decoder. Threads would change the results with the number of processor cores.
CODECS = {
    "h264": ("libx264", "h264", {"preset": "veryfast", "x264-params": "threads=1"}),
    "hevc": ("libx265", "hevc", {"preset": "veryfast", "x265-params": "pools=none:frame-threads=1:wpp=0:log-level=none"}),
    "mpeg4": ("mpeg4", "mpeg4", {}),
}


class CodecOptions(StepOptions):
    """Encode as the last of 1 to 3 frames of a moving camera, and decode."""

    codecs: Annotated[Weights, among(*CODECS)] = option({"h264": 0.5, "hevc": 0.25, "mpeg4": 0.25}, "weights of the video codecs")
    crf: Annotated[Range, within(0, 51)] = option((20, 36), "constant rate factor of H.264 and HEVC, 0 to 51")
    qscale: Annotated[Range, within(1, 31)] = option((2, 16), "quantiser of MPEG-4, 1 to 31")


def _draw(options: CodecOptions, state: Drawing) -> Drawn:
    codec, draws = state.draws.choose(options.codecs), state.draws
    low, high = options.qscale if codec == "mpeg4" else options.crf
    motion = [draws.integer(-MAX_MOTION, MAX_MOTION), draws.integer(-MAX_MOTION, MAX_MOTION)]
    return {"codec": codec, "strength": draws.integer(round(low), round(high)), "frames": draws.integer(1, MAX_FRAMES), "motion": motion}


def _coded(image: np.ndarray, drawn: Drawn) -> np.ndarray:
    """Return the image after a video codec. The frames before it show what a moving camera saw: a shifted image."""
    height, width = image.shape[:2]
    full = [max(-(-side // SIDE_STEP) * SIDE_STEP, MIN_SIDE) for side in (height, width)]
    frames = []
    for age in reversed(range(drawn["frames"])):
        rows, columns = (
            np.clip(np.arange(size) + age * shift, 0, end - 1)
            for size, shift, end in zip(full, drawn["motion"], (height, width), strict=True)
        )
        frames.append(image[rows[:, None], columns])
    return _through_video(frames, drawn["codec"], drawn["strength"])[:height, :width]


def _through_video(frames: list[np.ndarray], codec: str, strength: int) -> np.ndarray:
    """Return the last frame after encoding and decoding all of them."""
    import av  # an optional package, see `Recipe.check_packages`
    from av.video.reformatter import Interpolation

    # Without all of these, FFmpeg rounds down: the image would become darker by a level.
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
    encoder_name, decoder_name, settings = CODECS[codec]
    encoder: Any = av.CodecContext.create(encoder_name, "w")
    encoder.height, encoder.width = frames[0].shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.thread_count = "yuv420p", 25, 1
    encoder.options = settings | ({} if codec == "mpeg4" else {"crf": str(strength)})
    if codec == "mpeg4":
        encoder.qmin = encoder.qmax = strength
    decoder: Any = av.CodecContext.create(decoder_name, "r")
    decoder.thread_count = 1
    packets = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p", interpolation=exact)
        picture.pts = number
        packets += encoder.encode(picture)
    decoded = [picture for packet in [*packets, *encoder.encode(None)] for picture in decoder.decode(packet)] + decoder.decode(None)
    return decoded[-1].reformat(format="rgb24", interpolation=exact).to_ndarray()


def _apply(batch: Batch, drawn: Sequence[Drawn]) -> Batch:
    return by_image(batch, drawn, _coded)


CODEC = Degradation(
    "codec",
    "Compression as a frame of a video by H.264, HEVC or MPEG-4.",
    CodecOptions,
    _draw,
    _apply,
    ahead=True,
    package="av",
)
