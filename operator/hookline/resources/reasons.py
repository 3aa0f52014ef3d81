"""The reasons of conditions: each with what it means and what a person does about it. The list is closed.

A reason's spelling is API. docs/conditions.md has one table for each kind, made from here. Decides nothing: verdict,
secret and control choose the reason. Why a queue cannot be used, a sender finds out: see queue_problem.
"""

from __future__ import annotations

import enum
from typing import Self


class ConditionReason(enum.StrEnum):
    """Base of the lists. With each word stand the conditions that have it, what it means, and what to do.

    `Ready` has the reason of the first condition that is not True, whatever its list.
    """

    conditions: tuple[str, ...]
    means: str
    advice: str

    def __new__(cls, word: str, conditions: str = "", means: str = "", advice: str = "") -> Self:
        # Defaults, because a type checker takes a look-up by the word for such a call.
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.conditions, reason.means, reason.advice = tuple(conditions.split()), means, advice
        return reason


class WebhookReason(ConditionReason):
    """What a condition of a Webhook may have as its reason."""

    ACCEPTED = "Accepted", "Accepted", "the spec is valid, and the Dispatcher takes it"
    DEPRECATED_EVENT = (
        "DeprecatedEvent",
        "Accepted",
        (
            "(True) `spec.deprecated` of the EventType says that this event should no longer be used; it is delivered "
            "as ever. The message of `Ready`, `hookline check` and `hookline run` say so too"
        ),
        "do what the message says, such as name another event",
    )
    RESOLVED = "Resolved", "SecretsResolved", "every Secret that is named is there, allowed and fit"
    PROGRAMMED = "Programmed", "Programmed", "every ready sender serves this version"
    READY = "Ready", "Ready", "all is well"
    DELIVERING = "Delivering", "Delivering", "no trouble with the endpoint is known"
    UNSIGNED = (
        "Unsigned",
        "SecretsResolved",
        (
            "(True) `spec.secretRef` names no Secret: calls carry no signature, so anybody who knows the URL can make "
            "them. The message of `Ready`, `hookline check` and `hookline run` say so too"
        ),
        (
            "write `secretRef` ([signing](signing.md)), unless the receiver tells callers apart in another way, such "
            "as by `headers`"
        ),
    )
    DISABLED = (
        "Disabled",
        "Ready Delivering",
        "`spec.enabled` is false: no calls are made, and events of this time are not kept for later",
        "set it to true",
    )
    PAUSED = (
        "Paused",
        "Ready Delivering",
        (
            "`spec.paused` is true: no calls are made, and deliveries wait, for as long as `retention.parkedSeconds` "
            "of the Dispatcher"
        ),
        "set it to false",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "Accepted",
        (
            "the spec breaks a rule that the API server did not check: its CRDs are older than the operator, or "
            "newer. Deliveries wait, those of new events too"
        ),
        "apply the CRDs and the operator of one version; the message names the field",
    )
    UNKNOWN_EVENT = (
        "UnknownEvent",
        "Accepted",
        "no EventType and no built-in event has that name",
        "take one of the names in the message, or have an EventType created; it heals by itself",
    )
    URL_NOT_ALLOWED = (
        "URLNotAllowed",
        "Accepted",
        "the URL names an address that may not be called",
        (
            "`spec.egress.allowCidrs` and `allowPorts` of the Dispatcher (`--allow-cidr` on one machine); some "
            "addresses can never be called ([egress](egress.md))"
        ),
    )
    TIMEOUT_TOO_LONG = (
        "TimeoutTooLong",
        "Accepted",
        "`timeoutSeconds` is above the Dispatcher's `maxTimeoutSeconds`",
        "lower it",
    )
    DISPATCHER_NOT_FOUND = (
        "DispatcherNotFound",
        "Accepted",
        "no Dispatcher that works has that name",
        "take one of the names in the message",
    )
    NAMESPACE_NOT_SERVED = (
        "NamespaceNotServed",
        "Accepted",
        "the Dispatcher does not serve this namespace",
        "name another, or have its administrators change `spec.servedNamespaces`",
    )
    SECRET_NOT_ALLOWED = (
        "SecretNotAllowed",
        "SecretsResolved",
        (
            'there is no Secret of that name with the label `hookline.dev/allow-webhooks: "true"`. The operator never '
            "asks for Secrets without it, so it cannot know whether one exists"
        ),
        "create it, and its owner sets the label",
    )
    SECRET_KEY_MISSING = (
        "SecretKeyMissing",
        "SecretsResolved",
        "the Secret has no such key",
        "correct the key, or add it",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        "SecretsResolved",
        (
            "the value is no signing key, header value, certificate or private key, or one that is not taken "
            "([egress.md](egress.md#tls))"
        ),
        "the message says what to write",
    )
    TOO_LARGE = (
        "TooLarge",
        "SecretsResolved",
        "headers, certificates and the URL's query take more than 96 KiB together, as they stand in the route book",
        "write fewer or shorter headers, and only the CA certificates that are needed. Signing keys do not count",
    )
    INTERNAL_ERROR = (
        "InternalError",
        "Accepted SecretsResolved",
        "a fault in Hookline kept the Webhook from being decided; its deliveries wait",
        "report it; any change of the Webhook or its Secrets has it tried again",
    )
    PENDING = (
        "Pending",
        "Programmed Delivering",
        (
            "written into the route book; some senders have not loaded it for more than two seconds. Of `Delivering` "
            "(Unknown): a sender may still call by the version before"
        ),
        "wait; if it stays, look at the Dispatcher's sender pods",
    )
    NO_SENDERS = (
        "NoSenders",
        "Programmed",
        "written, but no sender pod is ready",
        "the Dispatcher's administrators look at its pods",
    )
    SENDER_TOO_OLD = (
        "SenderTooOld",
        "Programmed",
        (
            "a sender of the Dispatcher is of a version that does not know what this Webhook needs. It holds the "
            "Webhook; newer senders deliver it"
        ),
        "wait for the end of the rollout, or raise `spec.image` of the Dispatcher ([upgrades](upgrades.md))",
    )
    BOOK_REFUSED = (
        "BookRefused",
        "Programmed",
        (
            "the API server does not take the route book: a quota, an admission policy, or an object of it that "
            "somebody made immutable. The version before stays in force"
        ),
        (
            "the Dispatcher's administrators do what the message says; an immutable object is deleted by hand, and "
            "made anew"
        ),
    )
    BOOK_FULL = (
        "BookFull",
        "Programmed",
        (
            "the Dispatcher's route book has no room for this version of the Webhook, or the Webhooks of its "
            "namespace use [their share](kubernetes.md#several-teams). A new Webhook is not called, and events of "
            "this time are not for it; one that was there goes on as it was: called by the version before, or waiting"
        ),
        (
            "delete Webhooks of the namespace, shorten headers and certificates, or use another Dispatcher; it is "
            "tried again within a minute after anything made room"
        ),
    )
    ROTATION_REFUSED = (
        "RotationRefused",
        "Programmed",
        (
            "as BookFull, and a signing key, a header, a client key or the query of the URL was replaced: **those "
            "from before go on**, because a book that others filled should not stop deliveries"
        ),
        (
            "as with BookFull. If what was replaced leaked, take the label off its Secret: that always takes effect, "
            "and calls stop. `hookline_webhooks_without_room` counts these Webhooks"
        ),
    )
    ENDPOINT_FAILING = (
        "EndpointFailing",
        "Delivering",
        (
            "five calls in a row failed; since when, and how, is in the message. Deliveries wait, and one is tried "
            "after 5 s and then at growing intervals up to 5 min"
        ),
        (
            "the receiver's operators look at it; once a call succeeds all are sent. What waited for as long as its "
            "schedule lasts, and at least an hour, becomes a dead letter `ScheduleSpent`"
        ),
    )
    ENDPOINT_GONE = (
        "EndpointGone",
        "Delivering",
        (
            "the receiver answered 410, which asks never to be called again. No calls are made; deliveries wait, and "
            "become dead letters `ParkedExpired` after `retention.parkedSeconds`"
        ),
        "correct `spec.url`; any change of the spec has it called again. Else delete the Webhook",
    )


