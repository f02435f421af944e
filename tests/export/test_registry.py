import re

import pytest

from srgan.export.registry import FORMATS, formats_table, select_formats
from srgan.utils.errors import SrganError
from tests.helpers.project import ROOT


def test_the_page_lists_all_formats():
    assert formats_table() in (ROOT / "docs" / "formats.md").read_text()
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in FORMATS)


def test_formats_are_selected_by_name_in_order_and_once():
    assert [made.name for made in select_formats("pth, onnx,pth,")] == ["pth", "onnx"]
    with pytest.raises(SrganError, match="'onnx2' is not an export format"):
        select_formats("onnx,onnx2")
