"""The types of a config's values, which schemas and the settings of kinds of problem are made of."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _number(value: Any) -> Any:
    """Convert a string that spells a number, because the value of an environment variable is always a string."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if _WHOLE.fullmatch(value) else float(value)


def truth(value: Any) -> Any:
    """Convert a string that spells true or false."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,30}\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)

Int = Annotated[int, BeforeValidator(_number)]
"""An integer: 3.0 and true are refused."""
Float = Annotated[float, BeforeValidator(_number)]
"""A finite number."""
Bool = Annotated[bool, BeforeValidator(truth)]
"""true or false; other words and numbers are refused."""
WholeAbove0 = Annotated[Int, Field(gt=0, lt=2**63)]
WholeFrom0 = Annotated[Int, Field(ge=0, lt=2**63)]
Processes = Annotated[Int, Field(ge=0, le=1024)]
Above0 = Annotated[Float, Field(gt=0)]
Rate = Annotated[Float, Field(ge=0)]
PartAbove0 = Annotated[Float, Field(gt=0, le=1)]
Beta = Annotated[Float, Field(ge=0, lt=1)]


def as_text(value: Any) -> Any:
    """Convert an integer, as YAML reads 32, to text."""
    return str(value) if type(value) is int else value


def _printable(value: str) -> str:
    if any(unicodedata.category(sign) == "Cc" for sign in value):
        raise ValueError("holds a control character")
    return value


Text = Annotated[str, BeforeValidator(as_text), Field(min_length=1), AfterValidator(_printable)]
"""A name or a path: not empty, on one line. An integer is accepted too; other numbers must be in quotes."""


# A nan among the arguments of a target must stay nan, to be refused there; by default it would become null.
# A schema is built when it is first used: most commands use a part of them.
STRICT = ConfigDict(strict=True, allow_inf_nan=False, ser_json_inf_nan="constants", defer_build=True)


class Strict(BaseModel):
    """A group that refuses keys that it does not know and values of another type than its own."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), **STRICT)


class TargetConfig(BaseModel):
    """A node that names what to build; its other keys are arguments."""

    model_config = ConfigDict(extra="allow", **STRICT)
    target: Text = Field(alias="_target_")
