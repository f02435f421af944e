"""The page of the raters, used as people use it: in a browser, with mouse, keys and fingers."""

import re
import threading
import time

import numpy as np
import pytest

from srgan.study.answers import accept, collect, log_path, read_log
from srgan.study.create import create
from srgan.study.files import read_key, read_study
from srgan.study.rate_page import write_static_page
from srgan.study.server import StudyServer
from tests.helpers.browser import Page
from tests.helpers.raters import write_pictures

PLACES = """[...document.querySelectorAll('.pane')].map((pane) => {
  const box = pane.getBoundingClientRect(), image = pane.querySelector('img').getBoundingClientRect();
  return [(box.x - image.x) / image.width, (box.y - image.y) / image.height, box.width / image.width];
})"""
COUNT = "document.querySelector('#count').textContent"
READY = "!document.querySelector('#rating').hidden && !document.querySelector('[data-choice]').disabled"
TRIALS = 8


@pytest.fixture
def folder(tmp_path):
    create(tmp_path / "s", write_pictures(tmp_path / "in", ["a", "b"], size=(320, 240)), raters=2, pairs=6, checks=2, seed=1)
    return tmp_path / "s"


@pytest.fixture
def code(folder):
    return read_key(folder, read_study(folder)).codes[0]


class Served:
    """A server in a thread that can be stopped and started on the same port."""

    def __init__(self, folder):
        self.folder, self.port = folder, 0

    def start(self):
        self.server = StudyServer(self.folder, read_study(self.folder), self.port)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def served(folder):
    served = Served(folder)
    served.start()
    yield served
    served.stop()


def entered(page, code):
    """Type the code and begin."""
    page.js("document.querySelector('#code').focus()")
    page.call("Input.insertText", text=code.lower())
    x, y, width, height = page.box("#entry button")
    click(page, x + width / 2, y + height / 2)
    page.until(READY)
    return page


def click(page, x, y):
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=int(kind == "mousePressed"), clickCount=1)


def press(page, selector):
    """Click the middle of an element and wait for the next pair."""
    x, y, width, height = page.box(selector)
    click(page, x + width / 2, y + height / 2)
    page.until(READY)


def tap(page, selector):
    """Touch the middle of an element until the page shows another pair. A slow machine makes of a short touch a long one."""
    x, y, width, height = page.box(selector)
    before = page.js(COUNT)
    for _ in range(10):
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x + width / 2, "y": y + height / 2}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        time.sleep(0.5)
        if page.js(COUNT) != before:
            return
    raise AssertionError(f"{selector} does not react")


def key(page, name, count):
    page.key(name)
    page.until(f"{COUNT} === '{count} of {TRIALS}' && {READY}")


def choices(folder, rater=1):
    return {trial: answer.choice for trial, answer in read_log(log_path(folder, rater)).items()}


def test_mouse_and_keys_answer_undo_and_finish(served, folder, code, tmp_path):
    with Page(f"http://127.0.0.1:{served.port}/", 1280, 900) as page:
        entered(page, code)
        assert page.js(COUNT) == f"1 of {TRIALS}"
        shown = page.js("[...document.querySelectorAll('.pane img')].map((image) => image.src)")
        assert [re.search(r"pictures/(\w+)", source)[1] for source in shown] == list(read_study(folder).raters[0].trials[0])
        boxes = [page.box(f".pane[data-side={side}]") for side in ("left", "right")]
        assert boxes[0][1] == boxes[1][1]  # side by side
        assert boxes[0][0] + boxes[0][2] <= boxes[1][0]
        assert page.js("document.querySelector('#undo').disabled")
        press(page, "[data-choice=left]")
        assert choices(folder) == {0: "left"}
        key(page, "ArrowRight", 3)
        key(page, "ArrowDown", 4)
        assert choices(folder) == {0: "left", 1: "right", 2: "equal"}
        key(page, "Backspace", 3)
        key(page, "Backspace", 2)
        assert choices(folder) == {0: "left"}
        press(page, "[data-choice=equal]")
        press(page, "#undo")
        assert choices(folder) == {0: "left"}
        page.picture(tmp_path / "page.png")
        for number in range(3, TRIALS + 1):
            key(page, "ArrowLeft", number)
        page.key("ArrowRight")
        page.until("!document.querySelector('#end').hidden")
        assert choices(folder) == dict.fromkeys(range(TRIALS - 1), "left") | {TRIALS - 1: "right"}
        assert page.js("document.querySelector('#progress').value") == 1
        assert "You can close this page" in page.js("document.querySelector('#end').innerText")
        press(page, "#back")
        assert len(choices(folder)) == TRIALS - 1
        assert not page.errors


