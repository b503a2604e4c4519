"""A chat request as the server hands it over, and the error that answers it when it cannot be served."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class GenerationRequest(BaseModel):
    """One line of the generation child's stdin."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    base_model: Path
    adapter: Path | None = None
    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    max_tokens: int = Field(2048, ge=1)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    n: int = Field(1, ge=1, le=128)
    seed: int = Field(default_factory=lambda: secrets.randbits(63))
    stop: list[str] = Field(default_factory=list)
    logprobs: int | None = Field(None, ge=0, le=20)  # how many alternatives a token; 0: the chosen one alone
    json_schema: dict[str, Any] | None = None
    stream: bool = False

    @classmethod
    def parse(cls, line: dict[str, Any]) -> GenerationRequest:
        """Raises GenerationFault. A null means what leaving the field out means."""
        try:
            return cls.model_validate({key: value for key, value in line.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise GenerationFault("INVALID_ARGUMENT", f"{field}: {first['msg']}", param=field) from error


class GenerationFault(Exception):
    """Why a request has no answer; code is a google.rpc name, which the server turns into a status."""

    def __init__(self, code: str, message: str, *, param: str | None = None):
        super().__init__(message)
        self.body = {"code": code, "message": message, **({"param": param} if param else {})}
