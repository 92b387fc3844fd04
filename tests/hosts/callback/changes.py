"""Ansible callback: one JSON line for each task that changed, or would change, a host.

Appends {"play_id", "check", "host", "task"} to the file that STEPDOWN_CHANGES names; tests compare what check mode
foretold with what came true.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: changes
type: aggregate
short_description: records changed tasks
description: [one JSON line for each task that changed or would change a host]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._append({"playbook": Path(playbook._file_name).name, "check": bool(context.CLIARGS.get("check"))})

    def v2_runner_on_ok(self, result: Any) -> None:
        if result.is_changed():
            self._append({"host": result._host.get_name(), "changed": result._task.get_name()})

    def _append(self, row: dict[str, Any]) -> None:
        with Path(os.environ["STEPDOWN_CHANGES"]).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
