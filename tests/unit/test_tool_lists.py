"""An image offers the tools that were agreed on, or its build is refused with the difference."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stepdown import tool_lists
from stepdown.catalog import Catalog, Image
from stepdown.errors import StepdownError
from stepdown.host.handshake import schema_hash
from stepdown.images import Built
from stepdown.tool_lists import Tools

# A docker client: `run` prints what lies beside it under the image's reference, or fails with it as last words.
DOCKER = """#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/calls"
for word; do
    if [ -f "$here/$word.fails" ]; then cat "$here/$word.fails" >&2; exit 1; fi
    if [ -f "$here/$word.json" ]; then exec cat "$here/$word.json"; fi
done
echo "no such image: $*" >&2
exit 125
"""
CHAT: dict[str, Any] = {
    "name": "chat",
    "description": "Talk.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
PLAN: dict[str, Any] = {"name": "plan", "description": "Think ahead.", "inputSchema": {"type": "object"}}
PYTHON = Built("python", "stepdown/python:1", "sha256:1", built=False)
WHOLE = Built("whole", "stepdown/whole:1", "sha256:2", built=False)
BUILT = {"python": PYTHON, "whole": WHOLE}
CARRIES = {"python": ("zen",), "whole": ("zen", "serena")}


@dataclass(frozen=True)
class Engine:
    """The client's folder: what images say, and the calls that it had."""

    folder: Path

    def says(self, image: Built, tools: Mapping[str, Tools]) -> None:
        self._place(f"{image.reference}.json", json.dumps(tools))

    def fails(self, image: Built, words: str) -> None:
        self._place(f"{image.reference}.fails", words)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.is_file() else []

    def _place(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The client, first on PATH."""
    made = Engine(tmp_path / "engine")
    made.folder.mkdir()
    (made.folder / "docker").write_text(DOCKER)
    (made.folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository in which nothing is agreed yet."""
    (tmp_path / "tree" / "catalog").mkdir(parents=True)
    return tmp_path / "tree"


@pytest.fixture
def small(catalog: Catalog) -> Catalog:
    """The catalogue with one image that carries zen, and one that carries serena too."""
    images = {name: Image(name, f"services/{name}/Dockerfile", carries) for name, carries in CARRIES.items()}
    return replace(catalog, images=images)


def _agree(tree: Path, **lists: Tools) -> None:
    for server, tools in lists.items():
        path = tree / "catalog" / "tools" / f"{server}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(tools))


def _refusal(tree: Path, catalog: Catalog) -> str:
    with pytest.raises(StepdownError) as refusal:
        tool_lists.check(tree, catalog, BUILT)
    return str(refusal.value)


def test_images_that_offer_what_was_agreed_pass(engine: Engine, tree: Path, small: Catalog) -> None:
    """Every server of every image; how a file is laid out, and the order of keys in it, are no difference."""
    _agree(tree, zen=[CHAT, PLAN], serena=[PLAN])
    engine.says(PYTHON, {"zen": [CHAT, PLAN]})
    engine.says(WHOLE, {"zen": [dict(reversed(CHAT.items())), PLAN], "serena": [PLAN]})
    tool_lists.check(tree, small, BUILT)
    assert 2 == len(engine.calls)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ([CHAT], ['-    "description": "Think ahead.",', '-    "name": "plan"']),
        ([CHAT, PLAN, {**PLAN, "name": "review"}], ['+    "name": "review"']),
        ([CHAT, {**PLAN, "inputSchema": {"type": "string"}}], ['-      "type": "object"', '+      "type": "string"']),
        (
            [CHAT, {**PLAN, "description": "Guess."}],
            ['-    "description": "Think ahead.",', '+    "description": "Guess.",'],
        ),
    ],
    ids=["a lost tool", "a new tool", "another schema", "another description"],
)
def test_other_tools_are_refused_with_the_difference(
    engine: Engine, tree: Path, small: Catalog, found: Tools, lines: list[str]
) -> None:
    """As a diff that names server and image, and what accepts it; clients see descriptions too."""
    _agree(tree, zen=[CHAT, PLAN], serena=[PLAN])
    engine.says(PYTHON, {"zen": [CHAT, PLAN]})
    engine.says(WHOLE, {"zen": found, "serena": [PLAN]})
    message = _refusal(tree, small).splitlines()
    head = ["catalog/tools: an image offers other tools:", "--- agreed: zen", "+++ image whole"]
    assert head == message[:3]
    assert message[3].startswith("@@ ")
    assert [] == [line for line in lines if line not in message]
    assert "If clients may see that, run: ./run build --accept-tools" == message[-1]
    assert "" not in message


