"""Starts the Zen MCP server with the models of ZEN_MODELS known to it.

ZEN_MODELS is a comma-separated list of model names of the endpoint CUSTOM_API_URL. The server knows only models that
its models file lists, so one is written to HOME before it starts; with no endpoint it starts all the same.
"""

import json
import os
import sys
from pathlib import Path

CONTEXT_TOKENS = 131072
OUTPUT_TOKENS = 16384


def model(name: str) -> dict[str, object]:
    """One entry of the models file; the limits are the common ones of OpenAI-compatible servers."""
    return {
        "model_name": name,
        "aliases": [],
        "intelligence_score": 10,
        "context_window": CONTEXT_TOKENS,
        "max_output_tokens": OUTPUT_TOKENS,
        "supports_json_mode": False,
        "supports_function_calling": False,
        "supports_images": False,
        "description": "configured by mcp_stack_zen_models",
    }


def main() -> None:
    """Write the models file and become the server."""
    home = Path(os.environ["HOME"])
    names = [name.strip() for name in os.environ.get("ZEN_MODELS", "").split(",") if name.strip()]
    environment = {**os.environ, "LOG_LEVEL": "WARNING", "PAL_WORKSPACE_ROOT": str(home)}
    if not environment.get("CUSTOM_API_URL"):
        environment.pop("CUSTOM_API_URL", None)
    if names:
        models = home / "models.json"
        models.write_text(json.dumps({"models": [model(name) for name in names]}), encoding="utf-8")
        environment |= {"CUSTOM_MODELS_CONFIG_PATH": str(models), "DEFAULT_MODEL": names[0]}
    server = Path(sys.executable).with_name("pal-mcp-server")
    os.execve(server, [str(server)], environment)


if __name__ == "__main__":
    main()
