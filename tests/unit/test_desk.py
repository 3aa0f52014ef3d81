from __future__ import annotations

from pathlib import Path

import pytest

from hookline.local import desk
from hookline.local.desk import Judged, Level
from hookline.local.manifests import read
from hookline.routes import ROTATION_SECONDS, Book, RouteState
from hookline.signing import public_key

HOOK = """
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {{name: {name}}}
spec: {{url: "https://example.com/", event: {event}}}
"""


def judged(folder: Path, text: str, *, dispatcher: str = "", before: Book | None = None, now_s: float = 0.0) -> Judged:
    file = folder / "a.yaml"
    file.write_text(text)
    understood = desk.understand(*read(file))
    keys = {each.uid: before.keys(each.uid) for each in before.routes()} if before else None
    result = desk.judge(
        understood.objects,
        refused=understood.refused,
        dispatcher=dispatcher,
        namespace_labels=understood.namespace_labels,
        keys_before=keys,
        now_s=now_s,
    )
    return Judged(result.book, [*understood.findings, *result.findings])


def hook(name: str = "one", event: str = "IdentityCreated") -> str:
    return HOOK.format(name=name, event=event)


def test_kinds_of_others_are_left_alone(tmp_path: Path) -> None:
    found = judged(tmp_path, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n" + hook())
    assert [each.level for each in found.findings] == [Level.NOTE, Level.OK]


def test_an_object_that_is_defined_twice_is_named_with_its_first_place(tmp_path: Path) -> None:
    (wrong, ok) = judged(tmp_path, f"{hook()}---\n{hook()}").findings
    assert (wrong.level, ok.level) == (Level.WRONG, Level.OK)
    assert f"{tmp_path / 'a.yaml'}:2" in wrong.message


def test_a_custom_event_type_makes_its_event_known(tmp_path: Path) -> None:
    event_type = """
apiVersion: hookline.dev/v1alpha1
kind: EventType
metadata: {name: order.paid}
spec: {event: order.paid, schema: {type: object}}
---
"""
    unknown = judged(tmp_path, hook(event="order.paid"))
    assert "UnknownEvent" in unknown.findings[0].message
    known = judged(tmp_path, event_type + hook(event="order.paid"))
    assert {each.level for each in known.findings} == {Level.OK}
    assert [each.name for each in known.book.types] == ["order.paid"]


def test_a_schema_that_is_none_is_refused_at_its_line(tmp_path: Path) -> None:
    text = (
        "apiVersion: hookline.dev/v1alpha1\nkind: EventType\nmetadata: {name: a}\n"
        "spec:\n  event: A\n  schema: {type: objct}\n"
    )
    (found,) = judged(tmp_path, text).findings
    assert (found.level, found.line, found.field) == (Level.WRONG, 6, "spec.schema")


def test_a_webhook_of_another_dispatcher_is_noted_and_not_in_the_book(tmp_path: Path) -> None:
    fleet = "apiVersion: hookline.dev/v1alpha1\nkind: Dispatcher\nmetadata: {name: edge}\n---"
    text = fleet + hook().replace("spec: {", "spec: {dispatcher: edge, ")
    found = judged(tmp_path, text, dispatcher="default")
    assert list(found.book.routes()) == []
    assert any(each.level is Level.NOTE and "edge" in each.message for each in found.findings)
    assert len(list(judged(tmp_path, text).book.routes())) == 1


def test_a_dispatcher_serves_the_namespaces_that_the_documents_label(tmp_path: Path) -> None:
    fleet = (
        "apiVersion: hookline.dev/v1alpha1\nkind: Dispatcher\nmetadata: {name: default}\n"
        "spec: {servedNamespaces: {from: Selector, selector: {matchLabels: {team: a}}}}\n---\n"
    )
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: %s}}\n---\n"
    for before in (fleet, fleet + namespace % "b"):
        assert any("NamespaceNotServed" in each.message for each in judged(tmp_path, before + hook()).findings)
    found = judged(tmp_path, fleet + namespace % "a" + hook())
    assert {each.level for each in found.findings} == {Level.OK}
    named = fleet.replace("team: a", "kubernetes.io/metadata.name: default")
    assert {each.level for each in judged(tmp_path, named + hook()).findings} == {Level.OK}


def test_a_refused_webhook_of_which_nothing_valid_is_known_keeps_what_it_had(tmp_path: Path) -> None:
    found = judged(tmp_path, hook().replace("https", "http"))
    (route,) = found.book.routes()
    assert (route.state, route.event, route.title) == (RouteState.HELD, None, "default/one")


