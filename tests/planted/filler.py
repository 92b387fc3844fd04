"""Files that nothing is wrong with: what an ordinary repository of services holds."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

WORDS = (
    "account", "archive", "badge", "basket", "cable", "carrier", "coupon", "delivery", "depot", "estimate", "fleet",
    "harbour", "invoice", "journal", "ledger", "letter", "manifest", "meter", "notice", "order", "parcel", "pledge",
    "quota", "receipt", "region", "reserve", "route", "sample", "schedule", "shelf", "stamp", "tariff", "ticket",
    "transit", "vessel", "voucher", "warehouse", "window",
)  # fmt: skip
CHECKOUT = "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2"
DIGEST = "sha256:" + "0123456789abcdef" * 4

MODULE = '''"""{Title} of the {place}."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class {Title}:
    """One {word}, its {first} and {second}; sizes in kilograms."""

    name: str
    {first}: int
    {second}: float


{functions}
'''
FUNCTION = '''def {verb}_{first}_{number}(things: Iterable[{Title}], limit: int = {limit}) -> list[{Title}]:
    """Those whose {first} stays below `limit`, by their {second}."""
    chosen = [thing for thing in things if thing.{first} < limit]
    total = sum(thing.{second} for thing in chosen)
    if total > limit * {factor}:
        chosen = chosen[: len(chosen) // 2]
    for index, thing in enumerate(chosen):
        if index % {limit} == {number} and thing.name.startswith("{word}"):
            chosen[index] = {Title}(thing.name.strip(), thing.{first} + index, round(thing.{second} / {factor}, 2))
    return sorted(chosen, key=lambda thing: (thing.{second}, thing.name))'''
COMPOSE = """name: {word}
services:
  {first}:
    image: example.org/{word}/{first}:1.{number}.0@{digest}
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    ports: ["127.0.0.1:{port}:8080"]
    environment:
      LIMIT: "{limit}"
      TOKEN_FILE: /run/secrets/{first}
    secrets: [{first}]
secrets:
  {first}:
    file: ./{first}.secret
"""
TASKS = """---
- name: Make the folder of the {word}
  ansible.builtin.file:
    path: /srv/{word}/{first}
    state: directory
    mode: "0755"

- name: Write the settings of the {word}
  ansible.builtin.template:
    src: {word}.conf.j2
    dest: /srv/{word}/{first}/{word}.conf
    mode: "0644"

- name: Ask the {word} for its {second}
  ansible.builtin.command:
    argv: [/usr/bin/{word}, --{second}, "{limit}"]
  register: {word}_{index}_{second}
  changed_when: false
"""
DOCKERFILE = """FROM example.org/base/{word}:1.{number}.0@{digest}
WORKDIR /srv/{word}
COPY {first}.conf /srv/{word}/{first}.conf
USER 10001
HEALTHCHECK CMD ["/usr/bin/{word}", "--check"]
CMD ["/usr/bin/{word}", "--limit", "{limit}"]
"""
WORKFLOW = """name: {word}
on:
  push:
    branches: [main]
permissions:
  contents: read
concurrency:
  group: {word}-${{{{ github.ref }}}}
  cancel-in-progress: true
jobs:
  {first}:
    name: Test the {first}
    runs-on: ubuntu-24.04
    timeout-minutes: {number}
    steps:
      - uses: {checkout}
        with:
          persist-credentials: false
      - run: make {first}-{second}
"""
SETTINGS = """# Settings of the {word}.
{word}:
  {first}: {number}
  {second}: {limit}
  places: [{word}-{first}, {word}-{second}]
  enabled: true
"""
PAGE = """# {Title}

The {word} keeps its {first} and its {second} apart. Up to {limit} of them are read at once.

1. Look at the {first} of every {word}.
2. Put those beyond {number} kilograms aside.
3. Tell the {second}.
"""
# folder and name of each kind, its text, and how many there are
KINDS = (
    ("src/{place}/{word}_{first}_{index}.py", "", 270),
    ("docs/{place}/{word}-{index}.md", PAGE, 90),
    ("settings/{place}/{word}-{index}.yml", SETTINGS, 60),
    ("deploy/{word}_{index}/compose.yml", COMPOSE, 30),
    ("roles/{word}_{index}/tasks/main.yml", TASKS, 40),
    ("images/{word}-{index}/Dockerfile", DOCKERFILE, 12),
    (".github/workflows/{word}-{index}.yml", WORKFLOW, 12),
)


def files(random: Random) -> Iterator[tuple[str, str]]:
    """Path and text of each; the same for the same random numbers."""
    for path, text, count in KINDS:
        for index in range(count):
            facts = _facts(random, index)
            yield path.format(**facts), text.format(**facts) if text else _module(random, facts)


def _facts(random: Random, index: int) -> dict[str, object]:
    word, first, second, place = random.sample(WORDS, 4)
    return {
        "word": word, "Title": word.capitalize(), "first": first, "second": second, "place": place, "index": index,
        "number": random.randint(2, 30), "limit": random.randint(40, 900), "factor": random.randint(2, 9),
        "port": random.randint(20000, 29999), "digest": DIGEST, "checkout": CHECKOUT,
    }  # fmt: skip


def _module(random: Random, facts: dict[str, object]) -> str:
    verbs = random.sample(("choose", "count", "gather", "keep", "order", "reduce", "settle", "weigh"), 6)
    functions = []
    for number, verb in enumerate(verbs[: random.randint(3, 6)]):
        own = {"verb": verb, "number": number, "limit": random.randint(40, 900), "factor": random.randint(2, 9)}
        functions.append(FUNCTION.format(**{**facts, **own}))
    return MODULE.format(**facts, functions="\n\n\n".join(functions))
