"""What kube-apiserver knows of the log's API: which CA it is to trust, and what it says of it. Pure."""

from __future__ import annotations

import base64
from typing import Any

from hookline.control.https_pods import HTTPS_PORT
from hookline.control.kinds import API_NAME, API_SERVICE_NAME, Object, mapping_of

_APPLY = "apply the overlay"


def problem_in(live: Object | None, namespace: str) -> str:
    """Why people do not reach the log by kube-apiserver; empty if they do. `live` is the APIService, if there is one.

    Its own words hold addresses and change with each try: of them the reason alone is told.
    """
    if live is None:
        return f"there is no APIService {API_SERVICE_NAME}; {_APPLY}"
    if not is_ours(live, namespace):
        return f"the APIService {API_SERVICE_NAME} names the Service of another installation; one of a cluster has it"
    conditions = mapping_of(live.get("status")).get("conditions")
    found = [mapping_of(each) for each in conditions] if isinstance(conditions, list) else []
    available = next((each for each in found if each.get("type") == "Available"), {})
    if available.get("status") == "True":
        return ""
    reason = available.get("reason")
    said = reason if isinstance(reason, str) and reason.isalpha() and len(reason) <= 64 else "nothing yet"
    return (
        f"kube-apiserver does not reach it ({said}); look at: kubectl describe apiservice {API_SERVICE_NAME}. It must "
        f"reach pods at port {HTTPS_PORT}"
    )


def is_ours(live: Object, namespace: str) -> bool:
    """Whether an APIService names the Service of the installation in a namespace."""
    service = mapping_of(mapping_of(live.get("spec")).get("service"))
    return (service.get("namespace"), service.get("name")) == (namespace, API_NAME)


def with_bundle(live: Object, bundle: str) -> dict[str, Any] | None:
    """What is to be applied so that it trusts a bundle, or None if it does: the one field.

    It names the version that was read, and the uid: one that is gone is not made anew.
    """
    wanted = base64.b64encode(bundle.encode()).decode("ascii")
    if mapping_of(live.get("spec")).get("caBundle") == wanted:
        return None
    metadata = {key: live["metadata"][key] for key in ("name", "uid", "resourceVersion")}
    return {"metadata": metadata, "spec": {"caBundle": wanted}}
