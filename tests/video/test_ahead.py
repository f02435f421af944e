import threading
import time

import pytest

from srgan.video.ahead import ahead


def test_order_is_kept_and_the_thread_never_runs_further_ahead_than_allowed():
    made = []

    def numbers():
        for number in range(20):
            made.append(number)
            yield number

    taken = []
    for number in ahead(numbers(), 2):
        time.sleep(0.005)
        taken.append(number)
        assert len(made) - len(taken) <= 4  # two waiting, one in the hand of the thread, one here
    assert taken == list(range(20))


def test_an_exception_of_the_iterable_is_raised_after_the_items_before_it():
    def broken():
        yield 1
        raise OSError("disk")

    items = ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_a_caller_that_stops_early_leaves_no_thread():
    before = threading.active_count()
    endless = ahead(iter(int, 1), 2)
    next(endless)
    endless.close()
    assert threading.active_count() == before
