from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hookline.resources import crds, fieldreference

PAGE = fieldreference.page(crds.crd(kind) for kind in crds.KINDS)


def fields(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """The path of each field, found another way than the page does: by every `properties` in the schema."""
    for key, value in schema.items():
        if key == "properties":
            for name, field in value.items():
                yield f"{path}.{name}"
                yield from fields(field, f"{path}.{name}")
        elif key == "items":
            yield from fields(value, f"{path}[]")


def test_every_field_of_every_kind_has_a_row_with_a_meaning() -> None:
    for kind in crds.KINDS:
        schema = crds.crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        paths = [each for part in ("spec", "status") if part in schema for each in fields(schema[part], part)]
        assert len(paths) > 5
        for path in paths:
            (row, *_) = [line for line in PAGE.splitlines() if line.startswith(f"| `{path}`")]
            assert len(row.split(" | ")[3]) > 10, row


def test_a_row_says_type_bounds_default_and_whether_the_field_is_required() -> None:
    assert "| `spec.url`* | string |  |" in PAGE
    assert "| `spec.maxConcurrency` | integer, 1 to 1000 | `10` |" in PAGE
    assert "| `spec.signature.scheme` | `StandardWebhooks` or `Header` | `StandardWebhooks` |" in PAGE
    assert "| `spec.retry.scheduleSeconds`* | list of integer, 1 to 86400 |" in PAGE


def test_every_row_has_four_cells() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}
