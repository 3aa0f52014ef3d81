"""The API of a cluster, asked by kubectl: it knows contexts, exec plugins, proxies and tokens, so that we need not."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from hookline.cli.log.api import EVERYTHING, Api, Denied, Object, Params, object_in
from hookline.runtime.log_wording import printable

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""What kubectl goes by in a pod without a kubeconfig."""

_SERVER_ERROR = re.compile(r"Error from server(?: \((\w+)\))?: (.*)", re.DOTALL)
_ERROR_BEGINS = (
    "Error from server",
    "error:",
    "Error:",
    "Unable to connect",
    "The connection to the server",
    "E0",
    "E1",
)
"""How kubectl begins what it fails with. What else it writes, such as how to log in, a person must see at once."""

_HINTS = {
    "the server could not find the requested resource": "; is the log's API installed, and of this version?",
    "the server is currently unable to handle the request": (
        "; the log's API does not answer: kubectl get apiservice v1alpha1.log.hookline.dev"
    ),
}
"""Behind what kube-apiserver says, by how that begins."""


class Kubectl(Api):
    """`flags`: those of kubectl that a person typed, as words."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self._flags = tuple(flags)

    def get(self, path: str, params: Params = EVERYTHING) -> Object:
        return _object(self.text(path, params))

    def text(self, path: str, params: Params = EVERYTHING) -> str:
        return self._run("get", "--raw", _with(path, params))

    def post(self, path: str, body: Object) -> Object:
        return _object(self._run("create", "--raw", path, "-f", "-", stdin=json.dumps(body)))

    def delete(self, path: str) -> Object:
        return _object(self._run("delete", "--raw", path))

    def follow(self, path: str, params: Params = EVERYTHING) -> Iterator[Object]:
        with self._started("get", "--raw", _with(path, {**params, "watch": "true"})) as (process, said):
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    yield _object(line)
            said.end(process)

    def current_namespace(self) -> str:
        with contextlib.suppress(Denied):
            if named := self._run("config", "view", "--minify", "-o", "jsonpath={..namespace}").strip():
                return named.split()[0]
        with contextlib.suppress(OSError):
            return POD_NAMESPACE.read_text(encoding="ascii").strip() or "default"
        return "default"

    def _run(self, *words: str, stdin: str = "") -> str:
        with self._started(*words, stdin=stdin) as (process, said):
            assert process.stdout is not None
            out = process.stdout.read()
            said.end(process)
            return out

    @contextlib.contextmanager
    def _started(self, *words: str, stdin: str = "") -> Iterator[tuple[subprocess.Popen[str], _Said]]:
        """kubectl under way; ended when the block is, whatever ends it."""
        program = shutil.which("kubectl")
        if program is None:
            raise Denied("kubectl is not on the PATH; it is what asks the cluster")
        # Where nothing is handed over, an exec plugin may ask the person at the terminal.
        process = subprocess.Popen(  # noqa: S603 - no shell, and kubectl is whatever the person calls so
            [program, *words, *self._flags],
            stdin=subprocess.PIPE if stdin else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        said = _Said(process.stderr)
        atexit.register(process.terminate)  # of a thread that the end of this program does not wait for
        try:
            if stdin:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    process.stdin.write(stdin)
            yield process, said
        finally:
            atexit.unregister(process.terminate)
            if process.poll() is None:
                process.terminate()
                process.wait()
            said.close()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class _Said:
    """What kubectl writes beside its answer: kept if it is how it failed, else passed on as it comes."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._descriptor = stream.fileno()
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def end(self, process: subprocess.Popen[str]) -> None:
        """Wait for the end of a process; Denied if it failed."""
        code = process.wait()
        self.close()
        if code:
            raise denied(self._kept.decode("utf-8", "backslashreplace"), code)

    def close(self) -> None:
        self._thread.join()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self._descriptor, 65536):
                if self._kept or part.decode("utf-8", "replace").lstrip().startswith(_ERROR_BEGINS):
                    self._kept += part
                else:
                    sys.stderr.write(_for_terminal(part.decode("utf-8", "backslashreplace")))
                    sys.stderr.flush()


def denied(said: str, exit_code: int) -> Denied:
    """What kubectl failed with, in one line."""
    lines = [line for line in said.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} ", line)] or [said]
    text = printable(" ".join(" ".join(lines).split()))
    found = _SERVER_ERROR.fullmatch(text)
    reason, message = (found[1] or "", found[2]) if found else ("", text.removeprefix("error: "))
    message += next((hint for begin, hint in _HINTS.items() if message.startswith(begin)), "")
    return Denied(message or "kubectl failed without a word", reason=reason, exit_code=exit_code)


def kubectl_flags(values: Mapping[str, object]) -> list[str]:
    """The words of flags by their names, such as `as_group`; what was not typed is None, False or empty."""
    words: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, list | tuple):
            words += [f"{flag}={each}" for each in value]
        elif value:
            words.append(f"{flag}={value}")
    return words


def _with(path: str, params: Params) -> str:
    return f"{path}?{urlencode(params)}" if params else path


def _object(text: str) -> Object:
    found = object_in(text)
    if found is None:
        raise Denied("what answers there is no Kubernetes API: its answer is no JSON object")
    return found


def _for_terminal(text: str) -> str:
    return "".join(each if each.isprintable() or each in "\r\n\t" else printable(each) for each in text)
