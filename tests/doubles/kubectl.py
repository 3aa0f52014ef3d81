"""A double of kubectl that asks a double of the API, and writes down with which words it was called.

Of the real one it has the words that the plugin uses, and how it says no.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PROGRAM = """#!{python} -S
import json, os, socket, sys
words = sys.argv[1:]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(words) + "\\n")
with open({pid!r}, "w") as pid:
    pid.write(str(os.getpid()))
if words[:2] == ["config", "view"]:
    print("team-a", end="")
    sys.exit()
if warning := os.environ.get("DOUBLE_WARNS"):
    sys.stderr.write(warning)
    sys.stderr.flush()
if code := os.environ.get("DOUBLE_FAILS"):
    sys.stderr.write("error: context \\"x\\"\\ndoes not exist\\n")
    sys.exit(int(code))
method = {{"get": "GET", "create": "POST", "delete": "DELETE"}}[words[0]]
body = sys.stdin.buffer.read() if method == "POST" else b""
path = words[words.index("--raw") + 1]
# By hand: a client of the standard library takes longer to be imported than all else here.
with socket.create_connection({address!r}) as connection, connection.makefile("rb") as answer:
    head = f"{{method}} {{path}} HTTP/1.0\\r\\nHost: localhost\\r\\nContent-Length: {{len(body)}}\\r\\n\\r\\n"
    connection.sendall(head.encode() + body)
    status = int(answer.readline().split()[1])
    while answer.readline().strip():
        pass
    if status < 400:
        while line := answer.readline():
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
        sys.exit()
    said = answer.read()
status = json.loads(said) if said.startswith(b"{{") else {{"reason": "Unknown", "message": said.decode()}}
sys.stderr.write("Error from server (" + status["reason"] + "): " + status["message"] + "\\n")
sys.exit(1)
"""


@dataclass
class KubectlDouble:
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """In which it is what `kubectl` means."""
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def is_running(self) -> bool:
        """The one that was started last."""
        try:
            os.kill(int((self.folder / "pid").read_text()), 0)
        except ProcessLookupError:
            return False
        return True


def kubectl_double(folder: Path, url: str) -> KubectlDouble:
    """That asks the API at `url`."""
    folder.mkdir(exist_ok=True)
    program = folder / "kubectl"
    parts = urlsplit(url)
    facts = {"python": sys.executable, "address": (parts.hostname, parts.port)}
    program.write_text(_PROGRAM.format(calls=str(folder / "calls"), pid=str(folder / "pid"), **facts))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return KubectlDouble(folder)
