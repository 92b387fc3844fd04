"""Whether a plan can run on this host: every problem at once, each with its remedy, judged before anything changes.

Owns: the verdict; deploy, doctor, plan.fit and the switch all ask here. Reads: a question and a survey of the host.
Never: changes anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from ipaddress import IPv4Network
from typing import Any

from stepdown.errors import UsageError, sentence
from stepdown.host import endpoint, engine, subnets
from stepdown.host.home import Home
from stepdown.host.instance import Instance, refusals, valid_port
from stepdown.host.release import Release, identify
from stepdown.host.survey import Host, survey
from stepdown.shared import EDGE_MEMORY_MIB, FIRST_PLAN

PLATFORM = "Linux x86_64"  # what the locks of the images are made for
DOCKER = (20, 10)  # the oldest engine whose compose and networks are used as tested
DATA_MIB = 200  # room for journal, state, logs and results
CLOCK_SECONDS = 60  # apart from the control machine: more, and tokens, TLS and the journal's order suffer
NO_ENGINE = (
    "docker: no engine answers, and deploy can install none here (known: Debian and Ubuntu, as root or with sudo). "
    "Install one, or deploy as a user with sudo"
)
NO_IMAGE = "image {} is not on this host as the release has it. Run: ./run deploy"
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """What is to run on a host. What is not known yet is left empty: deploy also asks before it has built images."""

    instance: Mapping[str, Any]  # name, port, direct_port, subnet, workspace: as configured, not checked yet
    plans: Mapping[str, Facts]  # plan.json of every plan that could be chosen
    plan: str = ""  # empty: the plan that the host is on, C at first
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # name: reference, id (or both empty), mib
    environment: Mapping[str, str] = field(default_factory=dict)
    archive: str = ""  # digest of the release's archive: with the environment it tells which containers stay
    release: str = ""  # id of a release that is staged here: its images have to be here too
    secrets: Sequence[str] = ()  # server/name of those that come along
    clock: float = 0  # of the control machine, seconds since the epoch
    copied: bool = False  # images come as a file below <home> first


def question(text: str) -> Question:
    """A question from JSON; UsageError when it is none."""
    known = [entry.name for entry in fields(Question)]
    try:
        asked = Question(**json.loads(text))
        for key in ("name", "port", "direct_port"):
            asked.instance[key]
        return asked
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(sentence("preflight", f"no question as JSON ({error})", known)) from error


def of_staged(instance: Instance, release: Release, plan: str) -> Question:
    """What a switch to a staged release asks."""
    return Question(asdict(instance), {plan: release.facts(plan)}, plan, release.images, release=release.id)


def images_lacking(release: Release, plan: str) -> list[str]:
    """Of all problems the ones that nothing can be done without: images of the plan that are not on this engine."""
    wanted = {container["image"] for container in release.facts(plan)["containers"].values()}
    needed = [release.images[name] for name in sorted(wanted)]
    there = engine.image_ids([image["reference"] for image in needed])
    return [NO_IMAGE.format(i["reference"]) for i in needed if there.get(i["reference"]) != i["id"]]


def problems(home: Home, asked: Question) -> list[str]:
    """What stands against `asked` on this host; empty when nothing does."""
    host = survey(home, asked.instance, [i["reference"] for i in asked.images.values() if i["reference"]])
    return judge(home, asked, host)


def judge(home: Home, asked: Question, host: Host) -> list[str]:
    """`problems` of a host that was surveyed before."""
    wrong = refusals(home, host.instance, asked.instance)
    found = [*_platform(host), *_engine(host), *host.broken, *wrong, *_elsewhere(asked, host)]
    found += [*_home(home, asked, host), *_clock(asked, host)]
    name = asked.plan or host.plan or FIRST_PLAN
    if name not in asked.plans:
        return [*found, sentence(f"plan {name!r}", "is not in this release", asked.plans, "./run plan.show")]
    facts = asked.plans[name]
    release = asked.release or ("" if wrong or not asked.archive else _release(home, asked, host))
    absent = _absent(facts, asked, host)
    found += [*_memory(facts, release, host), *_cpus(facts, host), *_disk(asked, host, absent)]
    found += [*_ports(facts, asked, host), *([] if wrong else _subnet(asked, host))]
    found += [*_secrets(home, facts, asked, host), *_workspace(asked, host)]
    found += endpoint.refusals(asked.plans.values(), asked.environment)
    if asked.release:
        found += [NO_IMAGE.format(image["reference"]) for image in absent]
    return found


def listed(found: Sequence[str]) -> str:
    """Problems for people, one bullet each."""
    head = f"{len(found)} problem{'' if len(found) == 1 else 's'} before any change:"
    return "\n  - ".join((head, *found))


def _platform(host: Host) -> Iterable[str]:
    if host.platform != PLATFORM:
        yield f"{host.platform} is not supported (known: {PLATFORM})"
    for feature in host.kernel_lacks:
        yield f"kernel: {feature} is neither at work nor among its modules. Boot a kernel of the distribution"
    if host.limits_lacking:
        remedy = "Boot with cgroup_enable=memory, or with cgroup v2 and the controllers delegated"
        yield f"cgroups: containers cannot be limited in {', '.join(host.limits_lacking)}. {remedy}"


def _engine(host: Host) -> Iterable[str]:
    said = host.engine
    if not said.rights:
        yield engine.NO_RIGHTS_SENTENCE
    elif not said.version and not host.can_install:
        yield NO_ENGINE
    number = re.match(r"(\d+)\.(\d+)", said.version)
    if number and (int(number[1]), int(number[2])) < DOCKER:
        oldest = ".".join(map(str, DOCKER))
        yield f"docker: engine {said.version} is too old, {oldest} or newer is needed. Upgrade its package"


def _elsewhere(asked: Question, host: Host) -> Iterable[str]:
    """Two <home>s cannot share a name on one engine: each would take the other's containers for its own."""
    if host.elsewhere:
        wrong = f"'{asked.instance['name']}' is on this engine already, from {host.elsewhere}"
        remedy = "Set another name (this machine: STEPDOWN_INSTANCE) and two other ports, or take that one down"
        yield f"{sentence('mcp_stack_instance', wrong)}. {remedy}"


