import numpy as np
import pytest

from srgan.evaluation.clips import score_clip, summarise, write_page
from srgan.metrics.registry import CLIP_METRICS, open_metrics
from srgan.utils.errors import SrganError
from tests.helpers.clips import write_clip

SCORERS = open_metrics(CLIP_METRICS[name] for name in ("psnr_y", "warping_error", "tof"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The same moving picture: a clip, the original twice as large, and a result that the encoder damages in each frame."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "clip.mkv", 10, options={"crf": "0"})
    write_clip(folder / "original.mkv", 10, size=(96, 128), options={"crf": "0"}, sound=False)
    write_clip(folder / "damaged.mkv", 10, "mjpeg", "yuvj420p", size=(96, 128), tags=(2, 1, 1, 1), options={"q": "31"}, sound=False)
    return folder


def test_a_clip_gets_a_row_for_each_frame_and_the_means_of_several_are_compared(clips):
    original, damaged = clips / "original.mkv", clips / "damaged.mkv"
    scores = [
        score_clip(clips / "clip.mkv", None, 2, SCORERS),
        score_clip(original, original, 2, SCORERS),
        score_clip(damaged, original, 2, SCORERS),
    ]
    assert [len(clip.frames) for clip in scores] == [10, 10, 10]
    assert scores[0].slice.shape == (10, 64, 3) and scores[2].slice.shape == (10, 128, 3)
    assert np.isnan(scores[1].frames["warping_error"][0])
    table = summarise(scores, scores[0])
    assert list(table.index) == [str(clip.path) for clip in scores]
    assert list(table) == ["psnr_y", "warping_error", "flicker", "tof"]
    source, same, other = (row for _, row in table.iterrows())
    assert source["flicker"] == 1 and np.isnan(source["psnr_y"])
    assert same["psnr_y"] == np.inf and same["tof"] == 0
    assert other["psnr_y"] < 45 and other["tof"] > 0
    assert other["flicker"] == other["warping_error"] / source["warping_error"]


def test_the_page_shows_scores_curves_and_slices(clips, tmp_path):
    scores = [score_clip(clips / name, None, 2, SCORERS) for name in ("clip.mkv", "damaged.mkv")]
    write_page(tmp_path / "page.html", scores, summarise(scores, scores[0]))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and page.count("<svg") == 1
    assert "<th>flicker</th>" in page and "<td>1.00</td>" in page
    assert "PSNR" not in page  # there is no original


@pytest.mark.parametrize(
    ("frames", "size", "words"),
    [
        (4, (96, 128), "short.mkv: ends after 4 frames, .*original.mkv does not"),
        (10, (48, 64), "short.mkv: has 64x48 pixels, its original"),
    ],
)
def test_other_frames_than_the_original_are_refused(clips, tmp_path, frames, size, words):
    write_clip(tmp_path / "short.mkv", frames, size=size)
    with pytest.raises(SrganError, match=words):
        score_clip(tmp_path / "short.mkv", clips / "original.mkv", 2, SCORERS)
