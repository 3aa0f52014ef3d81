"""Manifests in files: YAML to documents that know the line of each field. Checks only what YAML itself demands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hookline.events.explain import quoted
from hookline.resources.problems import Path as FieldPath
from hookline.resources.safeyaml import Loader

SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Document:
    """One YAML document, or one item of a List: where it begins, what it holds, where its fields stand."""

    file: Path
    line: int
    data: Mapping[str, Any] = field(repr=False)
    lines: Mapping[FieldPath, int] = field(repr=False)

    def line_of(self, path: FieldPath) -> int:
        """The line of a field, or of the nearest field around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)

    @property
    def kind(self) -> str:
        return text(self.data.get("kind"))


@dataclass(frozen=True)
class Unreadable:
    """A file, or a part of it, that is no YAML manifest."""

    file: Path
    line: int
    message: str


def text(value: object) -> str:
    """A field that must be text, where nothing has been checked yet; empty if it is none.

    Never `str` of what a file holds: nested aliases could stand for billions of values.
    """
    return value if isinstance(value, str) else ""


def files_in(paths: Iterable[Path]) -> list[Path]:
    """The manifest files that `paths`, files or folders, stand for. A file given by name counts whatever its ending."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = (each for each in sorted(path.rglob("*")) if each.suffix in SUFFIXES and each.is_file())
            found |= dict.fromkeys(each for each in inside if not _hidden(each.relative_to(path)))
        else:
            found[path] = None
    return list(found)


def read(file: Path) -> tuple[list[Document], list[Unreadable]]:
    """All documents of a file. One that is broken ends the reading: what follows cannot be told apart."""
    documents: list[Document] = []
    try:
        content = file.read_text(encoding="utf-8")
        loader = Loader(content)
        while loader.check_node():
            documents.extend(_documents(file, loader.get_node(), loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The problem is YAML's own words about syntax; the context may quote the file, which may hold secrets.
        return documents, [Unreadable(file, mark.line + 1 if mark else 1, f"is not YAML: {error.problem}")]
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return documents, [Unreadable(file, 1, "is not YAML text in UTF-8")]
    except OSError as error:
        return documents, [Unreadable(file, 1, f"cannot be read: {error.strerror}")]
    except RecursionError:
        return documents, [Unreadable(file, 1, "is nested too deeply")]
    return documents, []


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _documents(file: Path, node: yaml.Node | None, loader: yaml.SafeLoader) -> Iterator[Document]:
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise yaml.MarkedYAMLError(
            problem="a manifest must be a mapping with kind and metadata", problem_mark=node.start_mark
        )
    lines: dict[FieldPath, int] = {}
    _note_lines(node, (), lines, set())
    data = loader.construct_document(node)
    if data.get("kind") == "List" and isinstance(data.get("items"), list):
        for index, item in enumerate(data["items"]):
            if isinstance(item, dict):
                start: FieldPath = ("items", index)
                inside = {path[2:]: number for path, number in lines.items() if path[:2] == start}
                yield Document(file, lines.get(start, line), item, inside)
        return
    yield Document(file, line, data, lines)


def _note_lines(node: yaml.Node, path: FieldPath, lines: dict[FieldPath, int], seen: set[int]) -> None:
    """Where each field stands. An alias is followed once: nested aliases could stand for billions of fields."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _refuse_repeats(node)
        for key, value in node.value:
            here = (*path, str(key.value))
            lines[here] = key.start_mark.line + 1
            _note_lines(value, here, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _note_lines(value, (*path, index), lines, seen)


def _refuse_repeats(node: yaml.MappingNode) -> None:
    """A key written twice is refused as by a strict kubectl: one of the two would be lost without a word."""
    names: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a field's name must be text", problem_mark=key.start_mark)
        if key.value in names:
            problem = f"duplicate field: {quoted(key.value)}; keep one of them"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        names.add(key.value)
