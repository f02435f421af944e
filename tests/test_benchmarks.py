"""The programs of benchmarks/ run for minutes and have no tests of their own. They import, and explain themselves."""

import sys

import pytest

from tests.helpers.project import ROOT, script

NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_imports_and_prints_its_help(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    program = script(name)
    if hasattr(program, "main"):
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == 0
        assert f"usage: {name}.py" in capsys.readouterr().out
    else:
        assert f"from {name} import" in "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
