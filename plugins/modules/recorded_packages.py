#!/usr/bin/python
"""Debian packages, with a record of what came with them, so that `absent` removes that and nothing else.

ansible.builtin.apt cannot say what else an installation brought, nor refuse a removal that takes packages of others
along. Runs on the managed host: standard library and Ansible's own support only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: recorded_packages
short_description: Installs Debian packages and records what came with them
description:
  - C(present) installs what is missing, without recommended packages, and records every package that was new.
  - C(absent) purges the packages of the record and removes it. It refuses when packages of others would go with them.
  - Check mode says which of the named packages are missing; it asks no package archive.
options:
  name: {type: list, elements: str, description: Packages that have to be there; not needed for C(absent)}
  record: {type: path, required: true, description: JSON file with the packages that came, made when one did}
  needed:
    type: str
    choices: [refuse, keep]
    default: refuse
    description: With C(absent), what becomes of recorded packages that packages of others need by now
  facts: {type: dict, description: What to remember beside the packages when the record is made}
  state: {type: str, choices: [present, absent], default: present, description: Whether they are to be there}
"""
RETURN = r"""
packages: {type: list, elements: str, returned: always, description: What came or went; in check mode what is missing}
facts: {type: dict, returned: always, description: What the record remembers; after C(absent) what it remembered}
"""
EXAMPLES = r"""
- name: Install the engine
  recorded_packages:
    name: [docker.io]
    record: /var/lib/stepdown/docker_engine_packages.json
"""

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
LOCK_SECONDS = 120  # how long another apt, such as the daily upgrade, is waited for
PATIENCE = f"-oDPkg::Lock::Timeout={LOCK_SECONDS}"


class ProgramError(Exception):
    """A program of the package manager failed."""


def call(*argv: str) -> str:
    """A program's output; ProgramError with its last words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **QUIET}, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise ProgramError(f"{' '.join(argv[:3])}: exit {done.returncode}: {words}")
    return done.stdout


def installed() -> set[str]:
    """Names of the installed packages."""
    rows = call("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n").splitlines()
    return {name for state, name in (row.split(maxsplit=1) for row in rows) if state == "installed"}


def read(record: Path) -> tuple[list[str], dict[str, Any]]:
    """Packages and facts of the record; empty where there is none."""
    document = json.loads(record.read_text()) if record.is_file() else {}
    return document.pop("packages", []), document


def write(record: Path, packages: set[str], facts: dict[str, Any]) -> None:
    """Replace the record in one step."""
    record.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False) as stream:
        json.dump({"packages": sorted(packages), **facts}, stream)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    written = Path(stream.name)
    written.chmod(0o644)
    written.replace(record)


def update() -> None:
    """Fetch the package lists; apt waits for another apt when it installs, but not here."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            call("apt-get", "update", "-qq")
            return
        except ProgramError as error:
            if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(2)  # apt's lock has no queue: who wants it has to ask again


def install(record: Path, missing: list[str], facts: dict[str, Any]) -> list[str]:
    """Install `missing` and record all that came; also when apt failed half-way, so that nothing is left unrecorded."""
    before = installed()
    try:
        update()
        call("apt-get", "install", "-y", "-qq", "--no-install-recommends", PATIENCE, *missing)
    finally:
        came = installed() - before
        if came:
            earlier, known = read(record)
            write(record, came | set(earlier), {**facts, **known})  # the first word on what was here is the true one
    return sorted(came)


def unneeded(packages: list[str]) -> list[str]:
    """Those that can go without taking a package along that is not among them."""
    return [name for name in packages if not gone_with([name]) - set(packages)]


def gone_with(packages: list[str]) -> set[str]:
    """What apt would remove with these, without a word: themselves, and all that needs them."""
    simulated = call("apt-get", "--simulate", "--quiet", "purge", *packages) if packages else ""
    return set(re.findall(r"(?m)^(?:Purg|Remv) (\S+)", simulated))


def require_unneeded(record: Path, packages: list[str]) -> None:
    """Refuse when packages of others would go with these."""
    others = sorted(gone_with(packages) - set(packages))
    if others:
        raise ProgramError(
            f"{', '.join(others)} came later and need what is recorded in {record}; nothing was removed. "
            f"Remove them first, or delete {record} to keep the packages"
        )


def purge(record: Path, packages: list[str]) -> None:
    """Purge what is recorded and still there, and forget it."""
    if packages:
        call("apt-get", "purge", "-y", "-qq", PATIENCE, *packages)
    record.unlink()
    if not any(record.parent.iterdir()):
        record.parent.rmdir()


def main() -> None:
    """Ansible's door."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "required": True},
            "facts": {"type": "dict", "default": {}},
            "needed": {"type": "str", "choices": ["refuse", "keep"], "default": "refuse"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    record = Path(module.params["record"])
    present = module.params["state"] == "present"
    try:
        there = installed()
        earlier, facts = read(record)
        if present:
            packages = sorted(set(module.params["name"]) - there)
            changed = bool(packages)
        else:
            packages = [name for name in earlier if name in there]
            changed = record.is_file()
            if module.params["needed"] == "keep":
                packages = unneeded(packages)
            require_unneeded(record, packages)
        if changed and not module.check_mode:
            if present:
                packages = install(record, packages, module.params["facts"])
            else:
                purge(record, packages)
    except (ProgramError, OSError) as error:
        module.fail_json(msg=f"recorded_packages: {error}")
    lines = "".join(f"{name}\n" for name in packages)
    before, after = ("", lines) if present else (lines, "")
    module.exit_json(changed=changed, packages=packages, facts=facts, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
