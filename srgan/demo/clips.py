"""Upscale the clip of a job. This module needs PyAV."""

from srgan.demo.messages import without_paths
from srgan.service.model import Loaded
from srgan.service.work import OnTile, Order, Result, Stop
from srgan.video.animation import is_animation
from srgan.video.suffixes import ANIMATIONS, CONTAINERS, is_clip
from srgan.video.upscale import VideoOptions, upscale_clip

MEDIA_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska", ".webm": "video/webm",
    ".gif": "image/gif", ".webp": "image/webp", ".png": "image/png", ".apng": "image/apng",
}  # fmt: skip


def has_frames(order: Order) -> bool:
    """Return whether the file of an order is a clip, or an animation that may stay one."""
    return is_clip(order.source) or (order.suffix is None and is_animation(order.source))


def upscale(loaded: Loaded, order: Order, stop: Stop, on_frame: OnTile) -> Result:
    """Upscale a clip or an animation. The result is next to its source, in the same format where that can be written, else MP4.

    Raises:
        Refused: the clip is damaged or cannot be converted.
        Cancelled: the client has gone.
    """
    stop.begin()
    own = order.source.suffix.lower()
    target = order.source.with_name(f"result{own if own in (*CONTAINERS, *ANIMATIONS) else '.mp4'}")

    def check() -> None:
        stop.check(0, 0)

    with without_paths(order.source, target, "the clip") as warnings:
        width, height, _ = upscale_clip(loaded.upscaler, order.source, target, VideoOptions(), on_frame, check)
    before = width // loaded.upscaler.scale, height // loaded.upscaler.scale
    return Result(target, MEDIA_TYPES[target.suffix], (width, height), warnings, loaded, before)
