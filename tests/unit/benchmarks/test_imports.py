from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
WITH_TESTS = {"cluster.py", "dashboard.py", "operator_node.py", "operator_scale.py", "operator_stage.py"}
"""Those that `make` starts, or that ask whether they can be had, with tests/ among the source roots."""
OF_TESTS = {each.name for each in (FOLDER.parent / "tests").iterdir() if each.is_dir()}


@pytest.mark.parametrize("file", sorted(each.name for each in FOLDER.glob("*.py") if each.name not in WITH_TESTS))
def test_it_needs_nothing_of_tests(file: str) -> None:
    found = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse((FOLDER / file).read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert not found & OF_TESTS
