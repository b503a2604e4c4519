"""Where the platform is and how to get in: a Prefect block, saved by name."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, field_validator

from blocks.calibration import machine_gflops, machine_memory_gb, multiplies_bfloat16
from blocks.client import FireworksClient
from blocks.connection import root_url
from preference.cost import PriceBook, load_price_book


class FireworksPlatform(Block):
    """The Fireworks API, or a server that speaks it, such as `prefworks serve` on your own machine.

    Example:
        FireworksPlatform(base_url="http://127.0.0.1:8787", account="local").save("local")
        with FireworksPlatform.load("local").get_client() as client: ...
    """

    _block_type_name: ClassVar[str] = "Fireworks Platform"
    _block_type_slug: ClassVar[str] = "fireworks-platform"
    _description: ClassVar[str] = "Address, account and key of the Fireworks API, or of a server that speaks it."
    _documentation_url = HttpUrl("https://docs.fireworks.ai/api-reference/introduction")

    # required: Prefect refuses references to a block whose fields all have defaults
    base_url: str = Field(
        title="Base URL",
        description="https://api.fireworks.ai, or the address of a local server.",
        examples=["https://api.fireworks.ai", "http://127.0.0.1:8787"],
    )
    account: str = Field("", title="Account", description="The account's ID; found from the key when left out.")
    api_key: SecretStr = Field(SecretStr(""), title="API key", description="Not needed by a local server without one.")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        return root_url(value)

    price_book: str = Field(
        "fireworks",
        title="Price book",
        description="What plans are priced with: fireworks, local (no price), or the path of a .toml file of yours.",
    )

    def get_price_book(self) -> PriceBook:
        """What plans are priced and timed with, as its file says."""
        return load_price_book(self.price_book)

    def measured_gflops(self) -> float | None:
        """How fast the machine that trains and serves is; None where that is not the one we run on."""
        return machine_gflops() if self._is_here() else None

    def multiplies_bfloat16(self) -> bool | None:
        """Whether the processor that trains and serves does; None where it is not known or not ours."""
        return multiplies_bfloat16() if self._is_here() else None

    def memory_gb(self) -> float | None:
        """What the machine that trains and serves has; None where that is not the one we run on."""
        return machine_memory_gb() if self._is_here() else None

    def _is_here(self) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return host == "localhost" or host.startswith("127.") or host == "::1"

    def get_client(self, session: str | None = None) -> FireworksClient:
        """A client to close after use. With `session`, it changes and deletes only what that session made."""
        return FireworksClient(self.base_url, self.api_key.get_secret_value(), self.account or None, session=session)
