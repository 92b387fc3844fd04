"""YAML without surprises: only what JSON would read as a number, truth value or null is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepdown.errors import UsageError
from stepdown.strict_yaml import Node, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.10", 1.1),
        ('"1.10"', "1.10"),
        ("1.10.0", "1.10.0"),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("+1", "+1"),
        ("1e3", "1e3"),
        ("1.5e3", 1500.0),
        ("-7", -7),
        ("on", "on"),
        ("No", "No"),
        ("True", "True"),
        ("true", True),
        ("~", None),
        ("null", None),
        ("Null", "Null"),
        (".inf", ".inf"),
        ("2026-11-22", "2026-11-22"),
        ("=", "="),
    ],
)
def test_only_the_scalars_of_json_are_special(tmp_path: Path, text: str, value: Any) -> None:
    """What YAML 1.1 would turn into a number, a truth value or a date stays text."""
    (tmp_path / "a.yml").write_text(f"key: {text}\n")
    found = load(tmp_path / "a.yml", "a.yml").mapping(["key"])["key"].value
    assert (type(value), value) == (type(found), found)


def test_a_duplicate_key_is_refused_at_any_depth(tmp_path: Path) -> None:
    """Plain YAML would keep the last one and say nothing."""
    (tmp_path / "a.yml").write_text("top:\n  - {x: 1}\n  - {x: 1, y: 2, x: 3}\n")
    with pytest.raises(UsageError, match=r"^a\.yml:3: key 'x' stands twice; keep one$"):
        load(tmp_path / "a.yml", "a.yml")


def test_a_merge_key_is_a_key_like_others(tmp_path: Path) -> None:
    """`<<` would bring keys in unseen, so a mapping that does not know it refuses it."""
    (tmp_path / "a.yml").write_text("base: &base {x: 1}\nuse:\n  <<: *base\n")
    use = load(tmp_path / "a.yml", "a.yml").mapping(["base", "use"])["use"]
    with pytest.raises(UsageError, match=r"^a\.yml: use: unknown key '<<' \(known: x\)$"):
        use.mapping(["x"])


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are a user's mistake, not a traceback."""
    (tmp_path / "a.yml").write_bytes(b"key: \xff\xfe\n")
    with pytest.raises(UsageError, match=r"^a\.yml: is no valid YAML"):
        load(tmp_path / "a.yml", "a.yml")


def test_a_node_knows_its_path_through_lists() -> None:
    """The place of an element is its number, counted from 0."""
    node = Node("a.yml", {"list": [{"x": "text"}]})
    inner = next(node.mapping(["list"])["list"].items()).mapping(["x"])["x"]
    assert "a.yml: list/0/x" == inner.path


@pytest.mark.parametrize("value", [True, 1.5, "1", None, 0, 11])
def test_an_integer_is_whole_and_within_its_bounds(value: Any) -> None:
    """A truth value is no number, and bounds are part of the type."""
    with pytest.raises(UsageError, match="should be a whole number from 1 to 10"):
        Node("a.yml", value).integer(1, 10)


@pytest.mark.parametrize("value", [1, 10])
def test_the_bounds_of_an_integer_belong_to_it(value: int) -> None:
    """Both ends are allowed."""
    assert value == Node("a.yml", value).integer(1, 10)
