"""The pages of the API: which request is answered by what, for whom, and in which order it is judged.

Who asks comes first, then whether he may, and only then whether there is anything: so nobody can guess what he may not
see. What is in the log decides the Log; words and forms are in the modules beside this one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hookline.api import discovery, openapi
from hookline.api.actions import Actions, CannotBeDone, NoActions, NoSuchWebhook
from hookline.api.answers import (
    ClientGone,
    Headers,
    encoded,
    read_json,
    send_bytes,
    send_document,
    send_json,
    send_status,
    while_heard,
)
from hookline.api.kinds import API_VERSION, ATTEMPTS, DEAD_LETTERS, GROUP, WEBHOOK_TESTS
from hookline.api.listing import item_in, send_list
from hookline.api.log import Expired, Log, Unreadable
from hookline.api.objects import attempt_content, uid_of
from hookline.api.query import Form, Options, dry_run, form_of, options, parameters
from hookline.api.shelves import shelves
from hookline.api.status import (
    AGAIN_SECONDS,
    Refused,
    bad_request,
    conflict,
    expired,
    invalid,
    method_not_allowed,
    no_such_page,
    not_found,
    success,
    too_slow,
    unavailable,
    verb_not_supported,
)
from hookline.api.table import table
from hookline.api.targets import Target, right_to, target_of, verb_of
from hookline.api.under_way import Bounds, Places
from hookline.api.users import Users
from hookline.api.watching import Watch
from hookline.runtime.tasks import Deadline
from hookline.serving.api_server import User
from hookline.serving.refusal import Cut

_HEALTH = ("/livez", "/readyz", "/healthz")
_MAX_NAME_CHARACTERS = 253

_BESIDE = "/apis/hookline.dev/"

_NOT_KNOWN = "The provided resourceVersion is not known here: list again without it"
_GONE = "The provided continue parameter is too old to go on from: list again without it"


LIST_SECONDS = 60.0
"""Of one list, its reader's time included: as kube-apiserver has it. Whoever reads slowly keeps a place from others."""


