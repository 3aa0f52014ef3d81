"""The shipped NATS with users: what each may do, and that keys are replaced while events flow."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from doubles.command import hookline
from doubles.local import all_the_while, hook, receiver_of, sender, until, write_book
from doubles.logs import ALL, log_of, make_log, record, until_listed, write
from doubles.shipped_nats import ShippedNats, shipped, three, with_password
from doubles.waiting import eventually
from hookline.api.log import Unreadable
from hookline.control.nats_users import OVERLAP_SECONDS, AskServers, Keys, Rest, WriteKeys, WriteUsers, next_step
from hookline.events.builtin_events import event_named, sample_of
from hookline.local.receiver import ReceivedCall
from hookline.stream import log_reader, names
from hookline.stream.admission import Admission
from hookline.stream.connection import Client, LoginRefused, StreamRefused, StreamUnavailable, close, connect
from hookline.stream.credentials import by_seed
from hookline.stream.nkeys import public_of, seed_of
from hookline.stream.permissions import Role, tag_of, users_file
from hookline.stream.server_users import have_read
from hookline.stream.streams import Retention, ensure

SEEDS = {role: seed_of(bytes([number]) * 32) for number, role in enumerate(Role, 1)}
USERS = users_file({role: [public_of(seed)] for role, seed in SEEDS.items()})
PREFIX = names.OWN_PREFIX
UID = "0d6ad1a3-0000-4000-8000-000000000001"


async def connected(server: ShippedNats, role: Role | None, name: str = "") -> Client:
    prove = by_seed(SEEDS[role]) if role else None
    return await connect(server.url, name=name or role or "nobody", credentials=prove, connect_seconds=15)


SENDER, GATEWAY, OPERATOR, API = {Role.SENDER}, {Role.GATEWAY}, {Role.OPERATOR}, {Role.API}
READS = SENDER | API
NOBODY: set[Role] = set()
DELIVERY = names.delivery_subject(UID)
EVENTS, DELIVERIES = f"{PREFIX}EVENTS", f"{PREFIX}DELIVERIES"
STORES: list[tuple[str, str, set[Role]]] = [
    ("publish an event", names.event_subject("team", "IdentityCreated"), GATEWAY),
    ("publish a large event", names.large_subject("team", "IdentityCreated"), GATEWAY),
    ("store a delivery", DELIVERY, READS),
    ("store a retry", names.later_subject(UID, "1"), READS),
    ("park a delivery", names.parked_subject(UID), SENDER),
    ("store a dead letter", names.dead_subject("team", UID), SENDER),
    ("publish a notice", names.event_subject("team", "hookline.EndpointGone"), SENDER | GATEWAY),
    ("set events aside", names.backlog_subject("team"), SENDER),
    ("write the attempts log", names.attempts_subject("team", UID), SENDER),
    ("count what nobody hears", names.unheard_subject("team"), SENDER),
    ("define an event type", f"$KV.{names.TYPES_BUCKET}.A", SENDER),
    ("say that an endpoint fails", f"$KV.{names.ENDPOINTS_BUCKET}.a", SENDER),
    ("take the streams over", f"$KV.{names.INSTALLATION_BUCKET}.owner", SENDER),
]
ASKS: list[tuple[str, str, dict[str, Any], set[Role]]] = [
    ("see a stream's settings", f"STREAM.INFO.{EVENTS}", {}, GATEWAY | READS),
    (
        "read event types",
        f"STREAM.MSG.GET.KV_{names.TYPES_BUCKET}",
        {"last_by_subj": "$KV.x.y"},
        GATEWAY | READS,
    ),
    ("read an event", f"STREAM.MSG.GET.{EVENTS}", {"seq": 1}, READS),
    ("read an event directly", f"DIRECT.GET.{EVENTS}", {"seq": 1}, READS),
    ("read a delivery", f"STREAM.MSG.GET.{DELIVERIES}", {"seq": 1}, READS),
    ("read a delivery directly", f"DIRECT.GET.{DELIVERIES}.{DELIVERY}", {}, READS),
    ("read a dead letter", f"STREAM.MSG.GET.{PREFIX}DEAD", {"seq": 1}, READS),
    ("read whose the streams are", f"STREAM.MSG.GET.KV_{names.INSTALLATION_BUCKET}", {"seq": 1}, READS),
    ("take events", f"CONSUMER.MSG.NEXT.{EVENTS}.{PREFIX}fanout", {"batch": 1, "no_wait": True}, READS),
    (
        "make a consumer",
        f"CONSUMER.CREATE.{EVENTS}.spy",
        {"stream_name": EVENTS, "config": {"name": "spy"}},
        SENDER | API,
    ),
    ("make a lasting consumer", f"CONSUMER.DURABLE.CREATE.{EVENTS}.spy2", {}, SENDER),
    ("delete a consumer", f"CONSUMER.DELETE.{EVENTS}.none", {}, READS),
    ("list consumers", f"CONSUMER.NAMES.{EVENTS}", {}, SENDER),
    ("remove one message", f"STREAM.MSG.DELETE.{EVENTS}", {"seq": 99}, READS),
    ("make a stream", "STREAM.CREATE.MINE", {}, SENDER),
    ("change a stream", f"STREAM.UPDATE.{EVENTS}", {}, SENDER),
    ("empty a stream", f"STREAM.PURGE.{EVENTS}", {"filter": "hookline.events.none.x"}, SENDER),
    ("delete a stream", "STREAM.DELETE.NONE", {}, SENDER),
    ("take a copy of a stream", f"STREAM.SNAPSHOT.{EVENTS}", {"deliver_subject": "_INBOX.x"}, NOBODY),
    ("restore a stream", f"STREAM.RESTORE.{EVENTS}", {}, NOBODY),
    ("see how much the account uses", "INFO", {}, SENDER),
]
HEARS: list[tuple[str, str, set[Role]]] = [
    ("hear events as they come", "hookline.events.>", NOBODY),
    ("hear deliveries as they come", "hookline.deliveries.>", NOBODY),
    ("hear dead letters as they come", "hookline.dead.>", NOBODY),
    ("hear everything", ">", NOBODY),
    ("hear answers to a sender", f"{names.inbox_of(Role.SENDER)}.>", SENDER),
    ("hear answers to a gateway", f"{names.inbox_of(Role.GATEWAY)}.>", GATEWAY),
    ("hear answers to the log's API", f"{names.inbox_of(Role.API)}.>", API),
    ("hear all answers", "_INBOX.>", NOBODY),
    ("hear acknowledgements", "$JS.ACK.>", NOBODY),
    ("be asked as a sender", names.AUDIENCE_SUBJECT, SENDER),
    ("be asked for a test call", names.TEST_SUBJECT, SENDER),
    ("hear of other senders", names.HERE_SUBJECT, SENDER),
]
SYSTEM: list[tuple[str, str, set[Role]]] = [
    ("see what servers read", "$SYS.REQ.SERVER.PING.VARZ", OPERATOR),
    ("have a server read again", "$SYS.REQ.SERVER.x.RELOAD", OPERATOR),
    ("see connections", "$SYS.REQ.SERVER.PING.CONNZ", NOBODY),
    ("end a connection", "$SYS.REQ.SERVER.x.KICK", NOBODY),
]
_LAST = "nobody.may.hear.this"


async def test_what_each_user_can_and_cannot_do(tmp_path: Path) -> None:
    """Every row of the table is asked by every role; a role that may not is told so, and the others are not."""
    async with shipped(tmp_path, USERS) as server:
        owner = await connected(server, Role.SENDER)
        await ensure(owner, Retention())
        await close(owner)
        subjects = [
            *((what, "publish", subject, b"{}", may) for what, subject, may in STORES),
            *((what, "publish", f"$JS.API.{to}", json.dumps(body).encode(), may) for what, to, body, may in ASKS),
            *((what, "publish", subject, b"", may) for what, subject, may in SYSTEM),
            ("ask for how many Webhooks an event is", "publish", names.AUDIENCE_SUBJECT, b"a.B", GATEWAY),
            ("ask whether an event is the same", "publish", names.SAME_SUBJECT, b"{}", GATEWAY),
            ("acknowledge", "publish", "$JS.ACK.x.y.1.1.1.1.1", b"+ACK", SENDER),
            ("say that a Webhook is known", "publish", names.KNOWN_SUBJECT, b"", SENDER),
            *((what, "subscribe", subject, b"", may) for what, subject, may in HEARS),
        ]
        can: dict[str, set[Role]] = {what: set() for what, *_ in subjects}
        for role in Role:
            denied = await denied_to(server, role, [(how, subject, body) for _, how, subject, body, _ in subjects])
            for what, how, subject, *_ in subjects:
                if (how, subject.lower()) not in denied:
                    can[what].add(role)
        with pytest.raises(LoginRefused):
            await connect(server.url, name="nobody", connect_seconds=1)
    assert can == {what: may for what, *_, may in subjects}


async def denied_to(server: ShippedNats, role: Role, actions: list[tuple[str, str, bytes]]) -> set[tuple[str, str]]:
    """What of it the server says that this user may not do."""
    client = await connected(server, role)
    denied: set[tuple[str, str]] = set()

    async def heard(error: Exception) -> None:
        words = str(error).split('"')
        if "permissions violation" in words[0].lower():
            denied.add(("publish" if "publish" in words[0].lower() else "subscribe", words[1].lower()))

    client._error_cb = heard
    for how, subject, body in actions:
        if how == "publish":
            await client.publish(subject, body, reply=client.new_inbox())
        else:
            await client.subscribe(subject)
    # The server says it in order.
    await client.subscribe(_LAST)

    async def all_is_said() -> bool:
        return ("subscribe", _LAST) in denied

    await eventually(all_is_said)
    await close(client)
    return denied


async def test_what_nats_writes_for_a_gateway_wherever_it_wants_removes_nothing(tmp_path: Path) -> None:
    """For the reply of a message nats-server asks for no permission: its confirmation comes to JetStream's own API."""
    async with shipped(tmp_path, USERS) as server:
        owner, gateway = await connected(server, Role.SENDER), await connected(server, Role.GATEWAY)
        await ensure(owner, Retention())
        event = names.event_subject("team", "IdentityCreated")
        verbs = (f"PURGE.{EVENTS}", f"MSG.DELETE.{EVENTS}", f"DELETE.{EVENTS}", f"UPDATE.{EVENTS}")
        for verb in verbs * 2:
            await gateway.publish(event, b"{}", reply=f"$JS.API.STREAM.{verb}")
        await gateway.request(event, b"{}")
        # Answered after all that was asked before.
        assert (await owner.jetstream().stream_info(EVENTS)).state.messages == 2 * len(verbs) + 1
        await close(gateway)
        await close(owner)