def _home(home: Home, asked: Question, host: Host) -> Iterable[str]:
    if host.home_refused:
        yield sentence(str(home.path), host.home_refused)


def _clock(asked: Question, host: Host) -> Iterable[str]:
    apart = round(host.clock - asked.clock)
    if asked.clock and abs(apart) > CLOCK_SECONDS:
        direction = "ahead of" if apart > 0 else "behind"
        wrong = f"this host is {abs(apart)} s {direction} the control machine; tokens and TLS need it right"
        yield sentence("clock", wrong, run="timedatectl set-ntp true, on whichever is wrong")


def _release(home: Home, asked: Question, host: Host) -> str:
    """The id that staging will give; empty when this user may not look at what it is made of."""
    if host.secrets is None:
        return ""
    return identify(home, asked.archive, asked.instance, asked.environment)


def _absent(facts: Facts, asked: Question, host: Host) -> list[Mapping[str, Any]]:
    """The images of the plan and of the edge that this host lacks."""
    names = dict.fromkeys([*(container["image"] for container in facts["containers"].values()), "gateway"])
    wanted = [asked.images[name] for name in names if name in asked.images]
    return [i for i in wanted if not i["id"] or host.images.get(i["reference"]) != i["id"]]


def _memory(facts: Facts, release: str, host: Host) -> Iterable[str]:
    """A new release starts beside the old, so only what runs of this one has its memory already.

    While the release is not known, what runs under a container's name counts as staying.
    """
    there = {c.name for c in host.running if not release or c.release == release}
    if host.blind:
        return
    need = sum(container["memory_mib"] for name, container in facts["containers"].items() if name not in there)
    edge = {c.name for c in host.running if not c.release}
    need += sum(mib for name, mib in EDGE_MEMORY_MIB.items() if name not in edge)
    if need > host.memory_mib:
        yield f"{need} MiB of memory are needed, {host.memory_mib} MiB are available. Run: ./run plan.fit"


