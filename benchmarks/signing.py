"""What a signature costs the sender, as a ratio to a bare HMAC-SHA256 of the same bytes in the same run.

    python benchmarks/signing.py [--rounds 7] [--calls 5000]

Rounds take turns, so that a busy neighbour slows all of them; the median of the rounds counts. A figure means nothing
without the ratio: machines differ and are shared.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.routing.signing import key_of, parse_key, standard_headers

BODY = json.dumps({"data": "x" * 1010}).encode()
SHARED = "whsec_" + base64.b64encode(b"shared secret of thirty-two byte").decode()
PRIVATE = "whsk_" + base64.b64encode(b"private seed of thirty-two bytes").decode()


def headers(*texts: str) -> Callable[[], object]:
    """What a call does: keys as the route book has them, three headers."""
    return lambda: standard_headers(
        message_id="evt_9302483c256b4a18a5068ef1cb6e4b43",
        timestamp_s=1_700_000_000,
        body=BODY,
        keys=[key_of(text) for text in texts],
    )


def verification() -> Callable[[], object]:
    """What v1a costs the receiver."""
    key, signed = key_of(PRIVATE), b"evt_1.1700000000." + BODY
    assert key.public is not None
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public.removeprefix("whpk_")))
    signature = base64.b64decode(key.sign(signed).removeprefix("v1a,"))
    return lambda: public.verify(signature, signed)


CASES: dict[str, Callable[[], object]] = {
    "bare HMAC-SHA256 of 1 KiB": lambda: hmac.digest(b"k" * 32, BODY, "sha256"),
    "headers without a signature": headers(),
    "headers with v1": headers(SHARED),
    "headers with v1a": headers(PRIVATE),
    "headers with both": headers(SHARED, PRIVATE),
    "reading a whsec_ key": lambda: parse_key(SHARED.encode()),
    "reading a whsk_ key": lambda: parse_key(PRIVATE.encode()),
    "verifying v1a (receiver)": verification(),
}


def microseconds(case: Callable[[], object], calls: int) -> float:
    """CPU time of one call."""
    started = time.process_time_ns()
    for _ in range(calls):
        case()
    return (time.process_time_ns() - started) / calls / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=5000)
    options = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(options.rounds):
        for name, case in CASES.items():
            found[name].append(microseconds(case, options.calls))
    medians = {name: statistics.median(each) for name, each in found.items()}
    bare = next(iter(medians.values()))
    print(f"{'CPU time of one call':<30} {'us':>8} {'of bare':>8}")
    for name, median in medians.items():
        print(f"{name:<30} {median:>8.2f} {median / bare:>8.1f}")


if __name__ == "__main__":
    main()
