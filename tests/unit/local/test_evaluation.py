from __future__ import annotations

from pathlib import Path

import pytest

from hookline.local import evaluation
from hookline.local.evaluation import Evaluated, Finding, Level
from hookline.local.manifests import read
from hookline.local.run import Manifests
from hookline.routing.routes import ROTATION_SECONDS, Book, RouteState
from hookline.routing.signing import public_key

HOOK = """
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {{name: {name}}}
spec: {{url: "https://example.com/", event: {event}}}
"""


def judged(
    folder: Path, text: str, *, dispatcher: str = "", before: Book | None = None, now_s: float = 0.0
) -> Evaluated:
    file = folder / "a.yaml"
    file.write_text(text)
    understood = evaluation.understand(*read(file))
    keys = {each.uid: before.keys(each.uid) for each in before.routes()} if before else None
    result = evaluation.evaluate(
        understood.objects,
        refused=understood.refused,
        dispatcher=dispatcher,
        keys_before=keys,
        now_s=now_s,
    )
    return Evaluated(result.book, [*understood.findings, *result.findings])


def hook(name: str = "one", event: str = "IdentityCreated") -> str:
    return HOOK.format(name=name, event=event)


def signed_hook(key: str, *, allowed: str = "true") -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: keys, labels: {{hookline.dev/allow-webhooks: "{allowed}"}}}}
stringData: {{secret: "{key}"}}
---
apiVersion: hookline.dev/v1alpha1
kind: Webhook
metadata: {{name: one}}
spec: {{url: "https://example.com/", event: IdentityCreated, secretRef: {{name: keys}}}}
"""


def publisher(token: str, labels: str = "", annotations: str = "") -> str:
    return f"""