def test_the_last_good_version_stays_while_the_new_one_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(hook())
    before = desk.understand(*read(file)).objects
    file.write_text(hook().replace("https", "http"))
    wrong = desk.understand(*read(file))
    assert desk.keep_last_good(wrong, before, []) == before
    file.write_text("kind: [")
    broken = desk.understand(*read(file))
    assert desk.keep_last_good(broken, before, [file]) == before
    file.write_text("")
    assert desk.keep_last_good(desk.understand(*read(file)), before, []) == {}


def test_metadata_of_a_strange_form_is_a_finding_and_no_exception(tmp_path: Path) -> None:
    for metadata in ["5", "[a]", "{name: 5}", "{name: a, labels: [x]}", ""]:
        for kind, version in [("Webhook", "hookline.dev/v1alpha1"), ("Secret", "v1")]:
            text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {metadata}\n"
            assert judged(tmp_path, text).findings[0].level is Level.WRONG, text


@pytest.mark.parametrize(
    "field", ["metadata: {name: *l40}", "metadata: {namespace: *l40}", "kind: *l40", "apiVersion: *l40"]
)
def test_a_field_of_nested_aliases_is_never_written_out(tmp_path: Path, field: str) -> None:
    """2 ** 40 values: whoever makes a text of them never ends."""
    levels = "".join(f"  l{level}: &l{level} [*l{level - 1}, *l{level - 1}]\n" for level in range(1, 41))
    fields = {"apiVersion": "hookline.dev/v1alpha1", "kind": "Webhook", "metadata": "{}"}
    name, value = field.split(": ", 1)
    text = f"zz:\n  l0: &l0 x\n{levels}" + "".join(f"{a}: {b}\n" for a, b in {**fields, name: value}.items())
    assert judged(tmp_path, text).findings


def signed_hook(key: str, *, lent: str = "true") -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: keys, labels: {{hookline.dev/allow-webhooks: "{lent}"}}}}
stringData: {{secret: "{key}"}}
---
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {{name: one}}
spec: {{url: "https://example.com/", event: IdentityCreated, secretRef: {{name: keys}}}}
"""


def signing(found: Judged, now_s: float) -> tuple[str, ...]:
    (route,) = found.book.routes()
    return found.book.keys(route.uid).signing_at(now_s)


def test_a_replaced_signing_key_signs_on_for_a_day(tmp_path: Path) -> None:
    old, new = ("whsec_" + letter * 43 + "=" for letter in "AB")
    first = judged(tmp_path, signed_hook(old))
    second = judged(tmp_path, signed_hook(new), before=first.book, now_s=1000)
    assert signing(second, 1000) == (new, old)
    again = judged(tmp_path, signed_hook(new), before=second.book, now_s=2000)
    assert signing(again, 1000 + ROTATION_SECONDS - 1) == (new, old)
    late = judged(tmp_path, signed_hook(new), before=second.book, now_s=1000 + ROTATION_SECONDS)
    (route,) = late.book.routes()
    assert late.book.keys(route.uid).retired == ()


def test_whoever_signs_with_a_private_key_is_told_the_public_one(tmp_path: Path) -> None:
    old, new = ("whsk_" + letter * 43 + "=" for letter in "AE")
    first = judged(tmp_path, signed_hook(old))
    assert [each.message for each in first.findings][-1] == f"receivers verify v1a signatures with {public_key(old)}"
    second = judged(tmp_path, signed_hook(new), before=first.book, now_s=1000)
    said = [each.message for each in second.findings if "v1a" in each.message]
    assert said == [
        f"receivers verify v1a signatures with {public_key(new)}",
        f"receivers verify v1a signatures with {public_key(old)}, the key before, until 1970-01-02T00:16:40Z",
    ]
    assert {each.level for each in second.findings} == {Level.OK}
    assert not any(key in str(each) for key in (old, new) for each in second.findings)


def test_a_key_that_is_no_longer_lent_signs_nothing_more(tmp_path: Path) -> None:
    old, new = ("whsec_" + letter * 43 + "=" for letter in "AB")
    first = judged(tmp_path, signed_hook(old))
    held = judged(tmp_path, signed_hook(old, lent="false"), before=first.book, now_s=1000)
    assert signing(held, 1000) == ()
    assert signing(judged(tmp_path, signed_hook(new), before=held.book, now_s=1001), 1001) == (new,)
