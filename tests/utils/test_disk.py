"""Lists and dictionaries on the disk behave like those in memory, and take none of it."""

import random
import subprocess
import sys

import pytest

from srgan.utils.disk import DiskDict, DiskList, sorted_texts

GROWTH = """
import json, resource
from srgan.utils.disk import DiskDict, DiskList, sorted_texts
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def fill(count):
    rows, names = DiskList(), DiskDict()
    for number in range(count):
        rows.append({"name": f"{number * 7919 % count:064}", "size": [96, 96]})
        names.setdefault(f"{number * 7919 % count:064}", number)
    assert sum(1 for _ in sorted_texts(row["name"] for row in rows)) == count
fill(2000)
before = peak()
fill(40000)
print(peak() - before)
"""


def test_a_list_is_read_as_one_in_memory():
    items = [{"name": "a\udcff", "size": [1, 2]}, 3, None, [], "é"]
    found = DiskList(items)
    assert len(found) == 5
    assert list(found) == items
    assert found == items
    assert [found[0], found[-1], found[1:4], items[2:] == found[2:]] == [items[0], "é", [3, None, []], True]
    assert found != items[:4]
    assert not DiskList()
    for place in (5, -6):
        with pytest.raises(IndexError, match=f"item {place} of 5"):
            found[place]


def test_a_dictionary_keeps_the_order_of_its_keys():
    found = DiskDict()
    for key in (10, 2, 33):
        found[key] = {"key": key}
    found[2] = "again"
    assert list(found.values()) == ["again", {"key": 10}, {"key": 33}]
    assert [found.get(4), found.get(4, 5), 10 in found, 4 in found] == [None, 5, True, False]
    assert [found.setdefault(4, "first"), found.setdefault(4, "second")] == ["first", "first"]


def test_texts_are_sorted_as_in_memory():
    texts = [random.Random(0).choice("abcÀé") * (number % 5) + str(number % 7) for number in range(100)]
    assert list(sorted_texts(texts)) == sorted(texts)


def test_forty_thousand_records_take_no_memory():
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3000  # kB. In memory they take 30 MB
