"""Webhooks, EventTypes, Dispatchers and Replays, right and wrong: (name, manifest, field of the expected problem or None)."""

from __future__ import annotations

from typing import Any

Case = tuple[str, dict[str, Any], str | None]


def resource(kind: str, spec: dict[str, Any], name: str = "mine") -> dict[str, Any]:
    return {"apiVersion": "hookline.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def webhook(**spec: Any) -> dict[str, Any]:
    return resource("Webhook", {"url": "https://example.com/x", "event": "IdentityCreated", **spec})


def replay(**spec: Any) -> dict[str, Any]:
    return resource("Replay", {"webhook": {"name": "hook"}, **spec})


def _since(time: str, field: str | None = "spec.since") -> Case:
    return f"since {time[:40]}", replay(since=time), field


def _url(url: str, field: str | None = "spec.url") -> Case:
    return f"url {url[:60]}", webhook(url=url), field


def _header(name: str, value: Any, field: str | None) -> Case:
    return f"header {name[:30]!r} {str(value)[:20]!r}", webhook(headers=[{"name": name, "value": value}]), field


SECRET = {"name": "keys"}

CASES: list[Case] = [
    ("least", webhook(), None),
    (
        "everything",
        webhook(
            enabled=False,
            description="d",
            secretRef={"name": "keys", "key": "k"},
            signature={"scheme": "Header", "headerName": "X-Api-Key"},
            headers=[
                {"name": "X-A", "value": "a"},
                {"name": "X-B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b"}}},
            ],
            timeoutSeconds=30,
            retry={"scheduleSeconds": [1, 86400]},
            maxConcurrency=1000,
            rateLimit={"calls": 100000, "perSeconds": 3600},
            tls={"caSecretRef": {"name": "ca"}, "clientCertSecretRef": {"name": "cert"}},
            dispatcher="edge",
        ),
        None,
    ),
    _url("https://my-api.com:8080/identity-updated-endpoint?my-query-param=123", None),
    _url("https://[2001:db8::1]:8443/", None),
    _url("https://192.0.2.1/", None),
    _url("https://xn--bcher-kva.example/%C3%A9", None),
    _url("https://h:65535", None),
    _url(f"https://example.com/{'a' * 2028}", None),
    _url(f"https://example.com/{'a' * 2029}"),
    _url("http://example.com/"),
    _url("example.com"),
    _url(""),
    _url("https://"),
    _url("https://user:pass@example.com/"),
    _url("https://user@example.com/"),
    _url("https://example.com/#fragment"),
    _url("https://example.com/a b"),
    _url("https://example.com/\n"),
    _url("https://bücher.example/"),
    _url("https://example.com:0/"),
    _url("https://example.com:65536/"),
    _url("https://example.com:/"),
    _url("https://example.com\\@evil.example/"),
    _url("https://2130706433/"),
    _url("https://0x7f.1/"),
    _url("https://127.1/"),
    _url("https://0177.0.0.1/"),
    _url("https://[fe80::1%25eth0]/"),
    _url("https://[::zz]/"),
    _url("https://example.com/%zz"),
    _url("https://example.com/a?"),
    _url("https://example.com/a/../b"),
    _url("https://example.com/a/%2E/b"),
    _url("https://example.com/a?b=../c", None),
    _url("https://example.com/{id}"),
    _url("HTTPS://Example.com/", None),
    _url("https://[::ffff:c000:201]/", None),
    _url("https://[::ffff:192.0.2.1]/"),
    _url("https://[1:2:3:4:5:6:7:8:9]/"),
    _url("https://1.2.3.4.5/"),
    _url("https://256.0.0.1/"),
    _url("https://example.0xff/"),
    _url("https://example.com./"),
    _url("https://a..b/"),
    _url(f"https://{'a' * 63}.example/", None),
    _url(f"https://{'a' * 64}.example/"),
    _url(f"https://{'.'.join(['a' * 60] * 4)}.{'b' * 9}/", None),
    _url(f"https://{'.'.join(['a' * 60] * 4)}.{'b' * 10}/"),
    ("event missing", resource("Webhook", {"url": "https://example.com/"}), "spec.event"),
    ("event with a blank", webhook(event="Identity Created"), "spec.event"),
    ("event too long", webhook(event="A" * 129), "spec.event"),
    ("event with dots", webhook(event="order.created"), None),
    ("timeout 0", webhook(timeoutSeconds=0), "spec.timeoutSeconds"),
    ("timeout 1", webhook(timeoutSeconds=1), None),
    ("timeout 31", webhook(timeoutSeconds=31), "spec.timeoutSeconds"),
    ("timeout as text", webhook(timeoutSeconds="5"), "spec.timeoutSeconds"),
    ("concurrency 0", webhook(maxConcurrency=0), "spec.maxConcurrency"),
    ("concurrency 1001", webhook(maxConcurrency=1001), "spec.maxConcurrency"),
    ("rate without a time", webhook(rateLimit={"calls": 1}), None),
    ("rate of nothing", webhook(rateLimit={}), "spec.rateLimit.calls"),
    ("rate 0", webhook(rateLimit={"calls": 0}), "spec.rateLimit.calls"),
    ("rate 100001", webhook(rateLimit={"calls": 100_001}), "spec.rateLimit.calls"),
    ("rate in 0 s", webhook(rateLimit={"calls": 1, "perSeconds": 0}), "spec.rateLimit.perSeconds"),
    ("rate in 3601 s", webhook(rateLimit={"calls": 1, "perSeconds": 3601}), "spec.rateLimit.perSeconds"),
    ("no retries", webhook(retry={"scheduleSeconds": []}), None),
    ("retry after 0 s", webhook(retry={"scheduleSeconds": [0]}), "spec.retry.scheduleSeconds[0]"),
    ("21 retries", webhook(retry={"scheduleSeconds": [1] * 21}), "spec.retry.scheduleSeconds"),
    ("Header without secret", webhook(signature={"scheme": "Header", "headerName": "X-K"}), "spec.secretRef"),
    ("Header without name", webhook(secretRef=SECRET, signature={"scheme": "Header"}), "spec.signature.headerName"),
    (
        "name without Header",
        webhook(secretRef=SECRET, signature={"headerName": "X-K"}),
        "spec.signature.headerName",
    ),
    (
        "forbidden secret header",
        webhook(secretRef=SECRET, signature={"scheme": "Header", "headerName": "Content-Length"}),
        "spec.signature.headerName",
    ),
    (
        "secret header twice",
        webhook(
            secretRef=SECRET,
            signature={"scheme": "Header", "headerName": "X-K"},
            headers=[{"name": "x-k", "value": "v"}],
        ),
        "spec.headers[0].name",
    ),
    (
        "secret header Host",
        webhook(secretRef=SECRET, signature={"scheme": "Header", "headerName": "host"}),
        "spec.signature.headerName",
    ),
    ("null is absent", webhook(description=None, retry=None), None),
    ("unknown field", webhook(retires={}), "spec.retires"),
    ("unknown field with null", webhook(retires=None), "spec.retires"),
    ("unknown scheme", webhook(signature={"scheme": "Hmac"}), "spec.signature.scheme"),
    _header("Host", "example.com", None),
    _header("Origin", "https://example.com", None),
    _header("Accept-Language", "fr", None),
    _header("Authorization", "Bearer x", None),
    _header("X" * 256, "v", None),
    _header("X" * 257, "v", "spec.headers[0].name"),
    _header("Content-Length", "1", "spec.headers[0].name"),
    _header("transfer-encoding", "chunked", "spec.headers[0].name"),
    _header("Webhook-Id", "x", "spec.headers[0].name"),
    _header("hookline-tenant", "x", "spec.headers[0].name"),
    _header("X: Y", "v", "spec.headers[0].name"),
    _header("X\r\nY", "v", "spec.headers[0].name"),
    _header("X-A", "v\r\nX-B: w", "spec.headers[0].value"),
    _header("X-A", "v\nw", "spec.headers[0].value"),
    _header("X-A", " v", "spec.headers[0].value"),
    _header("X-A", "é", "spec.headers[0].value"),
    _header("X-A", "", "spec.headers[0].value"),
    _header("X-A", "a\tb", None),
    _header("X-A", "v" * 4096, None),
    _header("X-A", "v" * 4097, "spec.headers[0].value"),
    (
        "header twice in another case",
        webhook(headers=[{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]),
        "spec.headers[1].name",
    ),
    ("header without value", webhook(headers=[{"name": "X-A"}]), "spec.headers[0]"),
    (
        "header with two values",
        webhook(headers=[{"name": "X-A", "value": "1", "valueFrom": {"secretKeyRef": SECRET}}]),
        "spec.headers[0]",
    ),
    ("33 headers", webhook(headers=[{"name": f"X-{n}", "value": "v"} for n in range(33)]), "spec.headers"),
    ("secret name in capitals", webhook(secretRef={"name": "Keys"}), "spec.secretRef.name"),
    ("type", resource("EventType", {"event": "OrderPaid", "schema": {"type": "object"}}, "orderpaid"), None),
    ("type of another name", resource("EventType", {"event": "OrderPaid", "schema": {}}, "order"), "metadata.name"),
    ("type of a name of ours", resource("EventType", {"event": "hookline.X", "schema": {}}, "hookline.x"), "spec.event"),
    ("type of such a name", resource("EventType", {"event": "HookLine.x", "schema": {}}, "hookline.x"), "spec.event"),
    ("type of a name like it", resource("EventType", {"event": "hookline-x", "schema": {}}, "hookline-x"), None),
    ("type without schema", resource("EventType", {"event": "A"}, "a"), "spec.schema"),
    ("type with a sample", resource("EventType", {"event": "A", "schema": {}, "sample": [None, {"b": 1.5}]}, "a"), None),
    ("type without a sample", resource("EventType", {"event": "A", "schema": {}, "sample": None}, "a"), None),
    ("deprecated type", resource("EventType", {"event": "A", "schema": {}, "deprecated": "use Ü"}, "a"), None),
    ("deprecated type, and no more is said", resource("EventType", {"event": "A", "schema": {}, "deprecated": True}, "a"),
     "spec.deprecated"),
    ("deprecated type in two lines", resource("EventType", {"event": "A", "schema": {}, "deprecated": "a\nb"}, "a"),
     "spec.deprecated"),
    ("deprecated type at length", resource("EventType", {"event": "A", "schema": {}, "deprecated": "a" * 257}, "a"),
     "spec.deprecated"),
    ("type with a strange validation", resource("EventType", {"event": "A", "schema": {}, "validation": "No"}, "a"),
     "spec.validation"),
    ("dispatcher", resource("Dispatcher", {}), None),
    ("dispatcher with networks", resource("Dispatcher", {"egress": {"allowCidrs": ["10.1.0.0/16", "fd12::/48"]}}), None),
    ("network twice", resource("Dispatcher", {"egress": {"allowCidrs": ["10.0.0.0/8", "10.0.0.0/8"]}}),
     "spec.egress.allowCidrs[1]"),
    ("pull secret twice", resource("Dispatcher", {"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
     "spec.imagePullSecrets[1]"),
    ("limit without request", resource("Dispatcher", {"resources": {"limits": {"memory": "64Mi"}}}), None),
    ("limit as number", resource("Dispatcher", {"resources": {"limits": {"cpu": 1}}}), "spec.resources.limits.cpu"),
    ("limit of a strange thing", resource("Dispatcher", {"resources": {"limits": {"C P U": "1"}}}),
     "spec.resources.limits.C P U"),
    ("label with a blank", resource("Dispatcher", {"servedNamespaces": {"from": "Selector",
     "selector": {"matchLabels": {"a b": "c"}}}}), "spec.servedNamespaces.selector.matchLabels.a b"),
    ("0 replicas", resource("Dispatcher", {"replicas": 0}), "spec.replicas"),
    ("timeouts crossed", resource("Dispatcher", {"defaultTimeoutSeconds": 20, "maxTimeoutSeconds": 10}),
     "spec.defaultTimeoutSeconds"),
    *(
        (f"network {cidr}", resource("Dispatcher", {"egress": {"allowCidrs": [cidr]}}), "spec.egress.allowCidrs[0]")
        for cidr in ["127.0.0.0/8", "169.254.169.254/32", "100.100.100.200/32", "10.0.0.0/255.0.0.0", "fd00:ec2::/48", "0.0.0.0/0", "::/0", "10.1.2.3/8", "10.0.0.0", "x", "224.0.0.0/8"]
    ),
    ("dispatcher with ports", resource("Dispatcher", {"egress": {"allowPorts": ["443", "8000-9000", "65535"]}}), None),
    ("one port as a range", resource("Dispatcher", {"egress": {"allowPorts": ["8443-8443"]}}), None),
    *(
        (f"port {port}", resource("Dispatcher", {"egress": {"allowPorts": [port]}}), "spec.egress.allowPorts[0]")
        for port in ["0", "65536", "99999", "9000-8000", "8000-", "-8000", "08", "https", "8000-9000-9001", " 443", 443]
    ),
    ("port twice", resource("Dispatcher", {"egress": {"allowPorts": ["443", "443"]}}), "spec.egress.allowPorts[1]"),
    ("no port at all", resource("Dispatcher", {"egress": {"allowPorts": []}}), "spec.egress.allowPorts"),
    *(
        (f"proxy {url}", resource("Dispatcher", {"egress": {"proxy": {"url": url}}}), None)
        for url in ["http://proxy:3128", "http://10.1.2.3:8080", "http://[fd12::1]:3128", "http://a.b-c.example.com:1"]
    ),
    *(
        (f"proxy {url}", resource("Dispatcher", {"egress": {"proxy": {"url": url}}}), "spec.egress.proxy.url")
        for url in ["proxy:3128", "https://proxy:3128", "http://proxy", "http://u:p@proxy:3128", "http://proxy:3128/", "http://proxy:0", "http://proxy:65536", "socks5://proxy:1080"]
    ),
    ("proxy with credentials", resource("Dispatcher", {"egress": {"proxy": {"url": "http://proxy:3128",
     "credentialsSecretRef": {"name": "proxy", "key": "login"}}}}), None),
    ("proxy without url", resource("Dispatcher", {"egress": {"proxy": {}}}), "spec.egress.proxy.url"),
    ("Selector without one", resource("Dispatcher", {"servedNamespaces": {"from": "Selector"}}),
     "spec.servedNamespaces.selector"),
    (
        "selector without Selector",
        resource("Dispatcher", {"servedNamespaces": {"selector": {"matchLabels": {"a": "b"}}}}),
        "spec.servedNamespaces.selector",
    ),
    ("nats with a password", resource("Dispatcher", {"nats": {"url": "nats://u:p@nats:4222"}}), "spec.nats.url"),
    ("attempts log too small", resource("Dispatcher", {"attempts": {"maxBytes": 67_108_863}}), "spec.attempts.maxBytes"),
    ("attempts kept too shortly", resource("Dispatcher", {"attempts": {"maxAgeSeconds": 59}}), "spec.attempts.maxAgeSeconds"),
    ("retention too short", resource("Dispatcher", {"retention": {"deadSeconds": 59}}), "spec.retention.deadSeconds"),
    ("least replay", replay(), None),
    (
        "all of a replay",
        replay(
            source="Events",
            since="2026-11-30T14:00:00Z",
            until="2026-11-30T15:00:00.5+00:30",
            onlyFailed=True,
            ids=["evt_1", "seq-7"],
            ratePerSecond=1000,
            dryRun=True,
            ttlSecondsAfterFinished=0,
        ),
        None,
    ),
    ("replay by labels", resource("Replay", {"selector": {"matchLabels": {"team": "a"}}}), None),
    ("replay by no labels", resource("Replay", {"selector": {"matchLabels": {}}}), "spec.selector.matchLabels"),
    ("replay of nothing", resource("Replay", {}), "spec"),
    ("replay of both", replay(selector={"matchLabels": {"team": "a"}}), "spec"),
    ("replay of a Webhook that has no name", replay(webhook={}), "spec.webhook.name"),
    ("replay from elsewhere", replay(source="Attempts"), "spec.source"),
    ("failed dead letters", replay(onlyFailed=True), "spec.onlyFailed"),
    ("no event failed", replay(source="Events", onlyFailed=False), None),
    _since("2026-11-30T14:00:00.123456789Z", None),
    _since("2028-02-29T23:59:59+14:00", None),
    _since("2026-02-29T00:00:00Z"),
    _since("2026-04-31T00:00:00Z"),
    _since("2026-13-01T00:00:00Z"),
    _since("2026-11-30T24:00:00Z"),
    _since("2026-11-30T14:00:60Z"),
    _since("2026-11-30T14:00:00"),
    _since("2026-11-30"),
    _since("1999-11-30T14:00:00Z"),
    _since("2h"),
    _since(""),
    ("until before since", replay(since="2026-11-30T14:00:00Z", until="2026-11-30T15:00:00+01:00"), "spec.since"),
    ("until no time", replay(until="now"), "spec.until"),
    ("an id twice", replay(ids=["a", "a"]), "spec.ids[1]"),
    ("an id that is none", replay(ids=["a.b"]), "spec.ids[0]"),
    ("501 ids", replay(ids=[f"evt_{number}" for number in range(501)]), "spec.ids"),
    ("500 ids", replay(ids=[f"evt_{number}" for number in range(500)]), None),
    ("replay of 0 in a second", replay(ratePerSecond=0), "spec.ratePerSecond"),
    ("replay of 1001 in a second", replay(ratePerSecond=1001), "spec.ratePerSecond"),
    ("replay that never was", replay(ttlSecondsAfterFinished=-1), "spec.ttlSecondsAfterFinished"),
    ("unknown field of a replay", replay(onlyfailed=True), "spec.onlyfailed"),
]  # fmt: skip
