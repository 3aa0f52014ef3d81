"""The API that `hookline run` opens on loopback, found by a file in its data folder. Decides nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from hookline.cli.errors import WrongInput
from hookline.cli.log.api import EVERYTHING, Api, Denied, Object, Params, object_in
from hookline.runtime.log_wording import printable

API_FILE = "api.json"
"""In the data folder: `{"url": "http://127.0.0.1:…", "token": …}`."""

ANSWER_SECONDS = 60.0
"""A test call may take as long as the Webhook's timeout, 30 s at most."""


class Loopback(Api):
    """Of the `hookline run` on a data folder. Raises WrongInput if there is none."""

    def __init__(self, data: Path) -> None:
        self._data = data
        file = data.absolute() / API_FILE
        try:
            known = json.loads(file.read_bytes())
            address = urlsplit(known["url"])
            self._host, self._port, self._token = address.hostname or "", address.port or 80, str(known["token"])
        except FileNotFoundError:
            raise self._nobody() from None
        except (OSError, ValueError, KeyError, TypeError):
            raise WrongInput(f"{file} cannot be read; start `hookline run` anew, which writes it") from None

    def get(self, path: str, params: Params = EVERYTHING) -> Object:
        return _object(self._asked("GET", path, params))

    def text(self, path: str, params: Params = EVERYTHING) -> str:
        return self._asked("GET", path, params).decode("utf-8", "backslashreplace")

    def post(self, path: str, body: Object) -> Object:
        return _object(self._asked("POST", path, {}, json.dumps(body).encode()))

    def delete(self, path: str) -> Object:
        return _object(self._asked("DELETE", path, {}))

    def follow(self, path: str, params: Params = EVERYTHING) -> Iterator[Object]:
        with self._answer("GET", path, {**params, "watch": "true"}, None, timeout_s=None) as answer:
            try:
                while line := answer.readline():
                    if line.strip():
                        yield _object(line)
            except (OSError, http.client.HTTPException) as error:
                raise _lost(error) from None

    def current_namespace(self) -> str:
        return "default"

    def _asked(self, method: str, path: str, params: Params, body: bytes | None = None) -> bytes:
        with self._answer(method, path, params, body, timeout_s=ANSWER_SECONDS) as answer:
            try:
                return answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise _lost(error) from None

    @contextlib.contextmanager
    def _answer(
        self, method: str, path: str, params: Params, body: bytes | None, *, timeout_s: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            try:
                connection.request(method, f"{path}?{urlencode(params)}" if params else path, body, headers)
                answer = connection.getresponse()
            except ConnectionRefusedError:
                raise self._nobody() from None
            except (OSError, http.client.HTTPException) as error:
                raise _lost(error) from None
            if answer.status >= 400:
                raise denied(answer.status, answer.read(1_000_000))
            yield answer
        finally:
            connection.close()

    def _nobody(self) -> WrongInput:
        return WrongInput(
            f"no `hookline run` works on {self._data}; start one, or name its --data. In a cluster: kubectl hookline"
        )


def denied(status: int, body: bytes) -> Denied:
    """What a Status says."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    message, reason = said.get("message"), said.get("reason")
    return Denied(
        printable(message) if isinstance(message, str) and message else f"`hookline run` answered {status}",
        reason=reason if isinstance(reason, str) else "",
    )


def _lost(error: Exception) -> Denied:
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Denied(f"`hookline run` did not answer to the end ({why}); is it still running?", reason="Lost")


def _object(content: bytes) -> Object:
    found = object_in(content)
    if found is None:
        raise Denied("`hookline run` answered what is no JSON object; are both of one version?")
    return found