def _cpus(facts: Facts, host: Host) -> Iterable[str]:
    most = max(container["cpus"] for container in facts["containers"].values())
    if most > host.cpus:  # Docker refuses such a limit
        yield f"a container is to have {most:g} CPUs, this host has {host.cpus}. Lower cpus in the catalogue"


def _disk(asked: Question, host: Host, absent: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    images = 0 if asked.release or host.blind else sum(image["mib"] for image in absent)
    below_home = DATA_MIB + (images if asked.copied else 0)
    if host.home.device == host.images_disk.device:
        below_home, images = below_home + images, 0
    for disk, need in ((host.home, below_home), (host.images_disk, images)):
        if need > disk.free_mib:
            remedy = "docker system df" if host.engine.version else f"df -h {disk.folder}"
            yield f"{need} MiB of disk are needed below {disk.folder}, {disk.free_mib} MiB are free. Run: {remedy}"


def _ports(facts: Facts, asked: Question, host: Host) -> Iterable[str]:
    # a plan with a port of its own is kept ready beside the others, so that its port has to be had at once
    direct = any(plan["direct_port"] for plan in (facts, *asked.plans.values()))
    wanted = [("port", "STEPDOWN_PORT")] + ([("direct_port", "STEPDOWN_DIRECT_PORT")] if direct else [])
    for key, variable in wanted:
        port = asked.instance[key]
        if valid_port(port) and int(port) in host.ports and not host.blind:
            see = f"ss -ltnp 'sport = :{port}'"
            other = f"Set mcp_stack_{key} (this machine: {variable}) to another port, or run: {see}"
            yield f"127.0.0.1:{port} cannot be had ({host.ports[int(port)]}). {other}"


def _subnet(asked: Question, host: Host) -> Iterable[str]:
    """The instance's subnet against everybody else's; one that its own network has already is beyond dispute."""
    if host.blind:
        return
    name = asked.instance["name"]
    wanted = asked.instance.get("subnet") or (host.instance.subnet if host.instance else "")
    others = [other for other in host.taken if other.instance != name]
    if not wanted:
        if subnets.free(name, others) is None:
            yield sentence("mcp_stack_subnet", f"no free /24 in {subnets.SUBNETS}; set one in the inventory")
        return
    network = IPv4Network(wanted)
    if any(other.network.subnet_of(network) for other in host.taken if other.instance == name):
        return
    other = subnets.clash(network, others)
    if other and host.instance:
        wrong = f"{wanted}, which this instance has, overlaps {other.what}; remove that, or give the subnet up"
        yield sentence("mcp_stack_subnet", wrong, run="./run down --purge")
    elif other:
        yield sentence("mcp_stack_subnet", f"{wanted} overlaps {other.what}; set another, or none to take a free one")


def _secrets(home: Home, facts: Facts, asked: Question, host: Host) -> Iterable[str]:
    if host.secrets is None:
        return
    # a release that was staged by an older version knows no required secrets
    tables = [container.get("required_secrets", {}) for container in facts["containers"].values()]
    for secret in sorted(f"{server}/{name}" for table in tables for server, names in table.items() for name in names):
        if secret not in host.secrets and secret not in asked.secrets:
            wrong = f"is not on this host, and server {secret.partition('/')[0]} cannot work without it"
            how = f"stepdown.pyz --home {home.path} secret {secret} <FILE, on the host as the user who deploys"
            yield sentence(f"secret {secret}", wrong, run=how)


def _workspace(asked: Question, host: Host) -> Iterable[str]:
    workspace = asked.instance.get("workspace")
    if not host.workspace_there and str(workspace).startswith("/"):
        yield f"the workspace {workspace} is not there. Run: mkdir -p {workspace}"
