from __future__ import annotations

from pathlib import Path

import pytest

from hookline.local.manifests import Document, Unreadable, files_in, read


def written(folder: Path, text: str) -> Path:
    file = folder / "a.yaml"
    file.write_text(text)
    return file


def only(folder: Path, text: str) -> Document:
    documents, unreadable = read(written(folder, text))
    assert unreadable == []
    (document,) = documents
    return document


def broken(folder: Path, text: str) -> Unreadable:
    _, (unreadable,) = read(written(folder, text))
    return unreadable


def test_each_document_knows_where_it_and_its_fields_stand(tmp_path: Path) -> None:
    text = "# first\nkind: A\n---\n\nkind: B\nspec:\n  headers:\n  - name: x\n    value: y\n"
    first, second = read(written(tmp_path, text))[0]
    assert (first.kind, first.line, second.kind, second.line) == ("A", 2, "B", 5)
    assert second.line_of(("spec", "headers", 0, "value")) == 9
    assert second.line_of(("spec", "headers", 0, "missing")) == 8
    assert second.line_of(("spec", "missing", "deep")) == 6
    assert second.line_of(()) == 5


def test_empty_documents_are_nothing(tmp_path: Path) -> None:
    assert read(written(tmp_path, "---\n---\n# only a comment\n---\n")) == ([], [])


def test_a_list_is_its_items(tmp_path: Path) -> None:
    text = "kind: List\nitems:\n- kind: A\n  spec: {x: 1}\n- kind: B\n"
    documents, _ = read(written(tmp_path, text))
    assert [(each.kind, each.line, each.line_of(("spec", "x"))) for each in documents] == [("A", 3, 4), ("B", 5, 5)]


def test_dates_stay_text_as_kubectl_reads_them(tmp_path: Path) -> None:
    assert only(tmp_path, "kind: A\nspec: {description: 2026-11-24}\n").data["spec"]["description"] == "2026-11-24"


def test_broken_yaml_is_named_by_its_line_without_its_content(tmp_path: Path) -> None:
    found = broken(tmp_path, "kind: A\nstringData:\n  secret: 'canary-1\n")
    assert found.line >= 3
    assert "canary" not in found.message


def test_a_field_that_stands_twice_is_refused(tmp_path: Path) -> None:
    found = broken(tmp_path, "kind: A\nspec:\n  url: a\n  url: b\n")
    assert (found.line, found.message) == (
        4,
        'is not YAML: duplicate field: "url"; keep one of them',
    )


@pytest.mark.parametrize("text", ["just text\n", "- a\n- b\n", "5\n"])
def test_what_is_no_mapping_is_no_manifest(tmp_path: Path, text: str) -> None:
    assert "must be a mapping" in broken(tmp_path, text).message


def test_documents_before_a_broken_one_are_kept(tmp_path: Path) -> None:
    documents, unreadable = read(written(tmp_path, "kind: A\n---\nkind: [\n"))
    assert ([each.kind for each in documents], len(unreadable)) == (["A"], 1)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"kind: \x00", b"\xc3\x28"])
def test_what_is_no_text_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    assert read(file)[1][0].message == "is not YAML text in UTF-8"


def test_deep_nesting_and_nested_aliases_end(tmp_path: Path) -> None:
    assert broken(tmp_path, "a: " + "[" * 5000).line == 1
    laughs = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    assert only(tmp_path, laughs).line_of(("t",)) == 20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in read(tmp_path / "none.yaml")[1][0].message


def test_folders_are_searched_and_hidden_and_other_files_left_out(tmp_path: Path) -> None:
    for name in ["b.yaml", "a.yml", "deep/c.json", ".hidden/d.yaml", ".e.yaml", "f.txt"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("kind: A\n")
    assert [each.relative_to(tmp_path).as_posix() for each in files_in([tmp_path])] == [
        "a.yml",
        "b.yaml",
        "deep/c.json",
    ]
    named = tmp_path / "f.txt"
    assert files_in([named, named]) == [named]
