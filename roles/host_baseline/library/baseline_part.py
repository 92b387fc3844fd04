#!/usr/bin/python
"""One part of a host's baseline: files, kernel values and units, with a record of what was there before.

Owns: what it is told to make, and /var/lib/stepdown/host_baseline_<part>.json. Reads: those files, /proc/sys, systemd.
Never: removes what it did not record. Runs on the managed host: standard library and Ansible's own support only.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.baseline_host import (
    HostError,
    Unit,
    call,
    kernel_path,
    kernel_value,
    kernel_writable,
    missing_folders,
    put,
    snapshot,
    text_of,
    written,
)
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: baseline_part
short_description: Files, kernel values and units of one part of the baseline, and the way back
description:
  - C(present) makes the host as told, and records what it found. C(absent) puts back what is recorded.
  - What fails on the way is undone. Check mode changes nothing and says exactly what would change.
  - With C(revert_after_seconds) the timer C(stepdown-revert-<part>.timer) is armed before the change; unless somebody
    runs C(/var/lib/stepdown-revert-<part>/keep.sh) in time, the host goes back by itself, also when it was restarted
    in between. A change that nobody kept is undone before anything else.
options:
  part: {type: str, required: true, description: Its name}
  state: {type: str, choices: [present, absent], default: present, description: Whether it is to be there}
  files: {type: dict, default: {}, description: 'Path to content; they belong to root, mode 0644'}
  sysctl: {type: dict, default: {}, description: Key to value; set where /proc/sys can be written}
  enable: {type: list, elements: str, default: [], description: Units that have to be enabled and running}
  reload: {type: list, elements: str, default: [], description: Units that reload, or restart, when a file changed}
  verify:
    type: list
    elements: dict
    default: []
    description: Before a reload, C(argv) has to succeed and to print a line for each regular expression in C(lines)
  listing: {type: list, elements: str, default: [], description: Prints what is in force; when that drifts, reload}
  revert_after_seconds: {type: int, default: 0, description: When the host goes back by itself; 0 is never}
"""
RETURN = r"""
changed: {type: bool, returned: always, description: Whether the host is, or would be, different}
"""
EXAMPLES = r"""
- name: Limit the journal
  baseline_part:
    part: journal
    files:
      /etc/systemd/journald.conf.d/10-stepdown.conf: "[Journal]\nSystemMaxUse=1G\n"
    reload: [systemd-journald.service]
"""

RECORDS = Path("/var/lib/stepdown")
MANAGER = ("/etc/systemd/system/", "/etc/systemd/system.conf.d/")  # what systemd itself reads
UNITS = Path("/etc/systemd/system")
REVERT = {
    "service": """[Unit]
Description=Put back what nobody confirmed
[Service]
Type=oneshot
ExecStart=/bin/sh {folder}/revert.sh
""",
    "timer": """[Timer]
OnActiveSec={seconds}
AccuracySec=100ms
RemainAfterElapse=no
[Install]
WantedBy=timers.target
""",
}
NOTHING: dict[str, Any] = {"files": {}, "folders": [], "sysctl": {}, "units": {}, "listing": ""}


