"""Builders of argument vectors: pure, they run nothing. Standard library only: the host agent carries this module."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

Argv = tuple[str, ...]


def docker_build(
    client: str,
    context: str,
    dockerfile: str,
    tag: str,
    *,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    secrets: Mapping[str, str],
    passed: Iterable[str] = (),
) -> Argv:
    """Build `tag` with BuildKit; `secrets` are id to file, `passed` are build arguments of the environment."""
    argv = [client, "build", "--progress=plain", "--file", dockerfile, "--tag", tag]
    for key, value in arguments.items():
        argv += ["--build-arg", f"{key}={value}"]
    for key in passed:
        argv += ["--build-arg", key]
    for key, value in labels.items():
        argv += ["--label", f"{key}={value}"]
    for key, value in secrets.items():
        argv += ["--secret", f"id={key},src={value}"]
    return (*argv, context)


def docker_build_probe(client: str) -> Argv:
    """Build nothing from standard input: succeeds only with a client that has BuildKit."""
    return (client, "build", "--quiet", "-")


def docker_import(client: str, archive: str, tag: str, labels: Mapping[str, str]) -> Argv:
    """Make an image from the archive of a root file system."""
    changes = [part for key, value in labels.items() for part in ("--change", f"LABEL {key}={value}")]
    return (client, "import", *changes, archive, tag)


def image_id(client: str, reference: str) -> Argv:
    """Print the id of a local image; exits 1 when there is none."""
    return (client, "image", "inspect", "--format", "{{.Id}}", reference)


def image_sizes(client: str, references: Sequence[str]) -> Argv:
    """Print the sizes of local images in bytes, one a line in the order given; exits 1 when one is missing."""
    return (client, "image", "inspect", "--format", "{{.Size}}", *references)


def engine_version(client: str) -> Argv:
    """Print the engine's version; exits non-zero when it cannot be reached."""
    return (client, "version", "--format", "{{.Server.Version}}")


def describe_tools(client: str, image: str, config: str, folders: Sequence[str]) -> Argv:
    """Print the tools of an image's servers as JSON: no network, no secret, nothing writable but empty `folders`."""
    argv = [client, "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--init"]
    for folder in ("/tmp", *folders):
        argv += ["--tmpfs", f"{folder}:mode=1777"]
    return (*argv, "--env", f"MCP_HOST_CONFIG={config}", image, "python", "-m", "mcp_host", "describe")


def containers_of(client: str, instance: str, *filters: str) -> Argv:
    """One JSON object a line for each container of an instance, running or not."""
    argv = [client, "ps", "--all", "--no-trunc", "--filter", f"label=stepdown.instance={instance}"]
    for wanted in filters:
        argv += ["--filter", wanted]
    return (*argv, "--format", "{{json .}}")


def inspect(client: str, *names: str) -> Argv:
    """JSON of containers by id."""
    return (client, "inspect", *names)


def compose(binary: Sequence[str], env_file: str, file: str, *words: str) -> Argv:
    """A compose call on one file, every variable from `env_file`."""
    return (*binary, "--env-file", env_file, "--file", file, *words)


def compose_up(binary: Sequence[str], env_file: str, file: str, services: Sequence[str], project: str = "") -> Argv:
    """Start `services` and nothing else; what runs already is not touched."""
    named = ("--project-name", project) if project else ()
    words = (*named, "up", "--detach", "--no-deps", "--no-recreate", "--no-build", "--quiet-pull", *services)
    return compose(binary, env_file, file, *words)


def stop(client: str, ids: Sequence[str], grace_seconds: int) -> Argv:
    """TERM, then KILL after the grace."""
    return (client, "stop", "--time", str(grace_seconds), *ids)


def remove(client: str, ids: Sequence[str]) -> Argv:
    """Remove containers, running or not, with their anonymous volumes."""
    return (client, "rm", "--force", "--volumes", *ids)


def networks_of(client: str, instance: str) -> Argv:
    """Ids of the networks of an instance."""
    return (client, "network", "ls", "--quiet", "--filter", f"label=stepdown.instance={instance}")


def installed_packages() -> Argv:
    """Names of Debian packages on this machine, one a line."""
    return ("dpkg-query", "--show", "--showformat", "${Package}\n")


def mmdebstrap(suite: str, packages: Sequence[str], archive: str, sources: str = "") -> Argv:
    """The root file system of a small Debian, from packages; `sources` replaces the default apt sources."""
    excluded = ("doc", "man", "locale", "info", "lintian")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in excluded]
    keep = "--dpkgopt=path-include=/usr/share/doc/*/copyright"
    tail = (sources,) if sources else ()
    return (
        "mmdebstrap",
        "--quiet",
        "--variant=essential",
        *options,
        keep,
        f"--include={','.join(packages)}",
        suite,
        archive,
        *tail,
    )


def ansible_playbook(playbook: str, inventory: str, extra: str, *, check: bool = False, limit: str = "") -> Argv:
    """Run a playbook, named by its path; `extra` is JSON, or @FILE, with variables that go above all others."""
    mode = ("--check", "--diff") if check else ()
    narrowed = ("--limit", limit) if limit else ()
    return ("ansible-playbook", playbook, "--inventory", inventory, "--extra-vars", extra, *mode, *narrowed)


def ansible_debug(group: str, inventory: str, message: str, limit: str = "") -> Argv:
    """Evaluate a template for each host of a group, here, as a playbook of playbooks/ would; connects to none."""
    module = ("--module-name", "ansible.builtin.debug", "--args", json.dumps({"msg": message}))
    narrowed = ("--limit", limit) if limit else ()
    return ("ansible", group, "--inventory", inventory, "--playbook-dir", "playbooks", *module, *narrowed)


def ssh(destination: str, options: Sequence[str], command: str) -> Argv:
    """Run a shell command on another machine; fails rather than ask for a password."""
    return ("ssh", "-o", "BatchMode=yes", *options, destination, command)


def sops_decrypt(file: str) -> Argv:
    """Print an encrypted YAML or JSON file in the clear, as JSON."""
    return ("sops", "decrypt", "--output-type", "json", file)
