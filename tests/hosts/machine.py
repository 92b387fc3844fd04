"""A systemd container that plays another machine: Debian, sshd, sudo, room for a Docker engine inside.

    python -m tests.hosts.machine up NAME FOLDER [--user=deployer]     prints how it is reached, as JSON
    python -m tests.hosts.machine down NAME

FOLDER receives the key and, for a user that is not root, the password that sudo asks for; both are made at run time.
Needs the engine of this machine and an SSH client. Removes nothing but what bears NAME.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from stepdown import commands, images
from stepdown.errors import StepdownError, sentence
from stepdown.run import run

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "sudo"),
    *("iproute2", "iptables", "ca-certificates", "procps"),
)
# systemd as PID 1, and a Docker engine inside, without --privileged
RIGHTS = (
    *("--cgroupns=host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--security-opt", "seccomp=unconfined"),
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
    *("--cap-add", "SYS_PTRACE"),  # without it `docker exec`, and so a health check, cannot enter a container inside
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3"),
)
BOOT_SECONDS = 60


@dataclass(frozen=True)
class Machine:
    """How a machine is reached over SSH from here."""

    instance: str
    address: str
    port: int
    user: str
    identity_file: str


def up(name: str, folder: Path, user: str = "root") -> Machine:
    """Make the machine and wait for its SSH server; `user` can sudo with the password in FOLDER/sudo_password."""
    if shutil.which("ssh") is None:
        raise StepdownError(sentence("ssh", "no SSH client is here", run="apt-get install openssh-client"))
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "key"
    for old in (key, key.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)))
    port = free_port()  # fixed, so that it is the same after the machine was stopped and started again
    publish = ("--publish", f"127.0.0.1:{port}:22", "--volume", f"{name}-docker:/var/lib/docker")
    run(("docker", "run", "--detach", "--name", name, *RIGHTS, *publish, image(folder), "/lib/systemd/systemd"))
    _admit(name, user, key.with_suffix(".pub").read_text(encoding="ascii").strip(), folder)
    _wait_for_ssh(name)
    return Machine(name, "127.0.0.1", port, user, str(key))


def down(name: str) -> None:
    """Remove the machine and the volume of its engine; no error when it is gone."""
    run(("docker", "rm", "--force", name), check=False)
    run(("docker", "volume", "rm", f"{name}-docker"), check=False)


def cut_power(name: str) -> None:
    """End every process of the machine at once, without a word; what its disk and its engine's volume hold stays."""
    run(("docker", "kill", "--signal", "KILL", name))
    run(("docker", "wait", name))


def boot(name: str) -> None:
    """Start a machine that is down, and wait for its SSH server."""
    run(("docker", "start", name))
    _wait_for_ssh(name)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def image(folder: Path) -> str:
    """The image that machines start from, built on first use; `folder` is scratch space."""
    tag = f"stepdown-test/host:{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:12]}"
    if run(commands.image_id("docker", tag), check=False).returncode:
        images.require_mmdebstrap(print)
        archive = folder / "host.tar"
        argv = list(commands.mmdebstrap("bookworm", PACKAGES, str(archive)))
        argv[argv.index("--variant=essential")] = "--variant=apt"
        run(argv)
        run(commands.docker_import("docker", str(archive), tag, {"stepdown.test": "host"}))
        archive.unlink()
    return tag


def _admit(name: str, user: str, public_key: str, folder: Path) -> None:
    """Let the key in; a user other than root is made, and may sudo with a password."""
    if user != "root":
        password = secrets.token_hex(12)
        (folder / "sudo_password").write_text(password, encoding="ascii")
        _inside(name, f"useradd --create-home --shell /bin/bash --groups sudo {user}")
        run(("docker", "exec", "--interactive", name, "chpasswd"), stdin=f"{user}:{password}\n")
    home = "/root" if user == "root" else f"/home/{user}"
    install = f"install -d -m 0700 -o {user} -g {user} {home}/.ssh"
    _inside(name, f"{install} && echo '{public_key}' >{home}/.ssh/authorized_keys && chown {user}: {home}/.ssh/*")


def _wait_for_ssh(name: str) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while run(("docker", "exec", name, "systemctl", "is-active", "--quiet", "ssh"), check=False).returncode:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: no SSH server after {BOOT_SECONDS} s; see docker logs {name}")
        time.sleep(0.2)  # a booting system tells no other way


def _inside(name: str, script: str) -> None:
    run(("docker", "exec", name, "sh", "-ec", script))


def main(arguments: list[str]) -> None:
    """The door for molecule's create and destroy playbooks."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.machine", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("up")
    making.add_argument("name")
    making.add_argument("folder", type=Path)
    making.add_argument("--user", default="root")
    verbs.add_parser("down").add_argument("name")
    options = parser.parse_args(arguments)
    if options.verb == "up":
        print(json.dumps(asdict(up(options.name, options.folder, options.user))))
    else:
        down(options.name)


if __name__ == "__main__":
    main(sys.argv[1:])
