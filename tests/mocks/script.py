"""What a mock is told to do wrong: rules, each for some calls, for so many times or always.

A rule is `{"match": …, "times": …, "latency_ms": …}` and at most one of `error`, `http`, `hang_seconds`, `result`. The
first rule that matches and is not used up is followed; a call that none matches is answered as ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from jsonschema import Draft202012Validator
from mcp_host.errors import sentence
from mcp_host.schemas import problems
from pydantic import BaseModel, ConfigDict, Field, ValidationError

LATENCY_MS = 60_000
HANG_SECONDS = 300  # as long as the slowest real call may take
FAULTS = ("error", "http", "hang_seconds", "result")

Tools = Mapping[str, Mapping[str, Any]]  # name to the tool as tools/list gives it


class ScriptError(Exception):
    """A script that is refused: `<where>: <what is wrong> (known: …)`."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Match(_Closed):
    """Which calls: of a tool ("*": of any), of a JSON-RPC method, or of a route such as "GET /scans/*"."""

    tool: str | None = None
    method: str | None = None
    route: Annotated[str | None, Field(pattern=r"^(GET|POST|DELETE|PUT|\*) /\S*$")] = None


class RpcError(_Closed):
    """A JSON-RPC error in the answer's place."""

    code: int
    message: str
    data: Any = None


class HttpAnswer(_Closed):
    """An HTTP answer in the real one's place; `body` goes out as JSON."""

    status: Annotated[int, Field(ge=200, le=599)]
    headers: dict[str, str] = {}
    body: Any = None


class ToolResult(_Closed):
    """A tool's result in the canned one's place; `text` is that of `structured` when only this is given."""

    text: str | None = None
    structured: dict[str, Any] | None = None
    is_error: bool = False

    def as_json(self) -> dict[str, Any]:
        """As `tools/call` answers it."""
        text = self.text if self.text is not None else json.dumps(self.structured, ensure_ascii=False)
        structured = {} if self.structured is None else {"structuredContent": self.structured}
        return {"content": [{"type": "text", "text": text}], **structured, "isError": self.is_error}


class Rule(_Closed):
    """One line of a script. `times`: None is always."""

    match: Match
    times: Annotated[int | None, Field(ge=1)] = None
    latency_ms: Annotated[int, Field(ge=0, le=LATENCY_MS)] = 0
    hang_seconds: Annotated[float | None, Field(gt=0, le=HANG_SECONDS)] = None
    error: RpcError | None = None
    http: HttpAnswer | None = None
    result: ToolResult | None = None

    def fits(self, http_method: str, path: str, method: str, tool: str) -> bool:
        """Whether a call is one of those that `match` means; `method` and `tool` are empty where there is none."""
        wanted = self.match
        if wanted.tool is not None:
            return bool(tool) and wanted.tool in ("*", tool)
        if wanted.method is not None:
            return wanted.method == method
        verb, _, route = (wanted.route or "").partition(" ")
        return verb in ("*", http_method) and fnmatchcase(path, route)


class Script:
    """The rules in force, in order, with how often each was followed."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._rules: list[Rule] = []
        self._used: list[int] = []

    def replace(self, raw: Any) -> None:
        """Put these rules in force, all or none. Raises ScriptError."""
        if not isinstance(raw, list):
            raise ScriptError(sentence("script", "should be a list of rules"))
        rules = [self._checked(rule, f"script/{index}") for index, rule in enumerate(raw)]
        self._rules, self._used = rules, [0] * len(rules)

    def add(self, raw: Any) -> None:
        """Put one more rule in force, after the others. Raises ScriptError."""
        self._rules.append(self._checked(raw, "rule"))
        self._used.append(0)

    def clear(self) -> None:
        """Answer everything as ever."""
        self._rules, self._used = [], []

    def take(self, http_method: str, path: str, method: str, tool: str) -> Rule | None:
        """The rule for this call, which is used once more by that; None when there is none."""
        for index, rule in enumerate(self._rules):
            left = rule.times is None or self._used[index] < rule.times
            if left and rule.fits(http_method, path, method, tool):
                self._used[index] += 1
                return rule
        return None

    def document(self) -> list[dict[str, Any]]:
        """The rules as they were given, each with how often it was `used`."""
        given = [rule.model_dump(exclude_unset=True) for rule in self._rules]
        return [{**rule, "used": used} for rule, used in zip(given, self._used, strict=True)]

    def _checked(self, raw: Any, where: str) -> Rule:
        try:
            rule = Rule.model_validate(raw)
        except ValidationError as error:
            raise ScriptError(f"{where}: {'; '.join(problems(error))}") from None
        kinds = [kind for kind in ("tool", "method", "route") if getattr(rule.match, kind) is not None]
        if len(kinds) != 1:
            raise ScriptError(sentence(f"{where}/match", "should name one of these", ("tool", "method", "route")))
        faults = [fault for fault in FAULTS if getattr(rule, fault) is not None]
        if len(faults) > 1 or not (faults or rule.latency_ms):
            raise ScriptError(sentence(where, "should have latency_ms, one of these, or both", FAULTS))
        tool = rule.match.tool
        if tool is not None and tool != "*" and tool not in self._tools:
            raise ScriptError(sentence(f"{where}/match/tool", f"{tool!r} is no tool of this mock", sorted(self._tools)))
        if rule.error is not None and rule.match.route is not None:
            raise ScriptError(sentence(f"{where}/error", "a route has no JSON-RPC errors; use http"))
        if rule.result is not None:
            self._check_result(rule, where)
        return rule

    def _check_result(self, rule: Rule, where: str) -> None:
        """A result that the real server could have given: its schema holds."""
        result, tool = rule.result, rule.match.tool
        if result is None or tool is None or tool == "*":
            raise ScriptError(sentence(f"{where}/result", "needs match/tool to name one tool"))
        if result.text is None and result.structured is None:
            raise ScriptError(sentence(f"{where}/result", "should have text, structured, or both"))
        schema = self._tools[tool].get("outputSchema")
        if result.is_error or (schema is None and result.structured is None):
            return
        if schema is None:
            raise ScriptError(sentence(f"{where}/result/structured", f"{tool} answers text alone"))
        if result.structured is None:
            raise ScriptError(sentence(f"{where}/result/structured", f"is missing; {tool} has an output schema"))
        for wrong in Draft202012Validator(schema).iter_errors(result.structured):
            place = "/".join(map(str, ("structured", *wrong.absolute_path)))
            raise ScriptError(f"{where}/result/{place}: {wrong.message}")