class DispatcherReason(ConditionReason):
    """What a condition of a Dispatcher may have as its reason, with those of queue_problem."""

    ACCEPTED = "Accepted", "Accepted", "the spec is valid"
    ALL_SENDERS = "AllSenders", "Available", "all sender pods are ready"
    ALL_GATEWAYS = "AllGateways", "GatewayAvailable", "all gateway pods are ready"
    ALL_LOG_APIS = (
        "AllLogApis",
        "LogApiAvailable",
        "all pods of the log's API are ready, and kube-apiserver reaches them",
    )
    ROLLED_OUT = "RolledOut", "RolledOut", "the pods of senders and gateway are those of this generation"
    QUEUE_READY = (
        "QueueReady",
        "QueueReady",
        "at least one sender takes from the queue and stores in it",
        "what the message says of the [attempts log](queue.md#the-attempts-log), if it says something",
    )
    WRITTEN = "Written", "BookWritten", "the route book holds what the Webhooks say"
    ISSUED = (
        "Issued",
        "CertificateReady",
        "the gateway shows a certificate of the installation's CA, which is renewed by itself",
    )
    OWN_CERTIFICATE = (
        "OwnCertificate",
        "CertificateReady",
        "the gateway shows what the Secret in `spec.gateway.tls.secretRef` holds; nobody else renews it",
    )
    READY = "Ready", "Ready", "all of the above: the new generation is what runs"
    INVALID_SPEC = (
        "InvalidSpec",
        "Accepted",
        "the spec breaks a rule that the API server did not check",
        "apply the CRDs and the operator of one version; the message names the field",
    )
    NATS_IN_USE = (
        "NATSInUse",
        "Accepted",
        (
            "an older Dispatcher uses the same NATS account, on one of the servers in `spec.nats.url`, and two would "
            "take each other's events"
        ),
        "give it a NATS, or an account, of its own",
    )
    SOME_SENDERS = (
        "SomeSenders",
        "Available",
        "(True) some sender pods are ready, and not all",
        "look at the others, as with NoSenders",
    )
    NO_SENDERS = (
        "NoSenders",
        "Available QueueReady",
        "no sender pod is ready; of `QueueReady` (Unknown): none has answered",
        (
            "`kubectl get pods -l hookline.dev/dispatcher=NAME` and their logs: mostly NATS cannot be reached, or the "
            "image cannot be pulled"
        ),
    )
    GATEWAY_DISABLED = (
        "GatewayDisabled",
        "GatewayAvailable",
        "`spec.gateway.enabled` is false: nobody can publish by HTTPS. `Ready` does not count it",
        "set it to true",
    )
    SOME_GATEWAYS = (
        "SomeGateways",
        "GatewayAvailable",
        "(True) some gateway pods are ready, and not all",
        "look at the others, as with NoGateway",
    )
    NO_GATEWAY = (
        "NoGateway",
        "GatewayAvailable",
        "no gateway pod is ready, so that nobody can publish by HTTPS. What is stored is delivered all the same",
        (
            "`kubectl describe pods -l app.kubernetes.io/component=gateway` and their logs: mostly the Secret with the "
            "certificate is missing, NATS cannot be reached, or the image cannot be pulled ([gateway](gateway.md))"
        ),
    )
    LOG_API_DISABLED = (
        "LogApiDisabled",
        "LogApiAvailable",
        (
            "the operator has `--api-replicas=0`: nobody can ask what became of deliveries. `Ready` never counts this "
            "condition"
        ),
        "take the flag away; while it is there, the APIService must not be ([the log's API](log-api.md))",
    )
    SOME_LOG_APIS = (
        "SomeLogApis",
        "LogApiAvailable",
        "(True) some pods of the log's API are ready, and not all",
        "look at the others, as with NoLogApi",
    )
    NO_LOG_API = (
        "NoLogApi",
        "LogApiAvailable",
        (
            "no pod of the log's API is ready: `kubectl get attempts` fails. Events are taken and delivered all the "
            "same, but until it is back `kubectl api-resources` complains, and namespaces that are deleted stay "
            "Terminating"
        ),
        (
            "`kubectl describe pods -l app.kubernetes.io/component=api` and their logs "
            "([the log's API](log-api.md#what-to-do-when))"
        ),
    )
    LOG_API_NOT_REACHED = (
        "LogApiNotReached",
        "LogApiAvailable",
        "pods are ready, and kube-apiserver does not pass on to them what people ask; the message says why",
        (
            "`kubectl describe apiservice v1alpha1.log.hookline.dev`; mostly a firewall between control plane and "
            "pods, port 8443 ([the log's API](log-api.md#what-to-do-when))"
        ),
    )
    ROLLING_OUT = (
        "RollingOut",
        "RolledOut",
        "not yet, with what a pod waits for, such as ImagePullBackOff",
        "correct `spec.image` if it is that; what ran before runs on",
    )
    ROLLOUT_STUCK = (
        "RolloutStuck",
        "RolledOut",
        "it does not go on, or pods cannot be made",
        (
            "correct `spec.image`, `spec.resources`, the quota or the policy that the message names; what ran before "
            "runs on"
        ),
    )
    ROLLOUT_PAUSED = (
        "RolloutPaused",
        "RolledOut",
        "the Deployment is paused",
        "resume its rollout with `kubectl rollout resume`; what ran before runs on",
    )
    REFUSED = (
        "Refused",
        "RolledOut",
        "the API server does not take the pods' objects",
        "correct `spec.resources`, the quota or the policy that the message names; what ran before runs on",
    )
    NOT_ISSUED = (
        "NotIssued",
        "CertificateReady",
        (
            "there is no certificate yet, or no new one can be made: the Secret `hookline-ca` is not the operator's, "
            "a quota, an admission policy or a frozen object (`immutable: true`) keeps a Secret from being written, or "
            "the operator's clock is not that of the API server. A certificate from before is shown on"
        ),
        "do what the message says; a Secret that is in the way is deleted by hand, and made anew",
    )
    LOSES_MOST = (
        "LosesMost",
        "BookWritten",
        (
            "more than half of the Webhooks would stop hearing events within a minute; that is written once a second, "
            "fresh read of the cluster says the same, mostly within seconds"
        ),
        "nothing, if it was meant; else look at who deleted or changed Webhooks, EventTypes or Dispatchers",
    )
    BOOK_REFUSED = (
        "BookRefused",
        "BookWritten",
        (
            "a quota, an admission policy or a frozen object (`immutable: true`) keeps the book from being written, "
            "in its own words; what was written before stays in force"
        ),
        "do what the message says; an immutable object is deleted by hand, and made anew",
    )


