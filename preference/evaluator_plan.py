"""What the plan says of an evaluator by code: which function, of how much code, with what installed, confined how."""

from __future__ import annotations

from pydantic import BaseModel


class EvaluatorSummary(BaseModel):
    """The code that will score, as it is approved."""

    name: str
    entry_point: str
    sha256: str
    n_bytes: int
    n_files: int
    requirements: list[str]
    unsandboxed: bool = False  # only where a person accepted that

    @property
    def sandbox(self) -> str:
        """How it will be confined, in a few words."""
        return "run WITHOUT a sandbox, as was accepted" if self.unsandboxed else "run in a sandbox without network"

    @property
    def size(self) -> str:
        """Files and bytes, for people."""
        n_files = "1 file" if self.n_files == 1 else f"{self.n_files:,} files"
        if self.n_bytes < 10_000:
            return f"{n_files}, {self.n_bytes:,} bytes"
        if self.n_bytes < 10_000_000:
            return f"{n_files}, {self.n_bytes / 1e3:,.0f} kB"
        return f"{n_files}, {self.n_bytes / 1e6:,.0f} MB"


def evaluator_text(code: EvaluatorSummary) -> list[str]:
    """The plan's lines about the evaluator, for people."""
    needs = ", ".join(f"`{line}`" for line in code.requirements) or "none"
    return [
        f"- Evaluator `{code.name}`, `{code.entry_point}`, {code.size}, sha256 `{code.sha256[:12]}`, {code.sandbox}",
        f"  - Requirements, installed into an environment of its own: {needs}",
    ]