class Api:
    """An ASGI application. `unready` says why it should not be asked now, if that is so."""

    def __init__(
        self,
        log: Log,
        users: Users,
        actions: Actions | None = None,
        *,
        unready: Callable[[], str | None] = lambda: None,
        missing: Callable[[], Sequence[str]] = lambda: (),
        only: str | None = None,
        beside: ASGIApp | None = None,
        tell: Callable[[str, str, int], None] = lambda *_: None,
        bounds: Bounds = Bounds(),  # noqa: B008  # frozen
    ) -> None:
        """`missing` names Dispatchers of which nothing is known now, `only` the one namespace that is answered for.
        `beside` has the pages of Hookline's other resources where there is no cluster, for the same callers. `tell` is
        told verb, resource and code of each answer."""
        self._log = log
        self._users = users
        self._actions = actions or NoActions()
        self._unready = unready
        self._missing = missing
        self._only = only
        self._beside = beside
        self._tell = tell
        self._shelves = shelves(log)
        self._requests = Places("requests", bounds.requests, bounds.requests_of_one)
        self._watches = Places("watches", bounds.watches, bounds.watches_of_one)
        self._stopping = asyncio.Event()
        self._documents: Mapping[str, Callable[[], object]] = {
            "/apis": discovery.group_list,
            f"/apis/{GROUP}": discovery.group,
            f"/apis/{API_VERSION}": discovery.resource_list,
            "/openapi/v2": openapi.v2,
            "/openapi/v3": openapi.v3_root,
            "/version": discovery.version,
        }

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return self._watches.used

    def end_watches(self) -> None:
        """The process is about to end: clients are to go on elsewhere."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = target_of(scope["path"])
        code = 0

        async def telling(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._said(scope, receive, telling)
        finally:
            resource = target.resource.plural if target is not None else "other"
            watch = target is not None and not target.name and b"watch" in scope["query_string"]
            verb = verb_of(scope["method"], target, watch=watch) if target is not None else "other"
            self._tell(verb or "other", resource, code)

    async def _said(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        except Refused as error:
            await send_status(send, error.status, head=scope["method"] == "HEAD")
        except Unreadable as error:
            await send_status(send, unavailable(str(error), AGAIN_SECONDS if error.soon else None))
        except Expired:
            await send_status(send, expired(_GONE))
        except ClientGone:
            return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") or "/"
        if path in _HEALTH:
            await self._health(path, scope["method"], send)
            return
        user = await self._users.user(scope)
        target = target_of(path)
        if target is not None:
            await self._of_objects(user, target, scope, receive, send)
            return
        if self._beside is not None and path.startswith(_BESIDE):
            await self._beside(scope, receive, send)
            return
        if path not in self._documents and path != f"/openapi/v3/{openapi.PATH}":
            raise Refused(no_such_page())
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused(method_not_allowed(scope["method"]))
        await self._document(path, scope["headers"], send)

    async def _health(self, path: str, method: str, send: Send) -> None:
        if method not in ("GET", "HEAD"):
            raise Refused(method_not_allowed(method))
        why = self._unready() if path == "/readyz" else None
        text = "ok" if why is None else " ".join(why.split())
        await send_bytes(send, text.encode(), status=200 if why is None else 503, content_type="text/plain")

    async def _document(self, path: str, headers: Headers, send: Send) -> None:
        if path.startswith("/openapi/v3/"):
            await send_document(send, headers, openapi.v3_text())
        elif path == "/apis" and discovery.wants_aggregated(_header(headers, b"accept")):
            await send_document(send, headers, encoded(discovery.aggregated()), content_type=discovery.AGGREGATED)
        else:
            await send_document(send, headers, encoded(self._documents[path]()))

    # ---- objects -----------------------------------------------------------------------------------------------------

    async def _of_objects(self, user: User, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        asked, wrong = _options(scope["query_string"], target)
        verb = verb_of(scope["method"], target, watch=asked.watch)
        if verb is None:
            raise Refused(method_not_allowed(scope["method"]))
        selected = asked.selection.name if verb in ("list", "watch", "deletecollection") else ""
        right = right_to(verb, target, selected[:_MAX_NAME_CHARACTERS])
        await self._users.check(user, right)
        if target.subresource and not target.verbs:
            raise Refused(no_such_page())
        if verb not in target.verbs or (verb == "create" and bool(target.name) != bool(target.subresource)):
            raise Refused(verb_not_supported(verb, target.resource.plural))
        if wrong is not None:
            raise wrong
        if self._only is not None and target.namespace != self._only:
            raise Refused(bad_request(f"this API answers for the namespace {self._only} only"))
        if not target.can_be:
            raise Refused(not_found(target.resource.plural, target.name))
        if verb == "watch":
            form = form_of(_header(scope["headers"], b"accept"))

            async def still_may() -> None:
                # Also whether he is still there: RBAC says yes to a name whose ServiceAccount was deleted.
                await self._users.check(await self._users.user(scope), right)

            with self._watches.one(user.name):
                watch = Watch(
                    self._log,
                    self._shelves[ATTEMPTS.plural],
                    target.resource,
                    target.namespace,
                    asked,
                    form,
                    still_may,
                    self._stopping,
                )
                await watch.send(receive, send)
            return
        with self._requests.one(user.name):
            await self._done(verb, target, asked, scope["headers"], receive, send)

    async def _done(
        self, verb: str, target: Target, asked: Options, headers: Headers, receive: Receive, send: Send
    ) -> None:
        if verb == "list":
            form = form_of(_header(headers, b"accept"))
            shelf = self._shelves[target.resource.plural]
            answer = _Answer(self._with_warning(send))
            try:
                with Deadline(LIST_SECONDS):
                    if asked.version not in ("", "0") and not asked.begin and target.resource is ATTEMPTS:
                        await self._until_told(asked.version)
                    listing = send_list(answer.send, shelf, target.resource, target.namespace, asked, form)
                    await while_heard(receive, listing)
            except TimeoutError:
                raise (Cut() if answer.has_begun else Refused(too_slow(LIST_SECONDS))) from None
        elif verb == "delete":
            await self._delete(target, asked, headers, receive, send)
        elif target.resource is WEBHOOK_TESTS:
            await self._test(target, asked, headers, receive, send)
        elif target.subresource == "body":
            body = await self._shelves[target.resource.plural].body(target.namespace, target.name)
            if body is None:
                raise Refused(not_found(target.resource.plural, target.name))
            await send_bytes(send, body)
        elif target.subresource:
            await self._replay(target, asked, headers, receive, send)
        else:
            await self._get(target, asked, headers, send)

    async def _get(self, target: Target, asked: Options, headers: Headers, send: Send) -> None:
        form = form_of(_header(headers, b"accept"))
        shelf, resource = self._shelves[target.resource.plural], target.resource
        entry = await shelf.get(target.namespace, target.name)
        if entry is None:
            raise Refused(not_found(resource.plural, target.name))
        said = item_in(resource, form, asked, entry, time.time())
        if form is Form.TABLE:
            said = table(resource, [said], {}, headers=True)
        await send_json(send, said, pretty=asked.pretty)

    async def _until_told(self, version: str) -> None:
        try:
            await self._log.until_told(version)
        except Expired:
            raise Refused(expired(_NOT_KNOWN)) from None

    def _with_warning(self, send: Send) -> Send:
        """Says what a list is without; kubectl shows it to people."""
        missing = self._missing()
        if not missing:
            return send
        warning = (b"warning", f'299 - "{_without(missing)}"'.encode())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], warning]}
            await send(message)

        return sending

    async def _delete(self, target: Target, asked: Options, headers: Headers, receive: Receive, send: Send) -> None:
        wish = await read_json(receive, headers)
        plural = target.resource.plural
        letter = await self._log.dead_letter(target.namespace, target.name)
        if letter is None:
            raise Refused(not_found(plural, target.name))
        uid = uid_of(letter)
        preconditions = wish.get("preconditions")
        if isinstance(preconditions, dict) and preconditions.get("uid") not in (None, "", uid):
            raise Refused(conflict(plural, target.name, "the uid in the precondition is not that of the object"))
        if not (asked.dry_run or _dry_run_in(wish)) and not await self._log.drop_dead_letter(
            target.namespace, target.name
        ):
            raise Refused(not_found(plural, target.name))
        await send_json(send, success(plural, target.name, uid), pretty=asked.pretty)

    async def _replay(self, target: Target, asked: Options, headers: Headers, receive: Receive, send: Send) -> None:
        await read_json(receive, headers)
        letter = await self._log.dead_letter(target.namespace, target.name)
        if letter is None:
            raise Refused(not_found(DEAD_LETTERS.plural, target.name))
        try:
            if not asked.dry_run and not await self._actions.replay_dead_letter(target.namespace, target.name):
                raise Refused(not_found(DEAD_LETTERS.plural, target.name))
        except CannotBeDone as error:
            raise Refused(conflict(DEAD_LETTERS.plural, target.name, str(error))) from None
        said = success(DEAD_LETTERS.plural, target.name, uid_of(letter))
        await send_json(send, said, status=201, pretty=asked.pretty)

    async def _test(self, target: Target, asked: Options, headers: Headers, receive: Receive, send: Send) -> None:
        wish = await read_json(receive, headers)
        webhook, event_type = _test_in(wish)
        said: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": WEBHOOK_TESTS.kind,
            "metadata": {"namespace": target.namespace},
            "spec": {"webhook": webhook, **({"eventType": event_type} if event_type else {})},
        }
        if not asked.dry_run:
            try:
                attempt = await self._actions.test_webhook(target.namespace, webhook, event_type)
            except NoSuchWebhook:
                raise Refused(not_found("webhooks", webhook, "hookline.dev")) from None
            except CannotBeDone as error:
                raise Refused(_invalid_test(str(error))) from None
            said["metadata"]["name"] = attempt.name
            said["status"] = {"attempt": attempt_content(attempt)}
        await send_json(send, said, status=201, pretty=asked.pretty)


class _Answer:
    """Knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def send(self, message: Message) -> None:
        self.has_begun = True
        await self._send(message)