def test_every_difference_is_told_at_once(engine: Engine, tree: Path, small: Catalog) -> None:
    """Of all images and servers, so that one look is enough."""
    _agree(tree, zen=[CHAT], serena=[PLAN])
    engine.says(PYTHON, {"zen": [PLAN]})
    engine.says(WHOLE, {"zen": [PLAN], "serena": [CHAT]})
    headers = [line for line in _refusal(tree, small).splitlines() if line.startswith(("---", "+++"))]
    zen, serena = "--- agreed: zen", "--- agreed: serena"
    assert [zen, "+++ image python", zen, "+++ image whole", serena, "+++ image whole"] == headers


def test_a_long_difference_is_cut_and_counted(engine: Engine, tree: Path, small: Catalog) -> None:
    """What is shown and what is left out are the whole."""
    many = [{"name": f"tool{number:02}"} for number in range(40)]
    _agree(tree, zen=[], serena=[])
    engine.says(PYTHON, {"zen": many})
    engine.says(WHOLE, {"zen": [], "serena": []})
    _, *shown, left_out, remedy = _refusal(tree, small).splitlines()
    whole = 3 + 1 + 1 + 3 * len(many) + 1  # head, [] without, [ with, three lines a tool, ]
    assert tool_lists.SHOWN_LINES == len(shown)
    assert f"… {whole - tool_lists.SHOWN_LINES} lines more" == left_out
    assert remedy.endswith("run: ./run build --accept-tools")


def test_what_is_accepted_passes(engine: Engine, tree: Path, small: Catalog) -> None:
    """One file a server, written where it changed only; a second acceptance changes nothing."""
    _agree(tree, serena=[PLAN])
    engine.says(PYTHON, {"zen": [CHAT, PLAN]})
    engine.says(WHOLE, {"zen": [CHAT, PLAN], "serena": [CHAT]})
    assert ["catalog/tools/zen.json", "catalog/tools/serena.json"] == tool_lists.accept(tree, small, BUILT)
    assert [] == tool_lists.accept(tree, small, BUILT)
    assert [CHAT, PLAN] == json.loads((tree / "catalog/tools/zen.json").read_text())
    assert [CHAT] == tool_lists.agreed(tree, "serena")
    tool_lists.check(tree, small, BUILT)


def test_images_that_differ_on_one_server_cannot_be_accepted(engine: Engine, tree: Path, small: Catalog) -> None:
    """A switch between plans must not change what a client sees of a server; nothing is written."""
    engine.says(PYTHON, {"zen": [CHAT]})
    engine.says(WHOLE, {"zen": [PLAN], "serena": [PLAN]})
    expected = r"^catalog/tools: image whole offers other tools of zen than the images before it$"
    with pytest.raises(StepdownError, match=expected):
        tool_lists.accept(tree, small, BUILT)
    assert [] == list((tree / "catalog").iterdir())


def test_an_image_is_asked_once(engine: Engine, tree: Path, small: Catalog) -> None:
    """A start of all servers takes seconds; the answer of an id cannot change."""
    engine.says(WHOLE, {"zen": [CHAT], "serena": [PLAN]})
    first = tool_lists.offered(tree, small, small.images["whole"], WHOLE)
    assert first == tool_lists.offered(tree, small, small.images["whole"], WHOLE)
    assert {"zen": [CHAT], "serena": [PLAN]} == first
    assert 1 == len(engine.calls)