def test_both_pictures_zoom_and_move_together(served, code):
    with Page(f"http://127.0.0.1:{served.port}/", 1280, 900) as page:
        entered(page, code)
        zoom = "document.querySelector('.zoom output').textContent"
        assert page.js(zoom) == "100 %"  # a small picture begins with one pixel per pixel
        x, y, width, height = page.box(".pane[data-side=right]")
        page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x + width * 0.7, y=y + height * 0.4, deltaX=0, deltaY=-400)
        page.until(f"{zoom} !== '100 %'")
        places = np.array(page.js(PLACES))
        assert np.abs(places[0] - places[1]).max() < 1e-3
        before = places[0]
        page.key("+")
        page.drag((x + width / 2, y + height / 2), (x + width / 2 - 60, y + height / 2 - 40))
        places = np.array(page.js(PLACES))
        assert np.abs(places[0] - places[1]).max() < 1e-3
        assert places[0, 2] == pytest.approx(before[2] / 1.5, rel=1e-3)
        assert places[0, 0] > before[0]
        press(page, "[data-zoom=fit]")
        assert np.array(page.js(PLACES))[1] == pytest.approx([0, 0, 1], abs=1e-3)
        press(page, "[data-zoom=one]")
        assert page.js(zoom) == "100 %"
        key(page, "ArrowLeft", 2)
        assert page.js(zoom) == "100 %"
        assert not page.errors


def test_a_phone_shows_both_pictures_and_fingers_zoom(served, folder, code, tmp_path):
    with Page(f"http://127.0.0.1:{served.port}/", 390, 800, phone=True) as page:
        entered(page, code)
        assert page.js("document.documentElement.scrollWidth") <= 390
        assert page.js("document.documentElement.scrollHeight") <= 800
        left, right = (page.box(f".pane[data-side={side}]") for side in ("left", "right"))
        assert left[2] == right[2] > 370  # one above the other, as wide as the phone
        assert left[1] + left[3] <= right[1]
        assert page.js("document.querySelector('[data-choice=left]').innerText") == "Upper"
        sizes = page.js("[...document.querySelectorAll('main button')].map((button) => button.getBoundingClientRect().height)")
        assert min(sizes) >= 44
        x, y = right[0] + right[2] / 2, right[1] + right[3] / 2

        def fingers(kind, apart):
            points = [] if apart is None else [{"x": x + side * apart, "y": y, "id": index} for index, side in enumerate((-1, 1))]
            page.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        before = np.array(page.js(PLACES))
        fingers("touchStart", 30)
        for apart in (40, 60, 90):
            fingers("touchMove", apart)
        fingers("touchEnd", None)
        places = np.array(page.js(PLACES))
        assert np.abs(places[0] - places[1]).max() < 1e-3
        assert places[0, 2] == pytest.approx(before[0, 2] / 3, rel=0.05)
        page.touch_drag((x, y), (x + 50, y + 30))
        moved = np.array(page.js(PLACES))
        assert (moved[:, :2] < places[:, :2] - 0.01).all()
        page.picture(tmp_path / "phone.png")
        tap(page, "[data-choice=right]")
        assert choices(folder)[0] == "right"
        assert not page.errors


def test_a_rater_goes_on_after_the_server_was_stopped(served, folder, code):
    with Page(f"http://127.0.0.1:{served.port}/", 1000, 700) as page:
        entered(page, code)
        key(page, "ArrowLeft", 2)
        served.stop()
        page.key("ArrowRight")
        page.until("document.querySelector('#message').textContent.includes('does not answer')")
        page.key("ArrowLeft")  # no second answer while one is not stored
        assert choices(folder) == {0: "left"}
        served.start()
        page.until(f"{COUNT} === '3 of {TRIALS}'")
        assert choices(folder) == {0: "left", 1: "right"}
        assert page.js("document.querySelector('#message').textContent") == ""
    with Page(f"http://127.0.0.1:{served.port}/", 1000, 700) as page:  # another browser, the same code
        assert entered(page, code).js(COUNT) == f"3 of {TRIALS}"


def test_a_wrong_code_is_told(served, folder, tmp_path):
    write_static_page(folder, read_study(folder), tmp_path / "rate.html")
    for place in (f"http://127.0.0.1:{served.port}/", tmp_path / "rate.html"):
        with Page(place, 1000, 700) as page:
            page.js("document.querySelector('#code').value = 'AAAA-AAAA-AAAA'; document.querySelector('#entry button').click()")
            page.until("document.querySelector('#message').textContent.includes('no such code')")
            assert page.js("document.querySelector('#rating').hidden")


def test_a_link_has_the_code(served, code):
    with Page(f"http://127.0.0.1:{served.port}/#{code}", 1000, 700) as page:
        assert page.js("document.querySelector('#code').value") == code


def test_one_file_needs_no_server_and_returns_signed_answers(folder, code, tmp_path):
    study = read_study(folder)
    write_static_page(folder, study, tmp_path / "rate.html")
    with Page(tmp_path / "rate.html", 1000, 700) as page:
        entered(page, code)
        key(page, "ArrowLeft", 2)
        key(page, "ArrowDown", 3)
        key(page, "ArrowRight", 4)
        key(page, "Backspace", 3)
        page.call("Page.reload")  # the browser keeps the answers
        page.until("document.readyState === 'complete' && document.querySelector('#entry')")
        entered(page, code)
        assert page.js(COUNT) == f"3 of {TRIALS}"
        assert "2 answers" in page.js("document.querySelector('#where').textContent")
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "got"))
        press(page, "#save")
        returned = tmp_path / "got" / "answers-1.json"
        page.downloaded(returned)
        assert not page.errors
    key_file = read_key(folder, study)
    assert accept(returned, folder, study, key_file) == 1
    found = collect(folder, study, key_file)[1]
    assert {trial: answer.choice for trial, answer in found.items()} == {0: "left", 1: "equal"}
    assert all(0 < answer.seconds < 100 for answer in found.values())
