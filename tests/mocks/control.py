"""The small API by which a test steers a mock: /mock, behind the same token as everything else.

GET    /mock/script   the rules in force, each with how often it was followed
PUT    /mock/script   these rules instead, all or none
POST   /mock/script   one more rule
DELETE /mock/script   none
GET    /mock/calls    every call since the last reset, in the order of arrival
DELETE /mock/calls    forget them
POST   /mock/reset    forget rules and calls
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.mocks.calls import Calls
from tests.mocks.door import CONTROL
from tests.mocks.script import Script, ScriptError


def control(script: Script, calls: Calls) -> Mount:
    """The routes. A script that is refused changes nothing and is told why, as `{"error": sentence}` with 400."""

    def shown() -> Response:
        return JSONResponse({"script": script.document()})

    async def scripted(request: Request) -> Response:
        if request.method == "DELETE":
            script.clear()
        elif request.method in ("PUT", "POST"):
            return await changed(request, script.replace if request.method == "PUT" else script.add)
        return shown()

    async def changed(request: Request, change: Callable[[Any], None]) -> Response:
        try:
            change(json.loads(await request.body()))
        except ScriptError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ValueError:
            return JSONResponse({"error": "script: is no JSON"}, 400)
        return shown()

    async def recorded(request: Request) -> Response:
        if request.method == "DELETE":
            calls.reset()
        return JSONResponse({"calls": calls.document()})

    async def reset(_: Request) -> Response:
        script.clear()
        calls.reset()
        return JSONResponse({"script": [], "calls": []})

    return Mount(
        CONTROL,
        routes=[
            Route("/script", scripted, methods=["GET", "PUT", "POST", "DELETE"]),
            Route("/calls", recorded, methods=["GET", "DELETE"]),
            Route("/reset", reset, methods=["POST"]),
        ],
    )
