"""The CA of an installation as time goes by: clients with any bundle of the last weeks verify whatever is shown."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.control.authority import (
    AHEAD,
    AUTHORITY_LIFE,
    CERTIFICATE_LIFE,
    CLOCKS_APART,
    MOST_FORMER,
    Home,
    allowed_names,
    read,
    renewed_at,
    serving,
    serving_data,
    trusted,
    turned,
)
from hookline.control.issuing import Pair, new_authority, new_certificate, read_certificates

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOME = Home("hookline-system")
NAME = "hookline-gateway.hookline-system"


def verifies(bundle: str, shown: bytes, now: datetime, name: str = NAME) -> bool:
    """Whether a client that trusts the bundle takes what a server of this name shows."""
    (leaf,) = read_certificates(shown)
    store = Store(x509.load_pem_x509_certificates(bundle.encode()))
    try:
        PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(name)).verify(leaf, [])
    except VerificationError:
        return False
    return True


def made_at(now: datetime, home: Home = HOME) -> Pair:
    return new_authority(home.namespace, home.names(), now - CLOCKS_APART, now + AUTHORITY_LIFE)


@dataclass
class Installation:
    """Two Secrets, and an operator that looks at them now and then."""

    secret: dict[str, bytes] = field(default_factory=dict)
    certificate: dict[str, bytes] = field(default_factory=dict)
    now: datetime = BEGIN
    writes: int = 0
    published: list[tuple[datetime, str]] = field(default_factory=list)
    """Every bundle that clients may have, and since when."""

    def look(self) -> None:
        authority = turned(read(self.secret, HOME), self.now, lambda: made_at(self.now))
        self._write(self.secret, authority.data())
        bundle = trusted(read(self.secret, HOME), self.now)
        assert bundle == authority.bundle()
        if not self.published or self.published[-1][1] != bundle:
            self.published.append((self.now, bundle))
        names = allowed_names(authority.current, HOME.names_of("default"))
        if not serving(self.certificate, authority.current, names, self.now):
            begin, end = self.now - CLOCKS_APART, self.now + CERTIFICATE_LIFE
            pair = new_certificate(authority.current, names, HOME.namespace, begin, end)
            self._write(self.certificate, serving_data(pair))

    def _write(self, secret: dict[str, bytes], wanted: dict[str, bytes]) -> None:
        if secret != wanted:
            self.writes += 1
            secret.update(wanted)

    def bundles_of_the_last(self, time: timedelta) -> list[str]:
        """What clients hold that read it within that time."""
        ends = [since for since, _ in self.published[1:]] + [datetime.max.replace(tzinfo=UTC)]
        return [bundle for (_, bundle), until in zip(self.published, ends, strict=True) if until > self.now - time]

    def authority(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.secret["ca.crt"])

    def shown(self) -> bytes:
        return self.certificate["tls.crt"]


def of_age(time: timedelta) -> Installation:
    found = Installation()
    found.look()
    while found.now < BEGIN + time:
        found.now += min(10 * DAY, BEGIN + time - found.now)
        found.look()
    return found


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(7, 27), min_size=1, max_size=40))
def test_a_client_with_any_bundle_of_the_last_month_verifies_whatever_is_shown(days: list[float]) -> None:
    """Through two rotations, with an operator that is away for weeks."""
    found = Installation()
    found.look()
    seen = {found.authority()}
    for step in cycle(days):
        shown_before = found.shown()
        found.now += timedelta(days=step)
        # Before it looks, and after: what it writes takes a while to arrive, so some gateways show the one before.
        found.look()
        for bundle in found.bundles_of_the_last(AHEAD):
            assert verifies(bundle, shown_before, found.now)
            assert verifies(bundle, found.shown(), found.now)
        seen.add(found.authority())
        if len(seen) == 3:
            break
    assert len(found.published[-1][1].encode()) < 8 * 1024


@pytest.fixture(scope="module")
def history() -> list[tuple[int, int]]:
    """By day: CA certificates in the bundle, and how often another CA began to sign."""
    found, days, signed = Installation(), [], set()
    for _ in range(530):
        found.look()
        signed.add(found.authority())
        days.append((len(read_certificates(found.published[-1][1].encode())), len(signed) - 1))
        found.now += DAY
    return days


@pytest.mark.parametrize(
    ("day", "certificates", "rotations"),
    [
        (0, 1, 0),
        (243, 1, 0),
        (244, 2, 0),  # the next one is in everybody's hands
        (273, 2, 0),
        (274, 2, 1),  # and signs; the former one may still be shown
        (364, 2, 1),
        (365, 1, 1),  # nothing that it signed counts any more
        (244 + 243, 1, 1),
        (244 + 244, 2, 1),
        (274 + 244, 2, 2),
    ],
)
def test_a_ca_is_followed_by_another_one_that_everybody_has_before_it_is_needed(
    history: list[tuple[int, int]], day: int, certificates: int, rotations: int
) -> None:
    assert history[day] == (certificates, rotations)


def test_nothing_is_written_where_nothing_changed() -> None:
    found = of_age(timedelta(0))
    assert found.writes == 2
    for _ in range(58):
        found.now += DAY
        found.look()
    assert found.writes == 2
    found.now += 3 * DAY
    found.look()
    assert found.writes == 3


def test_no_certificate_outlives_the_ca_that_signed_it() -> None:
    found = of_age(240 * DAY)
    found.now += 110 * DAY
    found.look()
    (leaf,) = read_certificates(found.shown())
    assert leaf.not_valid_after_utc == found.authority().not_valid_after_utc
    # And a new one would not last longer: it is shown to its end.
    writes = found.writes
    found.now += 11 * DAY
    found.look()
    assert found.writes == writes


@pytest.mark.parametrize(
    "damage",
    [
        {"ca.key": b""},
        {"ca.key": b"-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n"},
        {"ca.key": made_at(BEGIN).key_pem().encode()},
        {"ca.crt": b"\xff\x00"},
        {"ca.crt": b"", "ca.key": b""},
        {"ca.crt": b"x" * 100_000},
        {"ca.crt": made_at(BEGIN).certificate_pem().encode()},
    ],
    ids=["no key", "garbled key", "key of another", "no text", "nothing", "huge", "certificate of another"],
)
def test_a_ca_that_cannot_sign_is_replaced_at_once_and_what_is_known_of_it_stays_trusted(
    damage: dict[str, bytes],
) -> None:
    found = of_age(10 * DAY)
    before, shown = found.secret["ca.crt"], found.shown()
    found.secret |= damage
    found.look()
    assert found.secret["ca.crt"] not in (before, damage.get("ca.crt"))
    assert verifies(found.published[-1][1], found.shown(), found.now)
    assert verifies(found.published[-1][1], shown, found.now) == ("ca.crt" not in damage)
    writes = found.writes
    found.look()
    assert found.writes == writes


def test_a_ca_that_is_lost_while_the_next_one_is_known_is_followed_by_that_one() -> None:
    found = of_age(250 * DAY)
    bundle = found.published[-1][1]
    following = found.secret["next.crt"]
    found.secret["ca.key"] = b""
    found.look()
    assert found.secret["ca.crt"] == following
    assert verifies(bundle, found.shown(), found.now)


@pytest.mark.parametrize("damage", [{"next.key": b"none"}, {"next.crt": b""}, {"next.crt": b"no", "next.key": b""}])
def test_a_next_ca_that_cannot_sign_is_made_anew_and_waits_anew(damage: dict[str, bytes]) -> None:
    found = of_age(270 * DAY)
    signs = found.secret["ca.crt"]
    found.secret |= damage
    found.look()
    for _ in range(AHEAD // DAY - 1):
        found.now += DAY
        found.look()
        assert found.secret["ca.crt"] == signs
    found.now += 2 * DAY
    found.look()
    assert found.secret["ca.crt"] != signs
    assert all(verifies(each, found.shown(), found.now) for each in found.bundles_of_the_last(AHEAD - 2 * DAY))


def pair_of(pair: Pair) -> dict[str, bytes]:
    return {"ca.crt": pair.certificate_pem().encode(), "ca.key": pair.key_pem().encode()}


def rsa_pair() -> dict[str, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"ca.crt": made_at(BEGIN).certificate_pem().encode(), "ca.key": text}


@pytest.mark.parametrize(
    "brought",
    [
        pair_of(made_at(BEGIN, Home("another"))),
        pair_of(new_certificate(made_at(BEGIN), ["hookline-gateway"], "", BEGIN - DAY, BEGIN + 90 * DAY)),
        pair_of(made_at(BEGIN - 400 * DAY)),
        pair_of(made_at(BEGIN + 400 * DAY)),
        rsa_pair(),
    ],
    ids=["of another namespace", "no CA", "ended", "not begun", "key of another kind"],
)
def test_what_could_not_vouch_for_our_gateways_does_not_sign(brought: dict[str, bytes]) -> None:
    found = Installation(secret=dict(brought))
    found.look()
    assert found.secret["ca.crt"] != brought["ca.crt"]
    assert verifies(found.published[-1][1], found.shown(), found.now)


FOLLOWED = of_age(250 * DAY).secret


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["ca.crt", "ca.key", "next.crt", "next.key"]),
    st.one_of(st.binary(max_size=200), st.tuples(st.integers(0), st.integers(0, 255))),
)
def test_whatever_stands_in_the_secret_there_is_a_ca_and_what_it_signs_is_taken(
    key: str, change: bytes | tuple[int, int]
) -> None:
    """Any bytes, or a whole certificate or key with one byte of it changed."""
    found = Installation(dict(FOLLOWED), now=BEGIN + 260 * DAY)
    found.secret[key] = change if isinstance(change, bytes) else garbled(FOLLOWED[key], *change)
    found.look()
    assert verifies(found.published[-1][1], found.shown(), found.now)
    writes = found.writes
    found.look()
    assert found.writes == writes


def garbled(text: bytes, place: int, byte: int) -> bytes:
    first, *body, last = text.decode().strip().splitlines()
    der = bytearray(base64.b64decode("".join(body)))
    der[place % len(der)] = byte
    return "\n".join([first, base64.b64encode(der).decode(), last, ""]).encode()


def test_what_others_write_beside_it_is_cleared_and_trusted_only_if_it_is_a_ca() -> None:
    found = of_age(10 * DAY)
    other, leaf = made_at(found.now), found.shown()
    found.secret |= {"former.crt": other.certificate_pem().encode() + leaf, "next.crt": b"junk", "next.key": b"junk"}
    found.look()
    assert (found.secret["next.crt"], found.secret["next.key"]) == (b"", b"")
    assert found.secret["former.crt"] == other.certificate_pem().encode()


@pytest.mark.parametrize(
    "change",
    [
        {"tls.key": b""},
        {"tls.crt": b"no"},
        {"tls.crt": b"", "tls.key": b""},
        {"tls.key": made_at(BEGIN).key_pem().encode()},
    ],
)
def test_a_damaged_certificate_is_made_anew(change: dict[str, bytes]) -> None:
    found = of_age(DAY)
    found.certificate |= change
    found.look()
    assert verifies(found.published[-1][1], found.shown(), found.now)
    assert found.writes == 3


def test_a_certificate_for_other_names_or_of_another_ca_is_not_well() -> None:
    found = of_age(DAY)
    held = read(found.secret, HOME)
    assert held.current is not None
    names = HOME.names_of("default")
    assert serving(found.certificate, held.current, names, found.now)
    assert not serving(found.certificate, held.current, [*names, "more"], found.now)
    assert not serving(found.certificate, held.current, names[1:], found.now)
    assert not serving(found.certificate, made_at(found.now), names, found.now)
    assert not serving(found.certificate, held.current, names, renewed_at(read_certificates(found.shown())[0]))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(-800, 800), max_size=12))
def test_a_clock_that_jumps_leaves_a_ca_and_certificate_that_are_right_by_it(jumps: list[int]) -> None:
    found = of_age(10 * DAY)
    for days in jumps:
        found.now += days * DAY
        found.look()
        assert verifies(found.published[-1][1], found.shown(), found.now)
        assert len(read_certificates(found.published[-1][1].encode())) <= MOST_FORMER + 2
        writes = found.writes
        found.look()
        assert found.writes == writes


def test_a_clock_that_is_slow_by_less_than_a_day_takes_what_was_just_made() -> None:
    found = of_age(timedelta(0))
    assert verifies(found.published[-1][1], found.shown(), found.now - timedelta(hours=23))


def test_gateways_have_their_names_in_the_cluster_and_the_short_one_where_the_ca_can_vouch_for_it() -> None:
    home = Home("hooks", "example.internal")
    authority = made_at(BEGIN, home)
    assert allowed_names(authority, home.names_of("default")) == [
        "hookline-gateway.hooks",
        "hookline-gateway.hooks.svc",
        "hookline-gateway.hooks.svc.example.internal",
        "hookline-gateway",
    ]
    assert allowed_names(authority, home.names_of("edge")) == [
        "hookline-gateway-edge.hooks",
        "hookline-gateway-edge.hooks.svc",
        "hookline-gateway-edge.hooks.svc.example.internal",
    ]


def test_a_ca_outlasts_a_change_of_the_clusters_domain() -> None:
    authority = made_at(BEGIN, Home("hooks", "cluster.local"))
    names = allowed_names(authority, Home("hooks", "example.internal").names_of("default"))
    assert "hookline-gateway.hooks.svc" in names
    assert "hookline-gateway.hooks.svc.example.internal" not in names


@pytest.mark.parametrize(
    "name", ["example.com", "hookline-gateway.other", "nothookline-system", "kubernetes.default.svc"]
)
def test_nobody_trusts_the_ca_for_other_names(name: str) -> None:
    authority = made_at(BEGIN)
    forged = new_certificate(authority, [name], "", BEGIN - DAY, BEGIN + DAY)
    assert not verifies(authority.certificate_pem(), forged.certificate_pem().encode(), BEGIN, name)


def test_no_key_is_in_what_is_shown_of_a_ca() -> None:
    authority = turned(read({}, HOME), BEGIN, lambda: made_at(BEGIN))
    assert "PRIVATE" not in authority.bundle() + repr(authority) + str(authority.current)
    assert "key" not in repr(authority.current)


def test_a_former_ca_is_trusted_until_all_that_it_signed_has_ended() -> None:
    """The two constants and the life of a CA fit each other."""
    signs_until = AUTHORITY_LIFE * 2 / 3 + AHEAD
    assert signs_until + CERTIFICATE_LIFE <= AUTHORITY_LIFE
    assert CERTIFICATE_LIFE / 3 >= AHEAD
