"""`hookline listen`: a local TLS receiver that verifies and prints each call, and hands out manifests that reach it.

Decides where each line goes and how the command ends. Secrets are printed nowhere except in the manifests that were
asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import errno
import itertools
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer
from pydantic import ValidationError

from hookline.cli.common import default_state, run_until_signal
from hookline.cli.errors import NotAchieved, WrongInput
from hookline.events import builtin_events
from hookline.local import private_files, samples
from hookline.local.calls_shown import NO_DETAILS, Details, call_details, call_line, call_record
from hookline.local.forward import Forwarder
from hookline.local.receiver import ALWAYS_OK, HOST, Answer, ReceivedCall, Receiver, parse_answer
from hookline.local.receiver_folder import Kept, ReceiverFolderUnusable, kept_in
from hookline.local.verification import Verifier
from hookline.resources.base import problems_of
from hookline.resources.headers import header_value_problem
from hookline.resources.webhook import Webhook
from hookline.routing.signing import PUBLIC_PREFIX, SigningKeyError, split_keys

STANDARD_OUTPUT = "-"
MAX_DELAY_SECONDS = 600
DEFAULT_EVENT = "IdentityCreated"
BUILT_IN = tuple(event.name for event in builtin_events.EVENTS)


Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")]
SigningSecret = Annotated[
    str | None,
    typer.Option(
        metavar="KEYS",
        help="Key to verify with: whsec_..., whsk_... or whpk_...; several in one argument, with spaces between.",
        show_default="its own, made once",
    ),
]
HeaderSecret = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Header and value that verify a call without a signature; the manifests then use the scheme Header.",
    ),
]
Answers = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="CODE[:TIMES]",
        help="Status to answer with. Repeat it for a sequence, which each webhook-id goes through by itself; its last "
        "code repeats forever.",
        show_default="200",
    ),
]
Delay = Annotated[float, typer.Option(help=f"Wait this long before each answer, at most {MAX_DELAY_SECONDS}.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="NAME",
        help="Event that the manifests subscribe to. Repeat it for more; all means the 20 built-in ones.",
        show_default=DEFAULT_EVENT,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|-",
        help="Write the manifests that reach this receiver (Webhooks, Secret, CA Secret) to FILE or standard output. "
        "They hold the secret: FILE can be read by you only.",
    ),
]
Forward = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Pass calls on to an application, such as http://localhost:3000, and answer as it does. A path in it "
        "replaces the path that was called.",
    ),
]
Unverified = Annotated[
    bool, typer.Option("--take-unverified", help="Treat a call that does not verify like any other; else it gets 401.")
]
Folder = Annotated[
    Path | None, typer.Option(help="Folder for its CA and its secret.", show_default="~/.local/state/hookline-listen")
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a JSON object for each call.")]


def listen(
    port: Port = 8443,
    secret: SigningSecret = None,
    header_secret: HeaderSecret = None,
    answer: Answers = None,
    delay_seconds: Delay = 0,
    event: Events = None,
    manifests: Target = None,
    forward_to: Forward = None,
    take_unverified: Unverified = False,
    headers: Annotated[bool, typer.Option("--headers", help="Show the headers of each call, secrets too.")] = False,
    body: Annotated[bool, typer.Option("--body", help="Show the body of each call.")] = False,
    data: Folder = None,
    as_json: JsonLines = False,
) -> None:
    """Receive calls on this machine over TLS, verify each and print it, until Ctrl-C.

    The receiver keeps its CA and its secret: manifests of an earlier start reach it, as long as the port is the same.

    Example: hookline listen --manifests webhooks.yaml --answer 503:2 --answer 200
    """
    if manifests == STANDARD_OUTPUT and as_json:
        raise WrongInput("--json and --manifests - both want standard output; write the manifests to a file")
    if event and manifests is None:
        raise WrongInput("--event chooses what the manifests subscribe to; add --manifests FILE or --manifests -")
    if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
        raise WrongInput(f"--delay-seconds: write a number from 0 to {MAX_DELAY_SECONDS}")
    if answer and forward_to:
        raise WrongInput("--answer and --forward-to: only one of them can say what to answer")
    answers = [_answer(text) for text in answer or []] or ALWAYS_OK
    header = _header(header_secret)
    kept = _kept(data or default_state("hookline-listen"))
    key = _signing_secret(secret, goes_into_manifests=manifests is not None and header is None) or kept.secret
    offer = _Offer(manifests, _events(event), header[1] if header else key, header[0] if header else None)
    offer.check()
    receiver_for = partial(
        Receiver,
        secret=key,
        header_secret=header,
        port=port,
        answers=answers,
        delay_seconds=delay_seconds,
        ca=kept.ca,
        refuse_unverified=not take_unverified,
        forward=_forwarder(forward_to),
    )
    told = f"answering each delivery with {_told(answers)}" if forward_to is None else f"passing on to {forward_to}"

    async def work(stop: asyncio.Event) -> None:
        report = _Report(as_json, offer.on_stdout, stop, Details(headers, body))
        receiver = receiver_for(on_call=report.call)
        await _start(receiver, port)
        try:
            report.say(f"Listening on {receiver.url}, {told}; Ctrl-C ends")
            for line in offer.make(receiver):
                report.say(line)
            await stop.wait()
        finally:
            await receiver.stop()
        report.summary()

    run_until_signal(work)


@dataclass
class _Report:
    """Prints what happens and counts the calls. Sets `stop` when nobody reads the output any more."""

    as_json: bool
    stdout_is_taken: bool
    stop: asyncio.Event
    details: Details = NO_DETAILS
    calls: int = 0
    verified: int = 0

    @property
    def human(self) -> TextIO:
        return sys.stderr if self.as_json or self.stdout_is_taken else sys.stdout

    def call(self, call: ReceivedCall) -> None:
        self.calls += 1
        self.verified += call.is_verified
        if self.as_json:
            self._print(json.dumps(call_record(call, self.details)), sys.stdout)
        else:
            self._print("\n".join([call_line(call), *call_details(call, self.details)]), self.human)

    def say(self, line: str) -> None:
        self._print(line, self.human)

    def summary(self) -> None:
        self.say(f"Calls: {self.calls} ({self.verified} verified, {self.calls - self.verified} not verified)")

    def _print(self, line: str, stream: TextIO) -> None:
        try:
            print(line, file=stream, flush=True)
        except BrokenPipeError:
            self.stop.set()


@dataclass(frozen=True)
class _Offer:
    """The manifests that were asked for: where to put them and what they hold."""

    target: str | None
    events: tuple[str, ...]
    secret: str = field(repr=False)
    header_name: str | None

    @property
    def on_stdout(self) -> bool:
        return self.target == STANDARD_OUTPUT

    def check(self) -> None:
        """Raises WrongInput while nothing has been started yet."""
        for event in self.events:
            _check_webhook(event, self.header_name)
        if self.target is not None and not self.on_stdout:
            _check_target(self.target)

    def make(self, receiver: Receiver) -> list[str]:
        """Put the manifests where they were asked for. Returns lines that say how to go on."""
        if self.target is None:
            return ["To get the manifests that reach it, with its CA and its secret, add: --manifests FILE"]
        text = samples.listen_manifests(
            url=receiver.url,
            ca_pem=receiver.ca_pem,
            secret=self.secret,
            events=self.events,
            header_name=self.header_name,
        )
        notes = [_note(event) for event in self.events if event not in BUILT_IN]
        if self.on_stdout:
            _hand_over(text)
            return [*notes, "The manifests that reach it are on standard output"]
        _write(Path(self.target), text)
        command = f"hookline run {shlex.quote(self.target)} --allow-cidr 127.0.0.0/8"
        return [*notes, f"Wrote the manifests that reach it; use them with: {command}"]


def _answer(text: str) -> Answer:
    try:
        return parse_answer(text)
    except ValueError as error:
        raise WrongInput(f"--answer {error}") from None


def _told(answers: Sequence[Answer]) -> str:
    *first, last = answers
    return ", then ".join([*(f"{answer.times or 1} x {answer.code}" for answer in first), str(last.code)])


def _kept(folder: Path) -> Kept:
    try:
        return kept_in(folder.absolute())
    except ReceiverFolderUnusable as error:
        raise NotAchieved(f"--data: {error}") from None


def _forwarder(url: str | None) -> Forwarder | None:
    try:
        return Forwarder(url) if url is not None else None
    except ValueError as error:
        raise WrongInput(f"--forward-to: {error}") from None


def _signing_secret(given: str | None, *, goes_into_manifests: bool) -> str:
    """The keys to verify with, with spaces between them. A public key is enough unless somebody is to sign with it."""
    if given is None:
        return ""
    words = given.split()
    public = [word for word in words if word.startswith(PUBLIC_PREFIX) and not goes_into_manifests]
    private = " ".join(word for word in words if word not in public)
    try:
        Verifier(public)
        if private or not public:
            split_keys(private.encode("utf-8", "surrogateescape"))
    except SigningKeyError as error:
        raise WrongInput(f"--secret: {error}") from None
    except ValueError:
        raise WrongInput(f"--secret: what follows `{PUBLIC_PREFIX}` is not the base64 of 32 bytes") from None
    return " ".join(words)


def _header(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    name, equals, value = given.partition("=")
    if not equals:
        raise WrongInput("--header-secret: write NAME=VALUE, for example X-Api-Key=my-app-key")
    problem = header_value_problem(value)
    if problem is not None:
        raise WrongInput(f"--header-secret: the value {problem}")
    return name, value


def _events(asked: Sequence[str] | None) -> tuple[str, ...]:
    """The events to subscribe to, each once, `all` replaced by the built-in ones."""
    names = [BUILT_IN if name == "all" else (name,) for name in asked or [DEFAULT_EVENT]]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(names)))


def _note(event: str) -> str:
    near = difflib.get_close_matches(event, BUILT_IN, n=1)
    question = f" (did you mean {near[0]}?)" if near else ""
    return f"Note: {event} is not a built-in event{question}; it comes only with an EventType of your own"


def _check_webhook(event: str, header_name: str | None) -> None:
    """The rules of a Webhook, told in the words of the command line."""
    url = f"https://{HOST}/"
    manifest = samples.webhook("listen", url=url, event=event, secret_name="listen", header_name=header_name)  # noqa: S106
    try:
        Webhook.model_validate(manifest)
    except ValidationError as error:
        problem = problems_of(error)[0]
        option = "--event" if problem.path == ("spec", "event") else "--header-secret"
        raise WrongInput(f"{option}: the name {problem.message}") from None


def _check_target(target: str) -> None:
    path = Path(target)
    if not path.parent.is_dir():
        raise WrongInput(f"--manifests {target}: there is no folder {path.parent}; create it first")
    if not path.exists():
        return
    try:
        ours = path.is_file() and path.read_bytes().startswith(samples.LISTEN_MARK.encode())
    except OSError as error:
        raise WrongInput(f"--manifests {target}: cannot be read: {error.strerror}; choose another file") from None
    if not ours:
        raise WrongInput(f"--manifests {target}: exists and was not written by hookline listen; choose another file")


def _write(path: Path, text: str) -> None:
    """In one step, so that `hookline run` never reads half of it."""
    try:
        private_files.write(path, text.encode())
    except OSError as error:
        raise NotAchieved(f"--manifests {path}: cannot be written: {error.strerror}") from None


def _hand_over(text: str) -> None:
    """Write to standard output and end it, so that `hookline listen --manifests - | kubectl apply -f -` goes on."""
    with contextlib.suppress(BrokenPipeError):
        print(text, end="", flush=True)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # not closed: a socket would get its number


async def _start(receiver: Receiver, port: int) -> None:
    place = f"port {port} on {HOST}"
    try:
        await receiver.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise NotAchieved(f"{place} is in use; choose another with --port (0 takes any free one)") from None
        if error.errno == errno.EACCES:
            raise NotAchieved(f"{place} is kept for administrators; choose one above 1023 with --port") from None
        raise NotAchieved(f"cannot listen on {place}: {error}; try another --port") from None