def _without(missing: Sequence[str]) -> str:
    return f"the queue of these Dispatchers cannot be read now, so this may not be all: {', '.join(missing)}"


def _options(query: bytes, target: Target) -> tuple[Options, Refused | None]:
    """What is wrong with them is told only to those who may ask."""
    try:
        given = parameters(query)
        return options(given, watch=False if target.name else None), None
    except Refused as error:
        return Options(), error


def _dry_run_in(wish: Mapping[str, Any]) -> bool:
    """Of DeleteOptions."""
    values = wish.get("dryRun") or []
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise Refused(bad_request("dryRun must be a list of texts"))
    return dry_run(*values)


def _test_in(wish: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the Webhook, and the event type."""
    spec = wish.get("spec")
    if not isinstance(spec, dict) or wish.get("kind") not in (None, WEBHOOK_TESTS.kind):
        raise Refused(bad_request(f"the body must be a {WEBHOOK_TESTS.kind} with a spec"))
    webhook, event_type = spec.get("webhook"), spec.get("eventType", "")
    if not isinstance(webhook, str) or not webhook or not Target(WEBHOOK_TESTS, "", webhook).can_be:
        raise Refused(_invalid_test("spec.webhook: Invalid value: must be the name of a Webhook"))
    if not isinstance(event_type, str) or len(event_type) > _MAX_NAME_CHARACTERS:
        raise Refused(_invalid_test("spec.eventType: Invalid value: must be the name of an event type"))
    return webhook, event_type


def _invalid_test(why: str) -> Any:
    return invalid(why, kind=WEBHOOK_TESTS.kind, group=GROUP)


def _header(headers: Headers, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for each, value in headers if each == name)