class EventTypeReason(ConditionReason):
    """What a condition of an EventType may have as its reason."""

    ACCEPTED = "Accepted", "Accepted", "the schema is a JSON Schema"
    READY = "Ready", "Ready", "events of this type may be published"
    COMPATIBLE = (
        "Compatible",
        "Compatible",
        "the last change of the schema refuses nothing that was taken, and receivers get what they had",
    )
    REFUSES_MORE = (
        "RefusesMore",
        "Compatible",
        (
            "the last change of the schema took effect, and it may refuse bodies that producers send; the message has "
            "the places, and what receivers lose besides"
        ),
        "see that producers send what the schema asks for now, or undo the change",
    )
    PROMISES_LESS = (
        "PromisesLess",
        "Compatible",
        "the last change of the schema took effect, and receivers may get what they never got, or miss what they had",
        "tell the teams whose Webhooks hear the event, or undo the change",
    )
    NOT_JUDGED = (
        "NotJudged",
        "Compatible",
        "(Unknown) what the last change of the schema means cannot be told for the places in the message",
        "look at them; nothing else was found",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "Accepted",
        (
            "the spec breaks a rule that the API server did not check. If it was accepted before, that version stays "
            "in force"
        ),
        "apply the CRDs and the operator of one version; the message names the field",
    )
    INVALID_SCHEMA = (
        "InvalidSchema",
        "Accepted",
        "`spec.schema` is not a JSON Schema that can be used. If it was accepted before, that version stays in force",
        "the message names the place",
    )
    INVALID_SAMPLE = (
        "InvalidSample",
        "Accepted",
        (
            "`spec.sample` does not match `spec.schema`, so that one of them is wrong. If the EventType was accepted "
            "before, that version stays in force"
        ),
        "the message names the place in the sample",
    )
    BOOK_FULL = (
        "BookFull",
        "Accepted",
        "all schemas and samples together exceed 700 KiB, and older EventTypes have room first",
        "shorten some of them",
    )


