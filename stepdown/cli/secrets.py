"""secrets.check."""

from __future__ import annotations

from invoke.context import Context

from stepdown import secret_variables
from stepdown.cli import door

LOCAL = "inventory/local"


@door.command(help={"inventory": "the hosts; inventory/local is this machine"})
def check(_context: Context, inventory: str = LOCAL) -> None:
    """Say which secrets an inventory gives its hosts, never a value; exit 1 when a needed one is missing or locked."""
    findings = secret_variables.examine(door.ROOT, inventory, secret_variables.secrets_of(door.ROOT))
    path = door.ROOT / inventory
    folder = path if path.is_dir() else path.parent
    for finding in findings:
        print(secret_variables.line(finding))
    for name in dict.fromkeys(finding.secret.name for finding in findings):
        found = secret_variables.source(folder, name)
        print(f"{name} comes from: {_here(found.told)}")
        if any(finding.missing for finding in findings if finding.secret.name == name):
            print(f"  to set it: {_here(found.remedy)}")
    print("A host keeps the secrets that it was given; docs/runbooks/secrets.md says how to rotate them.")
    door.leave(0 if all(finding.good for finding in findings) else 1)


def _here(text: str) -> str:
    """Paths below the checkout as people type them in it."""
    return text.replace(f"{door.ROOT}/", "")
