"""Starts serena on the workspace, with settings that no client can change.

One project, the whole workspace, active for every client: serena keeps the active project in memory, so the tools that
change it are left out (context `ide`), as is the one that runs shell commands. What it keeps, memories and caches, is
below DATA; its settings are written anew at each start, to HOME, where no other server of the container looks.
"""

import contextlib
import json
import os
import tempfile
from pathlib import Path

from serena.cli import top_level
from solidlsp.language_servers.basedpyright_server import BasedPyrightLanguageServer

WORKSPACE = "/workspace"
DATA = Path("/data/serena")
LANGUAGE = "python_basedpyright"
LANGUAGE_SERVER = "/opt/serena/basedpyright-langserver"
# serena waits that long for the language server to say how many files it found; of an empty workspace it never says so,
# and every first call took a minute. A server that still counts answers calls when it is done with that.
COUNTING_SECONDS = 0.5


def settings() -> dict[str, object]:
    """serena_config.yml."""
    return {
        "agent_interface": "tools",
        "web_dashboard": False,
        "gui_log_window": False,
        "project_serena_folder_location": str(DATA),
        # without this key every project is trusted: its links may lead out of it, and its own settings count
        "trusted_project_path_patterns": [],
        # only the global settings may name a program
        "ls_specific_settings": {LANGUAGE: {"ls_path": LANGUAGE_SERVER}},
        "projects": [],
    }


def prepare(home: Path, data: Path) -> None:
    """Write the settings, and give memories a place that outlives the container."""
    kept = home / ".serena"
    for folder in (kept / "memories", data / "memories", data / "global"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (kept / "memories" / "global").symlink_to(data / "global")
    _write(kept / "serena_config.yml", settings())
    _write(data / "project.yml", {"project_name": "workspace", "languages": [LANGUAGE]})


def main() -> None:
    """Prepare, and be the server."""
    prepare(Path(os.environ["HOME"]), DATA)
    os.environ["SERENA_USAGE_REPORTING"] = "false"
    BasedPyrightLanguageServer._TIMEOUT_FOR_INITIAL_ANALYSIS = COUNTING_SECONDS
    options = ("--project", WORKSPACE, "--context", "ide", "--agent-interface", "tools", "--log-level", "WARNING")
    top_level(["start-mcp-server", *options, "--enable-web-dashboard", "false"])


def _write(path: Path, document: dict[str, object]) -> None:
    """In one step, since another release's serena may read or write it just now; JSON is YAML too."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f"{path.name}.", delete=False) as temporary:
        json.dump(document, temporary)
    Path(temporary.name).replace(path)


if __name__ == "__main__":
    main()
