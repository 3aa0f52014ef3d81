"""The samples of docs/receiving.md, each run in its language where that is at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks

from hookline.local.receiver import new_secret

PAGE = Path(__file__).parents[2] / "docs/receiving.md"
BODY = '{"name": "Zoë", "id": 7}'

PYTHON = """
import json, sys
case = json.load(sys.stdin)
print(json.dumps([verify(case["secret"], headers, case["body"].encode()) for headers in case["calls"]]))
"""
NODE = """
const given = JSON.parse(require("node:fs").readFileSync(0, "utf-8"));
console.log(JSON.stringify(given.calls.map((headers) => verify(given.secret, headers, Buffer.from(given.body)))));
"""
GO = """
package main

import (
	"encoding/json"
	"net/http"
	"os"
)

func main() {
	var given struct {
		Secret, Body string
		Calls        []map[string]string
	}
	json.NewDecoder(os.Stdin).Decode(&given)
	verdicts := []bool{}
	for _, call := range given.Calls {
		header := http.Header{}
		for name, value := range call {
			header.Set(name, value)
		}
		verdicts = append(verdicts, Verify(given.Secret, header, []byte(given.Body)))
	}
	json.NewEncoder(os.Stdout).Encode(verdicts)
}
"""
JAVA = """
class Main {
  public static void main(String[] words) throws Exception {
    byte[] body = java.nio.file.Files.readAllBytes(java.nio.file.Path.of("body"));
    StringBuilder said = new StringBuilder();
    String[] names = {"webhook-id", "webhook-timestamp", "webhook-signature"};
    for (int at = 1; at < words.length; at += 3) {
      var headers = new java.util.HashMap<String, String>();
      for (int which = 0; which < 3; which++) {
        if (!words[at + which].equals("-")) {
          headers.put(names[which], words[at + which]);
        }
      }
      said.append(said.length() == 0 ? "[" : ", ").append(Webhook.verify(words[0], headers, body));
    }
    System.out.println(said + "]");
  }
}
"""


def sample(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def output(folder: Path, *command: str, stdin: str = "", **environment: str) -> str:
    environ = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=100, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_python(folder: Path, case: str) -> str:
    (folder / "receiver.py").write_text(sample("python") + PYTHON)
    return output(folder, sys.executable, "receiver.py", stdin=case)


def in_node(folder: Path, case: str) -> str:
    (folder / "receiver.js").write_text(sample("javascript") + NODE)
    return output(folder, "node", "receiver.js", stdin=case)


def in_go(folder: Path, case: str) -> str:
    (folder / "go.mod").write_text("module webhook\n\ngo 1.21\n")
    (folder / "webhook.go").write_text(sample("go").replace("package webhook", "package main"))
    (folder / "main.go").write_text(GO)
    # Flags as for Kubernetes: what that compiled of the standard library is not compiled again.
    output(folder, "go", "build", "-trimpath", "-buildvcs=false", "-o", "receiver", ".", CGO_ENABLED="0")
    return output(folder, "./receiver", stdin=case)


def in_java(folder: Path, case: str) -> str:
    given = json.loads(case)
    (folder / "body").write_text(given["body"])
    (folder / "Main.java").write_text(JAVA)
    (folder / "Webhook.java").write_text(sample("java"))
    output(folder, "javac", "Main.java", "Webhook.java")
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return output(
        folder, "java", "Main", given["secret"], *(call.get(name, "-") for call in given["calls"] for name in names)
    )


@pytest.mark.parametrize(
    ("program", "verdicts"), [(sys.executable, in_python), ("node", in_node), ("go", in_go), ("javac", in_java)]
)
def test_a_sample_takes_what_verifies_and_nothing_else(
    tmp_path: Path, program: str, verdicts: Callable[[Path, str], str]
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not at hand")
    secret = new_secret()

    def call(*, key: str = secret, body: str = BODY, off_seconds: int = 0, before: str = "") -> dict[str, str]:
        sent = datetime.fromtimestamp(int(time.time()) + off_seconds, UTC)
        signature = standardwebhooks.Webhook(key).sign("evt_1", sent, body)
        return {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(int(sent.timestamp())),
            "webhook-signature": before + signature,
        }

    good = [call(), call(before="v1a,AAAA v1,AAAA "), call(off_seconds=-240), call(off_seconds=240)]
    bad = [
        call(key=new_secret()),
        call(body=BODY + " "),
        call(off_seconds=-400),
        call(off_seconds=400),
        {**call(), "webhook-id": "evt_2"},
        {**call(), "webhook-timestamp": "now"},
        {**call(), "webhook-timestamp": ""},
        {"webhook-id": "evt_1", "webhook-timestamp": call()["webhook-timestamp"]},
        {"webhook-id": "evt_1", "webhook-signature": call()["webhook-signature"]},
        {},
        {**call(), "webhook-signature": "v1,"},
        {**call(), "webhook-signature": call()["webhook-signature"].removeprefix("v1,")},
    ]
    case = json.dumps({"secret": secret, "body": BODY, "calls": [*good, *bad]})
    assert json.loads(verdicts(tmp_path, case)) == [True] * len(good) + [False] * len(bad)