class ReplayReason(ConditionReason):
    """What a condition of a Replay may have as its reason."""

    PENDING = "Pending", "Complete", "nothing of it was done yet", "see that `hookline api` runs, if it stays so"
    RUNNING = "Running", "Complete", "deliveries are being stored, or counted"
    WAITING = (
        "Waiting",
        "Complete",
        "many deliveries of a Webhook wait already: it goes on when fewer do, so that live ones are not held up",
        "nothing; or see why they wait (`kubectl get webhooks`)",
    )
    WEBHOOK_DISABLED = (
        "WebhookDisabled",
        "Complete",
        "`spec.enabled` of a Webhook is false: it would not be called. It goes on when that is true",
        "set it to true, or delete the Replay",
    )
    QUEUE_UNAVAILABLE = (
        "QueueUnavailable",
        "Complete",
        "the queue, or the attempts log (onlyFailed), cannot be read or written now; it is tried again",
        "see the condition QueueReady of the Dispatcher",
    )
    COMPLETE = "Complete", "Complete", "(True) all that was asked for is stored, or was skipped or refused and counted"
    DRY_RUN = "DryRun", "Complete", "(True) all that was asked for is counted, and nothing was stored"
    WEBHOOK_NOT_FOUND = (
        "WebhookNotFound",
        "Failed Complete",
        "the namespace has no such Webhook, or none with these labels",
        "name one that is there, in another Replay",
    )
    TOO_MANY_WEBHOOKS = (
        "TooManyWebhooks",
        "Failed Complete",
        "more than 100 Webhooks have these labels",
        "make several Replays",
    )
    WEBHOOK_GONE = (
        "WebhookGone",
        "Failed Complete",
        "a Webhook was deleted, or replaced by another one of its name, while its deliveries were replayed",
        "make another Replay for the one that is there",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "Failed Complete",
        "the spec breaks a rule that the API server did not check",
        "apply the CRDs and `hookline api` of one version",
    )


def table(reasons: type[ConditionReason]) -> str:
    """One list as a table in Markdown."""
    rows = [f"| {each} | {', '.join(each.conditions)} | {each.means} | {each.advice} |" for each in reasons]
    return "\n".join(["| reason | condition | what it means | what to do |", "| --- | --- | --- | --- |", *rows])
