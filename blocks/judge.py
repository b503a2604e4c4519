"""A judge model behind any OpenAI-compatible endpoint: a Prefect block, saved by name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from blocks.bulk import BulkChat, ChatRequest, ChatResult, as_they_come
from blocks.connection import Connection
from blocks.dialect import shared_dialect
from blocks.limits import shared_limit

UNKNOWN_USD = -1.0  # forms have no field that may be empty and holds a number


class JudgeEndpoint(Block):
    """A model that compares answers, wherever it is served: an address as OpenAI's SDK takes it, a model, a key.

    Example:
        JudgeEndpoint(base_url="https://api.openai.com/v1", model="gpt-5-mini", api_key="...").save("judge")
    """

    _block_type_name: ClassVar[str] = "Judge Endpoint"
    _block_type_slug: ClassVar[str] = "judge-endpoint"
    _description: ClassVar[str] = "A judge model behind any OpenAI-compatible endpoint: address, model and key."

    # required: Prefect refuses references to a block whose fields all have defaults
    base_url: str = Field(
        title="Base URL",
        description="As OpenAI's SDK takes it, so usually with /v1 at its end.",
        examples=["https://api.openai.com/v1", "http://127.0.0.1:8000/v1"],
        json_schema_extra={"position": 0},
    )
    model: str = Field(
        title="Model", description="As the endpoint names it.", min_length=1, json_schema_extra={"position": 1}
    )
    api_key: SecretStr = Field(SecretStr(""), title="API key", json_schema_extra={"position": 2})
    usd_per_million_prompt_tokens: float = Field(
        UNKNOWN_USD,
        title="USD per million prompt tokens",
        description="For the plan. -1: unknown, and the plan says so.",
        ge=UNKNOWN_USD,
        json_schema_extra={"position": 3},
    )
    usd_per_million_completion_tokens: float = Field(
        UNKNOWN_USD,
        title="USD per million completion tokens",
        description="For the plan. -1: unknown, and the plan says so.",
        ge=UNKNOWN_USD,
        json_schema_extra={"position": 4},
    )
    max_tokens: int = Field(
        1024,
        title="Tokens per verdict, at most",
        description="A model that thinks first needs room for that, too.",
        ge=32,
        json_schema_extra={"position": 5},
    )
    concurrency: int = Field(32, title="Requests in flight, at most", ge=1, le=1024, json_schema_extra={"position": 6})
    read_timeout_s: float = Field(120.0, title="Seconds to wait for one reply", gt=0, json_schema_extra={"position": 7})
    patience_s: float = Field(
        900.0,
        title="Seconds to keep asking one question",
        description="Overload and lost replies are tried again until then; after it the verdict is unread.",
        gt=0,
        json_schema_extra={"position": 8},
    )

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        url = value.strip().rstrip("/").removesuffix("/chat/completions")
        if not url.startswith(("http://", "https://")) or url.endswith(":/"):
            raise ValueError(f"base_url must be an address such as https://api.openai.com/v1, not {value!r}")
        return url

    @property
    def usd_per_million(self) -> tuple[float, float] | None:
        """Of prompt and of completion tokens; None where either is unknown."""
        prices = self.usd_per_million_prompt_tokens, self.usd_per_million_completion_tokens
        return None if min(prices) < 0 else prices

    async def chat_many(
        self, requests: Iterable[ChatRequest], *, concurrency: int | None = None
    ) -> AsyncGenerator[ChatResult]:
        """The results as they come, as FireworksClient.chat_many gives them; NotAllowed is raised.

        What the endpoint refuses to take (a schema, a temperature) is left out, and the result's request says so.
        concurrency: requests in flight, by default and at most as many as the block says.
        """
        concurrency = min(concurrency or self.concurrency, self.concurrency)
        connection = Connection(self.base_url, self.api_key.get_secret_value())
        bulk = BulkChat(
            connection,
            concurrency=concurrency,
            patience_s=self.patience_s,
            limit=lambda model: shared_limit(self.base_url, model),
            url=f"{self.base_url}/chat/completions",
            read_timeout_s=self.read_timeout_s,
            dialect=shared_dialect(self.base_url, self.model),
        )
        try:
            async with bulk, aclosing(as_they_come(requests, bulk.ask, concurrency)) as results:
                async for result in results:
                    yield result
        finally:
            connection.close()