async def test_an_administrator_publishes_with_what_a_gateway_shows(tmp_path: Path) -> None:
    seed = tmp_path / "user.nk"
    seed.write_text(SEEDS[Role.GATEWAY])
    async with shipped(tmp_path, USERS) as server:
        owner = await connected(server, Role.SENDER)
        await ensure(owner, Retention())
        words = ["publish", "IdentityCreated", "-", "--nats", server.url, "--wait-seconds", "1"]
        body = json.dumps(sample_of(event_named("IdentityCreated"))).encode()
        refused = await asyncio.to_thread(hookline, *words, stdin=body)
        assert (refused.returncode, b"rejected the credentials" in refused.stderr) == (1, True)
        done = await asyncio.to_thread(hookline, *words, "--nats-credentials", str(seed), stdin=body)
        assert done.returncode == 0, done.stderr
        assert (await owner.jetstream().stream_info(EVENTS)).state.messages == 1
        await close(owner)


async def test_the_servers_take_other_users_without_a_restart_and_say_so(tmp_path: Path) -> None:
    async with shipped(tmp_path, USERS) as server:
        gateway, operator = await connected(server, Role.GATEWAY), SEEDS[Role.OPERATOR]
        await have_read(server.url, operator, tag_of(USERS))
        keys = {role: {public_of(seed)} for role, seed in SEEDS.items()}
        more = users_file({**keys, Role.SENDER: {*keys[Role.SENDER], public_of(seed_of(b"x" * 32))}})
        with pytest.raises(StreamUnavailable, match="nats-0 of NATS has not read its users yet"):
            await have_read(server.url, operator, tag_of(more))
        server.users("authorization {")
        with pytest.raises(StreamUnavailable, match="nats-0 of NATS cannot read its configuration"):
            await have_read(server.url, operator, tag_of(more))
        server.users(more)
        await have_read(server.url, operator, tag_of(more))
        with pytest.raises(StreamUnavailable, match="does not know the operator's key; kubectl rollout restart"):
            await have_read(server.url, seed_of(b"y" * 32), tag_of(more))
        await close(await connect(server.url, name=Role.SENDER, credentials=by_seed(seed_of(b"x" * 32))))
        assert gateway.is_connected, "who may stay is not disturbed"
        await close(gateway)


