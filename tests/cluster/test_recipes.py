"""The manifests of docs/publishing-recipes.md, as a real API server takes them."""

from __future__ import annotations

import re
from pathlib import Path

from controlplane.kubectl import Kubectl

PAGE = Path(__file__).parents[2] / "docs/publishing-recipes.md"


def test_a_namespace_that_is_restricted_takes_the_cron_job_without_a_warning(kubectl: Kubectl, namespace: str) -> None:
    kubectl.ok(
        *("label", "namespace", namespace),
        *(f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")),
    )
    (manifest,) = (each for each in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if "kind:" in each)
    words = ("create", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-")
    done = kubectl(*words, stdin=manifest)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cronjob.batch/nightly-report created" in done.stdout
    worse = kubectl(*words, stdin=manifest.replace("runAsNonRoot: true", "runAsNonRoot: false"))
    assert "runAsNonRoot" in worse.stderr
