"""The only writer of compose/: renders the catalogue into committed files and says what differs.

Owns: compose/. Reads: catalog/ through resolve and render. Never: a host, a secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stepdown.catalog import Catalog
from stepdown.render.agent import plan_facts, policy_facts
from stepdown.render.compose import edge_compose, plan_compose
from stepdown.render.egress import egress_bootstrap
from stepdown.render.gateway import bootstrap, plan_gateway, route_configuration
from stepdown.render.mocks import mocks_compose
from stepdown.resolve import deployable

HEADER = "# Generated from catalog/ by 'invoke bundle'. Do not edit.\n"
README = """
The bundles: for each plan that can be deployed its compose file, its gateway routes and clusters, and what the host
agent knows of it; `edge/` is the gateway and the egress proxy. JSON files have no room for the header above, but it
holds for them too. How they are used by hand, with no Python at all, stands in the README of the repository. `test/` is
no part of a release: mocks of three servers, for tests of clients (docs/mocks.md).
"""


class _Dumper(yaml.SafeDumper):
    """Plain YAML: no anchors, lists indented."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def render_all(catalog: Catalog) -> dict[str, str]:
    """Every file of compose/ that is generated: path below compose/ to text."""
    edge = {"gateway": _json(bootstrap()), "egress": _json(egress_bootstrap())}
    digests = {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in edge.items()}
    files = {
        **{f"edge/{name}/bootstrap.json": text for name, text in edge.items()},
        "edge/idle.json": _json(route_configuration([])),
        "README.md": HEADER + README,
        "policy.json": _json(policy_facts(catalog)),
        "edge/compose.yml": _yaml(edge_compose(digests)),
        "test/compose.yml": _yaml(mocks_compose(catalog)),
    }
    for plan in deployable(catalog):
        folder = f"plan_{plan.name.lower()}"
        files[f"{folder}/compose.yml"] = _yaml(plan_compose(plan))
        files[f"{folder}/gateway.json"] = _json(plan_gateway(catalog, plan))
        files[f"{folder}/plan.json"] = _json(plan_facts(plan))
    return files


def differences(root: Path, files: Mapping[str, str]) -> list[str]:
    """Paths below compose/ whose committed text is missing, stale or no longer generated."""
    compose = root / "compose"
    stale = [path for path, text in files.items() if not _same(compose / path, text)]
    present = [path.relative_to(compose) for path in sorted(compose.rglob("*")) if path.is_file()]
    leftover = [str(path) for path in present if str(path) not in files]
    return sorted(stale + leftover)


def write_all(root: Path, files: Mapping[str, str]) -> list[str]:
    """Make compose/ equal to `files`; returns the paths that changed."""
    changed = differences(root, files)
    for path in changed:
        target = root / "compose" / path
        if path in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path], encoding="utf-8")
        else:
            target.unlink()
            with contextlib.suppress(OSError):  # it holds other files
                target.parent.rmdir()
    return changed


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _yaml(data: Mapping[str, Any]) -> str:
    return HEADER + yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, width=1_000_000)


def _json(data: Mapping[str, Any]) -> str:
    # JSON has no comments; Envoy and the agent refuse unknown keys, so the header stands in README.md of compose/
    return json.dumps(data, indent=2) + "\n"
