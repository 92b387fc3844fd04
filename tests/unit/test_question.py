"""What hosts are asked: plans as they are shipped, images with sizes, and the same question for this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stepdown import fit, question
from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.host import preflight
from stepdown.host.home import Home
from stepdown.host.survey import survey
from stepdown.resolve import resolve

if TYPE_CHECKING:
    from tests.conftest import Staging


def test_the_file_for_the_role_makes_a_question(catalog: Catalog, tmp_path: Path) -> None:
    """With a host's own settings added it is one that the agent takes; only plans that can be deployed are in it."""
    path = question.pack(tmp_path, catalog, question.unbuilt(["node"]), "digest")
    written = json.loads(path.read_text(encoding="utf-8"))
    settings = {"name": "stepdown", "port": 8080, "direct_port": 7860}
    asked = preflight.question(json.dumps({**written, "instance": settings}))
    assert (list(PLAN_NAMES), "digest") == (list(asked.plans), asked.archive)
    assert {"node": {"reference": "", "id": "", "mib": question.IMAGE_MIB}} == asked.images


def test_images_are_asked_about_with_their_sizes(staging: Staging) -> None:
    """In MiB, rounded up; in the order that docker was asked in."""
    (staging.engine / "docker").write_text("#!/bin/sh\necho 1048577\necho 5\n")
    images = {name: staging.images[name] for name in ("python", "gateway")}
    python, gateway = question.built(images).values()
    assert (2, 1) == (python["mib"], gateway["mib"])
    assert (images["python"].reference, images["python"].id) == (python["reference"], python["id"])


def test_this_machine_is_asked_by_its_environment(catalog: Catalog) -> None:
    """As inventory/local reads it; what is not set means its default."""
    environ = {"STEPDOWN_INSTANCE": "trial", "STEPDOWN_PORT": "9090", "ZEN_API_KEY": "x"}
    asked = fit.ask(catalog, environ, [])
    expected = {"name": "trial", "port": "9090", "direct_port": 7860, "subnet": "", "workspace": ""}
    assert (expected, ("zen/api_key",)) == (asked.instance, asked.secrets)
    assert "x" not in json.dumps(asked.instance)


def test_an_image_that_is_still_to_be_built_needs_disk(catalog: Catalog) -> None:
    """One that the engine has needs none; a container that no image carries yet needs the most."""
    bare = _without(catalog, "whole")
    images = fit.ask(bare, {}, ["node"]).images
    assert "node" in images
    assert "python" not in images
    assert question.imagined(resolve(bare, "D")).containers[0].image is not None
    assert "for monolith" in images


def test_a_plan_that_no_image_carries_does_not_fit(catalog: Catalog, tmp_path: Path) -> None:
    """Whatever the machine has; the largest that fits is the first without a word against it."""
    bare = _without(catalog, "whole")
    found = fit.verdicts(bare, tmp_path, fit.ask(bare, {}, []))
    assert "no image carries container monolith yet" in found["D"]
    assert "no image carries container zen yet" not in found["C"]
    assert "C" == fit.largest({**found, "A": ["x"], "B": ["x"], "C": []})
    assert fit.largest({name: ["x"] for name in found}) is None


def test_every_plan_is_judged_by_the_agents_own_preflight(catalog: Catalog, tmp_path: Path) -> None:
    """What fit says of a plan is what a deploy of it would say."""
    asked = fit.ask(catalog, {"STEPDOWN_INSTANCE": "nobody-has-this-name"}, [])
    host = replace(survey(Home(tmp_path), asked.instance, ()), memory_mib=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "survey", lambda *_: host)
        found = fit.verdicts(catalog, tmp_path, asked)
    for name, words in found.items():
        assert words == preflight.judge(Home(tmp_path), replace(asked, plan=name), host)
        assert any("MiB of memory are needed" in text for text in words)


def _without(catalog: Catalog, image: str) -> Catalog:
    return replace(catalog, images={name: entry for name, entry in catalog.images.items() if name != image})