async def test_a_nats_that_asks_nobody_who_he_is_is_said_to_be_so(tmp_path: Path) -> None:
    """An overlay of the version before, with its NATS, beside an operator of this one."""
    async with shipped(tmp_path, None) as server:
        with pytest.raises(StreamUnavailable, match="apply its manifests"):
            await have_read(server.url, SEEDS[Role.OPERATOR], tag_of(USERS))


class World:
    """What lies in the cluster, and what kubelets made of it. An operator is made anew for each step."""

    def __init__(self, server: ShippedNats, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.secrets: dict[Role, Keys | None] = dict.fromkeys(Role)
        self.file = ""
        self.heard = ""
        self.now = datetime.now(UTC)
        self._raw = 0

    def new_seed(self) -> str:
        self._raw += 1
        return seed_of(self._raw.to_bytes(32, "big"))

    def mounted(self, role: Role) -> Path:
        return self.folder / f"{role}.nk"

    async def step(self) -> Rest | None:
        step = next_step(self.secrets, self.file, self.heard, self.now, self.new_seed)
        self.heard = ""
        match step:
            case WriteKeys(role, keys):
                self.secrets[role] = keys
            case WriteUsers(file):
                self.file = file
                self.server.users(file)
            case AskServers(tag):
                operator = self.secrets[Role.OPERATOR]
                assert operator is not None
                await have_read(self.server.url, operator.seed, tag)
                self.heard = tag
            case Rest():
                return step
        return None

    def kubelet(self) -> None:
        """Brings what lies in the cluster into the pods."""
        for role, keys in self.secrets.items():
            if keys is not None:
                self.mounted(role).write_text(keys.seed)

    async def settle(self) -> None:
        rest = None
        while rest is None:
            rest = await self.step()


class Load:
    """Events that are published all the while, by one gateway."""

    def __init__(self, gateway: Client, admission: Admission) -> None:
        self.gateway = gateway
        self._admission = admission
        self.stored: list[str] = []

    async def publish(self) -> None:
        stored = await self._admission.store("default", "IdentityCreated", b"{}", patience_seconds=30)
        self.stored.append(stored.id)

    async def goes_on(self) -> None:
        enough = len(self.stored) + 20
        await until(lambda: len(self.stored) >= enough, what="events")


async def test_users_come_keys_are_replaced_and_users_go_under_load_and_no_event_is_lost(tmp_path: Path) -> None:
    """From the version before, through a rotation, and back. An operator is another one at each step."""
    calls: list[ReceivedCall] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(shipped(tmp_path, None))
        receiver = await stack.enter_async_context(receiver_of(calls))
        write_book(tmp_path / "book", hook("one", receiver))
        before = await stack.enter_async_context(sender(tmp_path / "book", server.url, patient=True))
        world = World(server, tmp_path)
        for _ in range(len(Role) + 1):
            assert await world.step() is None
        world.kubelet()
        gateway = await connect(server.url, name=Role.GATEWAY, credentials=world.mounted(Role.GATEWAY))
        load = Load(gateway, await Admission.at(gateway))
        await stack.enter_async_context(all_the_while(load.publish, every_seconds=0.005))
        await load.goes_on()
        # NATS is replaced by one that has users. Senders of before are shut out until they are replaced, too.
        await server.end()
        await server.start()
        await load.goes_on()
        await until(lambda: "rejected the credentials" in str(before.pod.unready()))
        present = sender(tmp_path / "book", server.url, credentials=world.mounted(Role.SENDER), patient=True)
        after = await stack.enter_async_context(present)
        await before.end()
        await world.settle()
        first = {role: keys.seed for role, keys in world.secrets.items() if keys is not None}
        for role, keys in list(world.secrets.items()):
            assert keys is not None
            world.secrets[role] = replace(keys, asked="1")
        await world.settle()
        # Before and after kubelets bring the new keys.
        for _ in range(2):
            await server.end()
            await server.start()
            await load.goes_on()
            world.kubelet()
        world.now += timedelta(seconds=OVERLAP_SECONDS)
        await world.settle()
        await load.goes_on()
        for role in (Role.SENDER, Role.GATEWAY):
            with pytest.raises(LoginRefused):
                await connect(server.url, name=role, credentials=by_seed(first[role]), connect_seconds=0.5)
        await until(lambda: after.pod.unready() is None)
        await until(lambda: set(load.stored[:80]) <= {each.webhook_id for each in calls}, what="calls")
        # Back to a NATS that asks nobody: it is shown nothing.
        server.users(None)
        await server.end()
        await server.start()
        await load.goes_on()
        stored = list(load.stored)
        await until(lambda: set(stored) <= {each.webhook_id for each in calls}, what="calls")
        await close(gateway)


async def test_three_servers_get_users_one_by_one_and_are_told_of_others_together(tmp_path: Path) -> None:
    """The overlay `ha` of before, upgraded while events are stored; then no stranger gets in as a server."""
    async with three(tmp_path) as servers:
        for server in servers:
            await server.start()
        urls = ",".join(each.url for each in servers)
        seed = SEEDS[Role.SENDER]
        owner = await connect(urls, name=Role.SENDER, credentials=by_seed(seed), connect_seconds=30)
        await eventually(made(owner), seconds=60)
        gateway = await connect(urls, name=Role.GATEWAY, credentials=by_seed(SEEDS[Role.GATEWAY]), connect_seconds=30)
        admission = await Admission.at(gateway)
        count = 0
        for number in (2, 1, 0):
            await servers[number].end()
            servers[number].users(USERS)
            with_password(servers, number, "p" * 32)
            await servers[number].start()
            for _ in range(5):
                await admission.store("team", "IdentityCreated", b"{}", patience_seconds=60)
                count += 1
        await eventually(told(urls, tag_of(USERS)), seconds=30)
        keys = {role: {public_of(seed)} for role, seed in SEEDS.items()}
        more = users_file({**keys, Role.SENDER: {*keys[Role.SENDER], public_of(seed_of(b"x" * 32))}})
        for server in servers[:2]:
            server.users(more)
        with pytest.raises(StreamUnavailable, match="nats-2 of NATS has not read its users yet"):
            await have_read(urls, SEEDS[Role.OPERATOR], tag_of(more))
        servers[2].users(more)
        await have_read(urls, SEEDS[Role.OPERATOR], tag_of(more))
        info = await owner.jetstream().stream_info(EVENTS)
        assert info.state.messages == count
        await servers[2].end()
        with pytest.raises(StreamUnavailable, match="2 of 3 servers of NATS answer"):
            await have_read(urls, SEEDS[Role.OPERATOR], tag_of(more))
        # A stranger in its place, without the password.
        with_password(servers, 2, "q" * 32)
        servers[2].users(None)
        (servers[2].folder / "log").unlink()
        await servers[2].start()

        async def is_refused() -> bool:
            return "Authorization Violation" in (servers[2].folder / "log").read_text()

        await eventually(is_refused)
        for client in (owner, gateway):
            await close(client)


def made(client: Client) -> Callable[[], Awaitable[bool]]:
    async def streams() -> bool:
        try:
            await ensure(client, Retention(), replicas=3)
        except (StreamUnavailable, StreamRefused):
            return False
        return True

    return streams


def told(urls: str, tag: str) -> Callable[[], Awaitable[bool]]:
    async def have_all() -> bool:
        try:
            await have_read(urls, SEEDS[Role.OPERATOR], tag)
        except StreamUnavailable:
            return False
        return True

    return have_all


async def test_the_logs_api_reads_all_that_it_shows_and_drops_dead_letters_with_its_own_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where there are many: by a consumer.
    monkeypatch.setattr(log_reader, "FEW", 0)
    async with shipped(tmp_path, USERS) as server:
        owner = await connected(server, Role.SENDER)
        await ensure(owner, Retention())
        await make_log(owner)
        await write(owner, [record()])
        stored = {"Hookline-Tenant": "team-a", "Hookline-Webhook": "team-a/hook"}
        for subject in (names.dead_subject("team-a", UID), names.parked_subject(UID), DELIVERY):
            await owner.jetstream().publish(subject, b"{}", headers=stored)
        api = await connected(server, Role.API)
        refused: list[str] = []

        async def heard(error: Exception) -> None:
            refused.append(str(error))

        api._error_cb = heard
        async with log_of(api, tmp_path / "index") as log:
            (attempt,) = await until_listed(log, 1)
            assert await log.attempt("team-a", attempt.name)
            await log.deliveries("team-a", ALL, limit=10)

            async def is_there() -> bool:
                with contextlib.suppress(Unreadable):  # until they were read
                    return len((await log.dead_letters("team-a", ALL, limit=10)).items) == 1
                return False

            await eventually(is_there)
            (letter,) = (await log.dead_letters("team-a", ALL, limit=10)).items
            await log.body_of_dead_letter("team-a", letter.name)
            assert await log.drop_dead_letter("team-a", letter.name)
        await close(api)
        assert refused == []
        await close(owner)
