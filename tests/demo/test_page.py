"""The page as people use it: in a browser, with mouse, keys and fingers."""

import pytest
from PIL import Image

from srgan.demo.app import create_app
from tests.demo.test_app import demo_of
from tests.helpers.browser import Page
from tests.helpers.clips import write_clip
from tests.helpers.service import encoded, held, serving

STATES = "[...document.querySelectorAll('#list li')].map((item) => item.className.split(' ')[0])"
TEXTS = "[...document.querySelectorAll('#list .state')].map((item) => item.textContent)"
SPLIT = "document.querySelector('.pane').style.getPropertyValue('--split')"


@pytest.fixture
def demo(model):
    return demo_of(model, size=100_000)


@pytest.fixture
def address(demo):
    with serving(create_app(demo)) as client:
        yield f"{client.base_url}/"


def write(path, content):
    path.write_bytes(content)
    return path


def states(page, *expected):
    page.until(f"{STATES}.join() === '{','.join(expected)}'", 120)


def test_pictures_are_upscaled_compared_and_saved(address, tmp_path):
    with Page(address, 1200, 800) as page:
        small = write(tmp_path / "small.jpg", encoded(form="JPEG", dpi=(300, 300)))
        page.choose("#files", small, write(tmp_path / "bad.png", b"hello"), write(tmp_path / "big.png", encoded(400, 400)))
        page.until("document.querySelector('#message').textContent.startsWith('big.png: 482 kB, at most 100 kB are taken')")
        states(page, "done", "failed")
        texts = page.js(TEXTS)
        assert texts[0].startswith("tiny, 60 by 40 pixels, ")
        assert texts[1] == "the image: not an image that can be read. Replace or remove the file"
        page.until("[...document.querySelectorAll('.pane img')].map((image) => image.naturalWidth).join() === '60,30'")
        left, top, width, height = page.box(".pane")
        page.drag((left + width / 2, top + height / 2), (left + width / 4, top + height / 2))
        assert page.js(SPLIT) == "25%"
        page.js("document.querySelector('#split').focus()")
        page.key("Home")
        assert page.js(SPLIT) == "0%"
        zoom = "document.querySelector('.zoom output').textContent"
        page.js("document.activeElement.blur()")
        page.key("1")
        assert page.js(zoom) == "100 %"
        page.key("+")
        assert page.js(zoom) == "150 %"
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "got"))
        page.js("document.querySelector('#list a').click()")
        saved = page.downloaded(tmp_path / "got" / "small-tiny.jpg")
        with Image.open(saved) as image:
            assert (image.size, image.info["dpi"]) == ((60, 40), (300, 300))
        page.js("document.querySelector('#list li button:last-child').click()")
        states(page, "failed")
        assert not page.errors


def wait_for_jobs(demo, page, count):
    for _ in range(100):
        if len(demo.jobs) == count:
            break
        page.js("new Promise((resolve) => setTimeout(resolve, 50))")
    assert len(demo.jobs) == count


def test_cancelled_work_stops_and_the_next_picture_follows(demo, address, tmp_path):
    upscaler = demo.models.load("tiny").upscaler
    upscaler.tile = 32
    with Page(address, 1200, 800) as page:
        names = [write(tmp_path / f"{number}.png", encoded(90 + number, 90)) for number in range(3)]
        with held(upscaler) as began:
            page.choose("#files", *names)
            assert began.wait(60)
            states(page, "running", "waiting", "waiting")
            for number in (0, 1):
                page.js(f"document.querySelectorAll('#list li')[{number}].querySelector('button:last-child').click()")
            page.until(f"{STATES}.slice(0, 2).join() === 'cancelled,cancelled'")
        states(page, "cancelled", "cancelled", "done")
        page.until("true")
        with held(upscaler) as began:
            page.js("document.querySelector('#list li button:nth-child(1)').click()")
            page.js("[...document.querySelectorAll('#list button')].find((one) => one.textContent === 'Again').click()")
            assert began.wait(60)
            wait_for_jobs(demo, page, 1)  # the page deletes the finished one after it has the result
            page.call("Page.navigate", url="about:blank")  # the page is closed
            page.until("location.href === 'about:blank'")
            wait_for_jobs(demo, page, 0)


def test_a_clip_plays_beside_its_result(address, tmp_path):
    with Page(address, 1200, 800) as page:
        page.choose("#files", write_clip(tmp_path / "clip.mp4", 10))
        states(page, "done")
        page.until("[...document.querySelectorAll('.pane video')].map((clip) => clip.videoWidth).join() === '128,64'")
        page.js("document.querySelector('#play').click()")
        page.until("[...document.querySelectorAll('.pane video')].every((clip) => !clip.paused && clip.currentTime > 0)")
        assert not page.errors


def test_a_server_that_was_stopped_is_told(demo, tmp_path):
    with serving(create_app(demo)) as client:
        address = f"{client.base_url}/"
        page = Page(address, 800, 600).__enter__()
    page.choose("#files", write(tmp_path / "a.png", encoded()))
    states(page, "failed")
    assert page.js(TEXTS) == ["the server does not answer. Start it again with: srgan demo"]
    page.__exit__()


def test_a_phone_shows_the_comparison_above_the_list(address, tmp_path):
    with Page(address, 390, 800, phone=True) as page:
        page.choose("#files", write(tmp_path / "a.png", encoded()))
        states(page, "done")
        assert page.js("document.documentElement.scrollWidth") <= 390
        pane, queue = page.box(".pane"), page.box("#list")
        assert pane[2] > 360
        page.js("scrollTo(0, 0)")
        tops = page.js("['.pane', '#list'].map((name) => document.querySelector(name).getBoundingClientRect().top)")
        assert tops[0] < tops[1]
        assert queue[2] > 360
        heights = "[...document.querySelectorAll('button, select, a.button')].map((one) => one.getBoundingClientRect().height)"
        assert min(height for height in page.js(heights) if height) >= 43.9
        assert not page.errors
        page.picture(tmp_path / "phone.png")
