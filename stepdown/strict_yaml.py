"""YAML without surprises: duplicate keys are refused, only JSON's scalars are special, values know their paths."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stepdown.errors import UsageError, sentence


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of JSON (so `on`, `0755` and `1:30` stay text) and no duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise UsageError(sentence(f"{self.name}:{line}", f"key '{key}' stands twice; keep one"))
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("bool", r"^(?:true|false)$", list("tf")),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


@dataclass(frozen=True)
class Node:
    """A value of a YAML file and the path that leads to it, e.g. `catalog/plans.yml: plans/A/lost`."""

    path: str
    value: Any

    def wrong(self, what: str, known: Sequence[str] = (), run: str = "") -> UsageError:
        """The error for this place."""
        return UsageError(sentence(self.path, what, known, run))

    def _child(self, key: str, value: Any) -> Node:
        joiner = ": " if self.path.endswith((".yml", ".yaml")) else "/"
        return Node(f"{self.path}{joiner}{key}", value)

    def mapping(self, required: Sequence[str] = (), optional: Sequence[str] | None = ()) -> dict[str, Node]:
        """Children by key; refuses missing and unknown keys (`optional=None` lets any key pass)."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"should be a mapping, is {_kind(self.value)}")
        for key in self.value:
            if not isinstance(key, str):
                raise self.wrong(f"key {key!r} should be text; put it in quotes")
        if optional is not None:
            unknown = [key for key in self.value if key not in required and key not in optional]
            if unknown:
                raise self.wrong(f"unknown key '{unknown[0]}'", [*required, *optional])
        missing = [key for key in required if key not in self.value]
        if missing:
            raise self.wrong(f"key '{missing[0]}' is missing", [*required, *(optional or ())])
        return {key: self._child(key, value) for key, value in self.value.items()}

    def items(self) -> Iterator[Node]:
        """Children of a list."""
        if not isinstance(self.value, list):
            raise self.wrong(f"should be a list, is {_kind(self.value)}")
        return iter([self._child(str(index), value) for index, value in enumerate(self.value)])

    def text(self, pattern: str = r"(?s).*\S.*", shape: str = "text that is not empty") -> str:
        """A string that matches `pattern` as a whole; `shape` says in words what is valid."""
        if not isinstance(self.value, str) or not re.fullmatch(pattern, self.value):
            raise self.wrong(f"should be {shape}, is {_kind(self.value)} {self.value!r}")
        return self.value

    def choice(self, known: Sequence[str]) -> str:
        """One of `known`."""
        if self.value not in known:
            raise self.wrong(f"is {self.value!r}", known)
        return str(self.value)

    def boolean(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong(f"should be true or false, is {_kind(self.value)} {self.value!r}")
        return self.value

    def integer(self, minimum: int, maximum: int) -> int:
        """A whole number from `minimum` to `maximum`."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not minimum <= self.value <= maximum:
            raise self.wrong(f"should be a whole number from {minimum} to {maximum}, is {self.value!r}")
        return self.value

    def number(self, minimum: float, maximum: float) -> float:
        """A number from `minimum` to `maximum`."""
        number = self.value
        if not isinstance(number, int | float) or isinstance(number, bool) or not minimum <= number <= maximum:
            raise self.wrong(f"should be a number from {minimum:g} to {maximum:g}, is {number!r}")
        return float(number)


def load(path: Path, shown_as: str) -> Node:
    """The document of `path`; raises UsageError that names file and line when it is missing or no YAML."""
    try:
        with path.open(encoding="utf-8") as stream:
            loader = _Loader(stream)
            loader.name = shown_as
            try:
                return Node(shown_as, loader.get_single_data())
            finally:
                loader.dispose()
    except OSError as error:
        raise UsageError(sentence(shown_as, f"cannot be read: {error.strerror}")) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a tag that its value does not fit, or no UTF-8
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(sentence(f"{shown_as}{line}", f"is no valid YAML: {problem}")) from error


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return "empty" if value is None else names.get(type(value), type(value).__name__)
