"""`make generate`: writes the files that come from the code, or with --check says which differ.

The only module that writes into the source tree: crds/, schemas/, manifests/samples/, and pages and tables in docs/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from hookline.delivery.policy import retry
from hookline.events import builtin_events, notices
from hookline.local import samples
from hookline.resources import crds, fieldreference
from hookline.resources.reasons import DispatcherReason, EventTypeReason, ReplayReason, WebhookReason, table
from hookline.routing import book_files
from hookline.runtime import metrics
from hookline.stream import permissions
from hookline.stream.queue_problem import QueueReason

ROOT = Path(__file__).parents[2]
OUTCOMES, CONDITIONS, METRICS = Path("docs/outcomes.md"), Path("docs/conditions.md"), Path("docs/metrics.md")
NATS_USER = Path("docs/nats-user.conf")
CONDITION_REASONS = (WebhookReason, DispatcherReason, QueueReason, EventTypeReason, ReplayReason)
"""The tables of docs/conditions.md, in their order."""

_BEGIN, _END = "<!-- made by `make generate` -->\n", "<!-- end -->"


def generated() -> dict[Path, str]:
    """Every generated file: path from the root of the checkout, and text."""
    return {
        **{Path("crds") / name: text for name, text in crds.crd_files().items()},
        **{Path("schemas") / name: text for name, text in builtin_events.schema_files().items()},
        **{Path("schemas") / name: text for name, text in notices.schema_files().items()},
        **{Path("schemas") / name: text for name, text in book_files.contracts().items()},
        **{Path("manifests/samples") / name: text for name, text in samples.sample_files().items()},
        Path("docs/fields.md"): fieldreference.page(crds.crd(kind) for kind in crds.KINDS),
        OUTCOMES: _with_tables(OUTCOMES, [retry.table()]),
        NATS_USER: permissions.example(),
        CONDITIONS: _with_tables(CONDITIONS, map(table, CONDITION_REASONS)),
        METRICS: _with_tables(METRICS, metrics.tables()),
    }


def stale() -> list[Path]:
    """Files that `make generate` would write or remove."""
    files = generated()
    differing = [path for path, text in files.items() if not _holds(ROOT / path, text)]
    there = [path for folder in ("crds", "schemas", "manifests/samples") for path in (ROOT / folder).rglob("*.*")]
    return sorted([*differing, *({path.relative_to(ROOT) for path in there} - files.keys())])


def main() -> None:
    paths = stale()
    if "--check" in sys.argv[1:]:
        if paths:
            names = ", ".join(map(str, paths))
            sys.exit(f"generated files are not current: {names}; run: make generate")
        return
    files = generated()
    for path in paths:
        if path in files:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path], encoding="utf-8")
        else:
            (ROOT / path).unlink()
        sys.stdout.write(f"{path}\n")


def _with_tables(path: Path, tables: Iterable[str]) -> str:
    """The page as it is, with each table in its place."""
    first, *rest = (ROOT / path).read_text(encoding="utf-8").split(_BEGIN)
    parts = [f"{table}\n{part[part.index(_END) :]}" for table, part in zip(tables, rest, strict=True)]
    return _BEGIN.join([first, *parts])


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    main()