class Part:
    """What is wanted of a part, what is recorded of it, and the difference to the host."""

    def __init__(self, params: dict[str, Any]) -> None:
        present = params["state"] == "present"
        self.present = present
        self.files = {path: written(text) for path, text in params["files"].items()} if present else {}
        self.sysctl = {key: " ".join(str(value).split()) for key, value in params["sysctl"].items()} if present else {}
        self.enable = params["enable"] if present else []
        self.verify = params["verify"] if present else []
        self.listing = params["listing"] if present else []
        self.reload = params["reload"]
        self.path = RECORDS / f"host_baseline_{params['part']}.json"
        recorded = self.path.is_file()
        self.record = {**NOTHING, **(json.loads(self.path.read_text()) if recorded else {})}
        self._compare()
        self.changed = (
            bool(self.to or self.kernel or self.start or self.retire or self.drifted) if present else recorded
        )

    def _compare(self) -> None:
        record, self.to = self.record, dict(self.files)
        self.to.update({path: seen for path, seen in record["files"].items() if path not in self.files})
        self.found = {path: snapshot(path) for path in self.to}
        self.to = {path: wanted for path, wanted in self.to.items() if self.found[path] != wanted}
        self.kernel = {key: value for key, value in self.sysctl.items() if kernel_writable(key)}
        for key, known in record["sysctl"].items():  # whoever set another value since then meant it
            if key not in self.sysctl and kernel_writable(key) and kernel_value(key) == known["ours"]:
                self.kernel[key] = known["before"]
        self.kernel_found = {key: kernel_value(key) for key in self.kernel}
        self.kernel = {key: value for key, value in self.kernel.items() if self.kernel_found[key] != value}
        self.units = {name: Unit.look(name) for name in {*self.enable, *self.reload, *record["units"]}}
        ours = {Path(path).name for path in self.files if path.startswith(MANAGER)}
        self.missing = [name for name in self.enable if not self.units[name].exists and name not in ours]
        self.start = [name for name in self.enable if name not in self.missing and not self.units[name].settled]
        self.retire = [name for name in record["units"] if name not in self.enable]
        self.drifted = bool(self.listing) and not self.to and in_force(self.listing) != record["listing"]

    def diff(self) -> list[dict[str, str]]:
        """For --diff: files whole, values and units a line each."""
        shown = [
            {"before_header": path, "after_header": path, "before": text_of(self.found[path]), "after": text_of(wanted)}
            for path, wanted in sorted(self.to.items())
        ]
        before = [f"{key} = {self.kernel_found[key]}" for key in self.kernel]
        after = [f"{key} = {value}" for key, value in self.kernel.items()]
        for name in (*self.start, *self.retire):
            before.append(f"{name}: {self.units[name]}")
            after.append(f"{name}: {'enabled, running' if name in self.start else 'as it was before'}")
        if self.drifted:
            before.append("in force: not what the files say")
        return [*shown, *([{"before": "\n".join([*before, ""]), "after": "\n".join([*after, ""])}] if before else [])]


def in_force(listing: list[str]) -> str:
    """What a listing command prints; empty where it fails, since then nothing is in force."""
    try:
        return call(*listing)
    except HostError:
        return ""


