"""Starts the Zen MCP server with the models of ZEN_MODELS known to it, and with its one way out.

ZEN_MODELS is a comma-separated list of model names of the endpoint CUSTOM_API_URL. The server knows only models that
its models file lists, so one is written to HOME before it starts; with no endpoint it starts all the same.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
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


def prepare() -> None:
    """Write the models file, and set what the server reads from its environment when it is imported."""
    home = Path(os.environ["HOME"])
    names = [name.strip() for name in os.environ.get("ZEN_MODELS", "").split(",") if name.strip()]
    os.environ.update({"LOG_LEVEL": "WARNING", "PAL_WORKSPACE_ROOT": str(home)})
    if not os.environ.get("CUSTOM_API_URL"):
        os.environ.pop("CUSTOM_API_URL", None)
    if names:
        models = home / "models.json"
        models.write_text(json.dumps({"models": [model(name) for name in names]}), encoding="utf-8")
        os.environ.update({"CUSTOM_MODELS_CONFIG_PATH": str(models), "DEFAULT_MODEL": names[0]})


def use_the_proxy() -> None:
    """Let the provider of CUSTOM_API_URL see HTTP_PROXY and HTTPS_PROXY, which it hides from its HTTP client.

    In a container the proxy is the only way to the endpoint. Exits where the server has no such place any more.
    """
    provider = importlib.import_module("providers.openai_compatible")
    if not callable(getattr(provider, "suppress_env_vars", None)):
        raise SystemExit("launch.py: this pal-mcp-server hides proxies in another way; see providers/openai_compatible")
    provider.suppress_env_vars = _hide_nothing


def stay_at_home() -> None:
    """Let the server read no file but below HOME, whatever path a caller names.

    It refuses known system folders only. In a container that it shares, the workspace and what other servers keep are
    within its reach, and a model endpoint too. Exits where the server has no such place any more.
    """
    files = importlib.import_module("utils.file_utils")
    allowed = getattr(files, "resolve_and_validate_path", None)
    if not callable(allowed):
        raise SystemExit("launch.py: this pal-mcp-server judges paths in another way; see utils/file_utils")
    home = Path(os.environ["HOME"]).resolve()

    def judged(path: str) -> Path:
        resolved = Path(allowed(path))
        if not resolved.is_relative_to(home):
            raise PermissionError(f"{path}: zen reads files below {home} only")
        return resolved

    files.resolve_and_validate_path = judged


@contextlib.contextmanager
def _hide_nothing(*_names: str) -> Iterator[None]:
    yield


def main() -> None:
    """Become the server."""
    prepare()
    use_the_proxy()
    stay_at_home()
    importlib.import_module("server").run()


if __name__ == "__main__":
    main()