apiVersion: v1
kind: Secret
metadata: {{name: ci, labels: {{hookline.dev/publisher: "true"{labels}}}, annotations: {{{annotations}}}}}
stringData: {{token: "{token}"}}
"""


def test_a_token_to_publish_with_is_told_from_a_secret_that_nobody_uses(tmp_path: Path) -> None:
    token = "4f1c77aa90be23d5618f0c4e7a9b3d26"
    (found,) = judged(tmp_path, publisher(token)).findings
    assert (found.level, found.message) == (Level.OK, "a token to publish with for default, in a cluster")
    (found,) = judged(tmp_path, publisher(token, ', hookline.dev/allow-webhooks: "true"')).findings
    assert found.message.startswith("allowed for Webhooks; a token")


def test_a_token_that_no_gateway_would_take_is_told_with_its_place_and_not_shown(tmp_path: Path) -> None:
    (found,) = judged(tmp_path, publisher("guessable-canary")).findings
    assert (found.level, found.field) == (Level.WAITING, "data.token")
    assert "can be guessed" in found.message
    assert "canary" not in str(found)
    (found,) = judged(
        tmp_path, publisher("4f1c77aa90be23d5618f0c4e7a9b3d26", "", "hookline.dev/event-types: x y")
    ).findings
    assert found.field == "metadata.annotations.hookline.dev/event-types"


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


def test_which_nats_dispatchers_name_counts_for_check_and_not_for_a_run_that_uses_none_of_them(tmp_path: Path) -> None:
    fleets = "".join(
        f"apiVersion: hookline.dev/v1alpha1\nkind: Dispatcher\nmetadata: {{name: {name}}}\n---\n"
        for name in ("a", "default")
    )
    checked, run = (judged(tmp_path, fleets + hook(), dispatcher=name) for name in ("", "default"))
    assert [each.level for each in checked.findings] == [Level.OK, Level.WAITING, Level.WAITING]
    assert "NATSInUse: the Dispatcher a " in checked.findings[1].message
    assert (checked.findings[1].field, checked.findings[1].line) == ("spec.nats", 5)
    assert [each.level for each in run.findings] == [Level.OK] * 3
    assert [each.state for each in run.book.routes()] == [RouteState.ACTIVE]


def test_a_replay_waits_for_a_webhook_that_the_documents_do_not_hold(tmp_path: Path) -> None:
    replay = (
        "apiVersion: hookline.dev/v1alpha1\nkind: Replay\nmetadata: {name: outage}\nspec: {webhook: {name: %s}}\n---\n"
    )
    found = judged(tmp_path, replay % "one" + hook()).findings
    assert {each.level for each in found} == {Level.OK}
    (missing,) = [each for each in judged(tmp_path, replay % "other" + hook()).findings if each.level is not Level.OK]
    assert (missing.level, missing.message.split(":")[0]) == (Level.WAITING, "WebhookNotFound")


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
    before = evaluation.understand(*read(file)).objects
    file.write_text(hook().replace("https", "http"))
    wrong = evaluation.understand(*read(file))
    assert evaluation.keep_last_good(wrong, before) == before
    file.write_text("kind: [")
    broken = evaluation.understand(*read(file))
    assert evaluation.keep_last_good(broken, before) == before
    file.write_text("")
    assert evaluation.keep_last_good(evaluation.understand(*read(file)), before) == {}
    assert evaluation.keep_last_good(evaluation.understand(*read(file)), before, [file]) == before


@pytest.mark.parametrize("kind", ["webhook", "WebHook", "WEBHOOK", "Webhoook", "Webhooks", "", "Subscription"])
def test_a_kind_that_hookline_does_not_have_is_refused_and_names_the_one_that_was_meant(
    tmp_path: Path, kind: str
) -> None:
    found = judged(tmp_path, hook().replace("kind: Webhook", f"kind: {kind}")).findings[0]
    assert (found.level, found.line, found.field) == (Level.WRONG, 3, "kind")
    meant = (
        "did you mean Webhook?"
        if kind.lower().startswith("web")
        else "its kinds are Webhook, EventType, Dispatcher, Replay"
    )
    assert found.message == f"is not a kind of hookline.dev/v1alpha1; {meant}"


@pytest.mark.parametrize(
    ("head", "field", "says"),
    [
        ("kind: Webhook", "apiVersion", "must be hookline.dev/v1alpha1; write apiVersion: hookline.dev/v1alpha1"),
        ("apiVersion: v1\nkind: Webhook", "apiVersion", "must be hookline.dev/v1alpha1; "),
        ("apiVersion: hookline.io/v1alpha1\nkind: webhook", "kind", "did you mean Webhook?"),
        ("apiVersion: Hookline.dev/v1alpha1\nkind: Webhook", "apiVersion", "must be hookline.dev/v1alpha1; "),
        ("apiVersion: hookline.dev/v1\nkind: Webhook", "apiVersion", "v1alpha1"),
        ("apiVersion: hookline.dev\nkind: Webhook", "apiVersion", "v1alpha1"),
        ("apiVersion: v1\nkind: secret", "kind", "is not a kind of v1; did you mean Secret?"),
        ("kind: Secret", "apiVersion", "must be v1; write apiVersion: v1"),
        ("apiVersion: hookline.dev/v1alpha1\nkind: Secret", "apiVersion", "must be v1; write apiVersion: v1"),
        ("apiVersion: v1\nkind: namespace", "kind", "did you mean Namespace?"),
        ("apiVersion: hookline.dev/v1alpha1\nkind: eventtype", "kind", "did you mean EventType?"),
    ],
)
def test_what_the_api_server_would_not_know_is_refused(tmp_path: Path, head: str, field: str, says: str) -> None:
    found = judged(tmp_path, f"{head}\nmetadata: {{name: a}}\n").findings[0]
    assert (found.level, found.field) == (Level.WRONG, field)
    assert says in found.message


@pytest.mark.parametrize(
    "head",
    ["apiVersion: other.dev/v1\nkind: Webhook", "apiVersion: x.io/v1\nkind: Secret", "services: {}", "kind: Service"],
)
def test_documents_of_others_are_left_alone(tmp_path: Path, head: str) -> None:
    assert judged(tmp_path, head).findings[0].message.endswith(evaluation.LEFT_ALONE)


def test_names_that_a_terminal_would_obey_are_shown_escaped(tmp_path: Path) -> None:
    text = 'apiVersion: hookline.dev/v1alpha1\nkind: "Web\\e[2J"\nmetadata: {name: "a\\nb"}\n---\n'
    text += hook().replace("spec: {", 'spec: {"\\e[2J": 1, ')
    assert all(str(each).isprintable() for each in judged(tmp_path, text).findings)


@pytest.mark.parametrize(("namespace", "name"), [("a", "b" * 300), ("a" * 64, "b"), ("a/b", "c"), ("", "")])
def test_a_refused_webhook_whose_names_no_object_can_have_is_in_no_book(
    tmp_path: Path, namespace: str, name: str
) -> None:
    text = f"apiVersion: hookline.dev/v1alpha1\nkind: Webhook\nmetadata: {{namespace: '{namespace}', name: '{name}'}}\n"
    assert list(judged(tmp_path, text).book.routes()) == []


KEYS = ["whsec_" + letter * 43 + "=" for letter in "ABC"]


class Files:
    """What `hookline run` does with manifests, look by look; `restart` forgets all but the book."""

    def __init__(self, folder: Path, *paths: Path) -> None:
        self.folder, self.paths = folder, paths or (folder,)
        self.said: list[Finding] = []
        self.book = Book({})
        self.restart()

    def restart(self) -> None:
        self.manifests = Manifests(self.paths)

    def look(self, now_s: float = 1000) -> list[str]:
        """What is said."""
        if not self.manifests.changed():
            return []
        routes = {each.title: each for each in self.book.routes()}
        judged = self.manifests.judge(routes, {each.uid: self.book.keys(each.uid) for each in routes.values()}, now_s)
        said, self.said, self.book = evaluation.news(self.said, judged.findings), list(judged.findings), judged.book
        return [str(each).replace(f"{self.folder}/", "") for each in said]

    def states(self) -> dict[str, tuple[RouteState, str | None]]:
        return {each.name: (each.state, each.event) for each in self.book.routes()}

    def signing(self, now_s: float = 1001) -> tuple[str, ...]:
        (route,) = self.book.routes()
        return self.book.keys(route.uid).signing_at(now_s)


WELL = (RouteState.ACTIVE, "IdentityCreated")
WAITS = (RouteState.HELD, "IdentityCreated")


@pytest.mark.parametrize("named", [True, False], ids=["file", "folder"])
def test_a_deleted_file_takes_its_webhooks_out_at_the_second_look(tmp_path: Path, named: bool) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(hook())
    run = Files(tmp_path, *([file] if named else []))
    run.look()
    file.unlink()
    run.look()
    assert run.states() == {"one": WELL}, "an editor may be saving it"
    said = run.look()
    assert run.states() == {}
    assert said == (["a.yaml:1: file: is not there: what it held is no longer in force"] if named else [])
    assert run.look() == []
    file.write_text(hook())
    assert any("will be sent" in each for each in run.look())
    assert run.states() == {"one": WELL}


def test_a_file_that_is_away_for_one_look_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(signed_hook(KEYS[0]))
    run = Files(tmp_path, file)
    run.look()
    file.unlink()
    assert run.look() == []
    file.write_text(signed_hook(KEYS[1]))
    run.look()
    assert run.states() == {"one": WELL}
    assert run.signing() == (KEYS[1], KEYS[0])
    file.unlink()
    run.look()
    assert run.states() == {"one": WELL}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [
        signed_hook(KEYS[1]).replace("kind: Webhook", "kind: WebHook"),
        signed_hook(KEYS[1]).replace("https", "http"),
        signed_hook(KEYS[1]).replace("kind: Secret", "kind: secret"),
        signed_hook(KEYS[1]).replace("stringData", "data"),
        signed_hook(KEYS[1]) + "---\nkind: [",
        "kind: [",
    ],
)
def test_a_rotation_keeps_its_overlap_whatever_was_wrong_in_between(tmp_path: Path, wrong: str, restart: bool) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(signed_hook(KEYS[0]))
    run = Files(tmp_path, file)
    run.look()
    file.write_text(wrong)
    if restart:
        run.restart()
    said = run.look()
    assert any(" (" in each and ("in force" in each or "wait" in each) for each in said), said
    assert run.states() in ({"one": WAITS if restart else WELL}, {"one": WELL})
    file.write_text(signed_hook(KEYS[2]))
    said = run.look()
    assert run.states() == {"one": WELL}
    assert KEYS[0] in run.signing()
    assert run.signing()[0] == KEYS[2]
    assert said, "it says that it is right again"


def test_what_stays_in_force_and_that_it_is_right_again_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(hook())
    run = Files(tmp_path, file)
    (ready,) = run.look()
    file.write_text(hook().replace("https", "http").replace("IdentityCreated", '""'))
    first, *others = run.look()
    assert first.endswith(" (the version before stays in force)")
    assert others
    assert not any("stays" in each for each in others)
    file.write_text("\n\n" + hook().replace("https", "http").replace("IdentityCreated", '""'))
    assert run.look() == [], "lines that moved are no news"
    file.write_text(hook())
    assert run.look() == [ready]
    file.write_text("kind: [")
    (broken,) = run.look()
    assert broken.endswith(" (what it held stays in force: Webhook default/one)")
    file.write_text(hook())
    assert run.look() == ["a.yaml:1: file: is read again"]
    run.restart()
    file.write_text("kind: [")
    assert run.look()[0].endswith(" (Webhooks from before that no other file holds wait: Webhook default/one)")
    assert run.states() == {"one": WAITS}


def test_what_was_wrong_from_the_start_is_not_said_to_wait(tmp_path: Path) -> None:
    run = Files(tmp_path)
    (tmp_path / "a.yaml").write_text("kind: [")
    (tmp_path / "b.yaml").write_text(hook().replace("https", "http"))
    for _ in range(2):
        said = run.look()
        assert [each.endswith(" (nothing of it is in force)") for each in said] == [True, True]
        # The book knows its name by now, and nothing else of it.
        run.restart()
        run.said = []


def test_a_webhook_that_is_taken_out_is_not_said_to_wait_because_another_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(hook())
    (tmp_path / "b.yaml").write_text("")
    run = Files(tmp_path)
    run.look()
    (tmp_path / "a.yaml").write_text("")
    (tmp_path / "b.yaml").write_text("kind: [")
    (said,) = run.look()
    assert said.endswith(" (nothing of it is in force)")
    assert run.states() == {}


def test_a_webhook_that_is_wrong_after_a_restart_waits_and_one_that_is_new_does_not(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(hook())
    run = Files(tmp_path, file)
    run.look()
    run.restart()
    file.write_text(hook().replace("https", "http") + "---\n" + hook("two").replace("https", "http"))
    old, new = run.look()
    assert old.endswith(" (what it had waits)")
    assert new.endswith(" (nothing of it is in force)")


def test_a_webhook_waits_for_an_event_type_that_cannot_be_read_after_a_restart(tmp_path: Path) -> None:
    event_type = (
        "apiVersion: hookline.dev/v1alpha1\nkind: EventType\nmetadata: {name: order}\n"
        "spec: {event: order, schema: {type: object}}\n---\n"
    )
    (tmp_path / "types.yaml").write_text(event_type)
    (tmp_path / "hooks.yaml").write_text(hook(event="order"))
    run = Files(tmp_path)
    run.look()
    for wrong in (event_type.replace("object", "objct"), "kind: ["):
        (tmp_path / "types.yaml").write_text(wrong)
        run.restart()
        run.look()
        assert run.states() == {"one": (RouteState.HELD, "order")}
    (tmp_path / "types.yaml").write_text(event_type)
    run.look()
    assert run.states() == {"one": (RouteState.ACTIVE, "order")}


def test_labels_of_a_namespace_stay_while_its_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: hookline.dev/v1alpha1\nkind: Dispatcher\nmetadata: {name: default}\n"
        "spec: {servedNamespaces: {from: Selector, selector: {matchLabels: {team: a}}}}\n---\n" + hook()
    )
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: a}}\n")
    run = Files(tmp_path)
    run.look()
    (tmp_path / "b.yaml").write_text("kind: [")
    run.look()
    assert run.states() == {"one": WELL}


def test_a_secret_that_was_taken_back_signs_nothing_although_another_document_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(signed_hook(KEYS[0]))
    run = Files(tmp_path, file)
    run.look()
    file.write_text(signed_hook(KEYS[0], allowed="false") + "---\n" + hook("two").replace("https", "http"))
    run.look()
    route = next(each for each in run.book.routes() if each.name == "one")
    assert run.book.keys(route.uid).signing_keys == ()


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


def signing(found: Evaluated, now_s: float) -> tuple[str, ...]:
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
    held = judged(tmp_path, signed_hook(old, allowed="false"), before=first.book, now_s=1000)
    assert signing(held, 1000) == ()
    assert signing(judged(tmp_path, signed_hook(new), before=held.book, now_s=1001), 1001) == (new,)