def way_back(part: Part, folder: Path, seconds: int) -> None:
    """Keep what is there now, with two shell scripts that need nothing but systemd: revert.sh restores it, and keep.sh
    forgets it. With `seconds`, a timer calls revert.sh, also when the host was restarted in between."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    timer = f"{folder.name}.timer"
    forget = [f"systemctl disable --now {timer}"] if seconds else []
    forget += [f"rm -f {UNITS}/{folder.name}.service {UNITS}/{timer}", f"rm -r {folder}", "systemctl daemon-reload"]
    keep = ["#!/bin/sh", "set -e", f"[ ! -e {folder}/reverting ]", *forget]
    (folder / "keep.sh").write_text("\n".join([*keep, ""]))
    back = [f"{step} || failed=1" for step in (*_restore(part, folder), *forget)]
    text = "\n".join(["#!/bin/sh", "failed=0", f"touch {folder}/reverting", *back, "exit $failed", ""])
    put(str(folder / "revert.sh"), written(text))
    if seconds:
        for suffix, unit in REVERT.items():
            put(f"{UNITS}/{folder.name}.{suffix}", written(unit.format(folder=folder, seconds=seconds)))
        call("systemctl", "daemon-reload")
        call("systemctl", "enable", "--now", timer)


def _restore(part: Part, folder: Path) -> list[str]:
    touched = [part.units[name] for name in (*part.start, *part.retire)]
    steps = [f"systemctl disable {shlex.quote(unit.name)}" for unit in touched if not unit.enabled]
    steps += [f"systemctl stop {shlex.quote(unit.name)}" for unit in touched if not unit.active]
    for number, path in enumerate([*part.to, str(part.path)]):
        if Path(path).exists():
            shutil.copy2(path, folder / str(number))
            steps.append(f"mkdir -p {shlex.quote(str(Path(path).parent))}")
            steps.append(f"cp -p {folder}/{number} {shlex.quote(path)}")
        else:
            steps.append(f"rm -f {shlex.quote(path)}")
            empty = "rmdir --ignore-fail-on-non-empty"
            steps += [f"[ ! -d {made} ] || {empty} {made}" for made in map(shlex.quote, missing_folders(path)[::-1])]
    steps += [f"echo {shlex.quote(part.kernel_found[key])} >{kernel_path(key)}" for key in part.kernel]
    steps.append("systemctl daemon-reload")
    steps += [f"systemctl enable {shlex.quote(unit.name)}" for unit in touched if unit.enabled]
    steps += [f"systemctl start {shlex.quote(unit.name)}" for unit in touched if unit.active]
    running = [part.units[name] for name in part.reload if part.units[name].active]
    steps += [f"systemctl reload-or-restart {shlex.quote(unit.name)}" for unit in running if unit not in touched]
    return steps


def apply(part: Part) -> None:
    """Make the host as told, and record what it was."""
    if part.missing:
        raise HostError(f"{', '.join(part.missing)}: no such unit")
    for name in part.retire:
        before = part.record["units"].pop(name)
        for word, was in (("disable", before["enabled"]), ("stop", before["active"])):
            if not was:
                call("systemctl", word, name)
    _apply_files(part)
    for check in part.verify:
        printed = call(*check["argv"])
        for line in check.get("lines", []):
            if not re.search(f"(?m)^(?:{line})$", printed):
                raise HostError(f"{shlex.join(check['argv'])}: prints no line '{line}': another file wins")
    for key, value in part.kernel.items():
        kernel_path(key).write_text(value)
        if key in part.sysctl:
            before = part.record["sysctl"].get(key, {}).get("before", part.kernel_found[key])
            part.record["sysctl"][key] = {"before": before, "ours": value}
    for name in part.start:
        unit = part.units[name]
        part.record["units"].setdefault(name, {"enabled": unit.enabled, "active": unit.active})
        call("systemctl", "enable", "--now", name)
    for name in part.reload:
        if (part.to or part.drifted) and part.units[name].active and Unit.look(name).active:
            call("systemctl", "reload-or-restart", name)
    part.record["listing"] = call(*part.listing) if part.listing else ""
    _save(part)


def _apply_files(part: Part) -> None:
    for path, wanted in part.to.items():
        if path in part.files:
            part.record["files"].setdefault(path, part.found[path])
            part.record["folders"] += [made for made in missing_folders(path) if made not in part.record["folders"]]
            Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        put(path, wanted)
    part.record["files"] = {path: seen for path, seen in part.record["files"].items() if path in part.files}
    for made in sorted(part.record["folders"], reverse=True):
        if Path(made).is_dir() and not any(Path(made).iterdir()):
            Path(made).rmdir()
            part.record["folders"].remove(made)
    if any(path.startswith(MANAGER) for path in part.to):
        call("systemctl", "daemon-reload")


def _save(part: Part) -> None:
    if part.present:
        RECORDS.mkdir(mode=0o755, parents=True, exist_ok=True)
        kept = {key: known for key, known in part.record["sysctl"].items() if key in part.sysctl}
        put(str(part.path), {**written(json.dumps({**part.record, "sysctl": kept}) + "\n"), "mode": 0o600})
        return
    part.path.unlink()
    if not any(RECORDS.iterdir()):
        RECORDS.rmdir()


def change(params: dict[str, Any]) -> tuple[bool, list[dict[str, str]]]:
    """Apply a part, with its way back; what it changed. HostError when it could not, and the host is as before."""
    folder = Path(f"/var/lib/stepdown-revert-{params['part']}")
    if (folder / "revert.sh").exists():  # a change that was cut short, or that nobody proved
        call("sh", str(folder / "revert.sh"))
    part = Part(params)
    if not part.changed:
        return False, []
    seconds = params["revert_after_seconds"]
    way_back(part, folder, seconds)
    try:
        apply(part)
    except (HostError, OSError) as error:
        call("sh", str(folder / "revert.sh"))
        raise HostError(f"{error}. Nothing of this part was kept") from error
    if not seconds:
        call("sh", str(folder / "keep.sh"))
    return True, part.diff()


def main() -> None:
    """Ansible's door."""
    module = AnsibleModule(
        argument_spec={
            "part": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "files": {"type": "dict", "default": {}},
            "sysctl": {"type": "dict", "default": {}},
            "enable": {"type": "list", "elements": "str", "default": []},
            "reload": {"type": "list", "elements": "str", "default": []},
            "verify": {"type": "list", "elements": "dict", "default": []},
            "listing": {"type": "list", "elements": "str", "default": []},
            "revert_after_seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        if module.check_mode:
            part = Part(module.params)
            changed, diff = part.changed, part.diff() if part.changed else []
        else:
            changed, diff = change(module.params)
    except (HostError, OSError, ValueError) as error:
        module.fail_json(msg=f"host_baseline: {module.params['part']}: {error}")
    module.exit_json(changed=changed, diff=diff)


if __name__ == "__main__":
    main()