def test_another_image_is_asked_again(engine: Engine, tree: Path, small: Catalog) -> None:
    """Another id under the same name; the answer of before is forgotten."""
    engine.says(PYTHON, {"zen": [CHAT]})
    tool_lists.offered(tree, small, small.images["python"], PYTHON)
    engine.says(PYTHON, {"zen": [PLAN]})
    other = replace(PYTHON, id="sha256:3")
    assert {"zen": [PLAN]} == tool_lists.offered(tree, small, small.images["python"], other)
    assert 2 == len(engine.calls)


def test_servers_that_are_started_in_another_way_are_asked_again(engine: Engine, tree: Path, small: Catalog) -> None:
    """The catalogue says how a server is started, and an image's id does not know it."""
    engine.says(PYTHON, {"zen": [CHAT]})
    tool_lists.offered(tree, small, small.images["python"], PYTHON)
    zen = replace(small.servers["zen"], command=("zen", "--more"))
    changed = replace(small, servers={**small.servers, "zen": zen})
    tool_lists.offered(tree, changed, changed.images["python"], PYTHON)
    assert 2 == len(engine.calls)
    assert "--more" in engine.calls[-1]


def test_an_image_is_asked_without_a_network(engine: Engine, tree: Path, small: Catalog) -> None:
    """It gets no secret either: only the folders that its servers write to, empty ones."""
    engine.says(WHOLE, {"zen": [], "serena": []})
    tool_lists.offered(tree, small, small.images["whole"], WHOLE)
    call = engine.calls[0]
    assert call.startswith("run --rm --network none --read-only ")
    assert call.endswith(f" {WHOLE.reference} python -m mcp_host describe")
    folders = [word.partition(":")[0] for word in call.split() if word.endswith(":mode=1777")]
    assert ["/tmp", "/workspace", "/data/serena"] == folders


def test_servers_that_do_not_start_are_told_in_their_own_words(engine: Engine, tree: Path, small: Catalog) -> None:
    """The last words of the container; nothing is remembered, so the next build asks again."""
    engine.fails(PYTHON, "zen: exit 1: No module named 'server'\n")
    expected = r"^image 'python': its servers do not start: zen: exit 1: No module named 'server'$"
    for _ in range(2):
        with pytest.raises(StepdownError, match=expected):
            tool_lists.offered(tree, small, small.images["python"], PYTHON)
    assert 2 == len(engine.calls)


def test_a_container_without_last_words_is_told_all_the_same(
    tree: Path, small: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no client, and where there is no end, nobody printed anything."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepdownError, match=r"^image 'python': its servers do not start: docker: no such program on"):
        tool_lists.offered(tree, small, small.images["python"], PYTHON)


def test_a_list_that_is_not_there_is_told_what_makes_it(engine: Engine, tree: Path, small: Catalog) -> None:
    """For a server that is new in the catalogue."""
    engine.says(PYTHON, {"zen": [CHAT]})
    assert "catalog/tools/zen.json: is not there. Run: ./run build --accept-tools" == _refusal(tree, small)


def test_hashes_are_those_of_a_handshake(tree: Path, small: Catalog) -> None:
    """What a host computes of what a server lists: names and schemas count, descriptions and order do not."""
    _agree(tree, zen=[CHAT, PLAN], serena=[PLAN])
    listed = [{**PLAN, "description": "Other words."}, CHAT]
    assert {"serena": schema_hash([PLAN]), "zen": schema_hash(listed)} == tool_lists.hashes(tree, small)


def test_every_server_of_the_catalogue_is_agreed_on(root: Path, catalog: Catalog) -> None:
    """The committed lists; none is left of a server that is gone."""
    assert set(catalog.servers) == set(tool_lists.hashes(root, catalog))
    assert {f"{server}.json" for server in catalog.servers} == {p.name for p in (root / "catalog/tools").iterdir()}
