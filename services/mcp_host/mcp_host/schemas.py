"""What native servers share: JSON Schemas of their documents, and words for arguments that do not fit them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema


class Untitled(GenerateJsonSchema):
    """Schemas without a title for every field: they say nothing that the name does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def problems(error: ValidationError) -> list[str]:
    """What is wrong with a request, place first; never its values, which may be source text."""
    return [
        f"{'/'.join(str(part) for part in detail['loc']) or 'request'}: {detail['msg']}"
        for detail in error.errors(include_input=False, include_url=False, include_context=False)
    ]
