"""Where pip finds its packages on this machine, carried into the sandbox that it installs in.

pip there has an empty home. What its configuration says is copied for it, and folders that it names become readable.
A password in an index's address goes along: the packages' own build code can read it there, as it could anywhere.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

# nothing else of our environment, so no key of ours
_VARIABLES = ("LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class IndexSettings:
    """Variables for pip, and the local folders and files that they and its configuration name."""

    environment: dict[str, str]
    readable: list[Path]


def index_settings(folder: Path) -> IndexSettings:
    """Gather pip's configuration into one file in folder, and what it refers to."""
    merged = configparser.RawConfigParser()
    merged.read([path for path in _configurations() if path.is_file()], encoding="utf-8")
    file = folder / "pip.conf"
    with file.open("w", encoding="utf-8") as text:
        merged.write(text)
    environment = {key: value for key, value in os.environ.items() if _is_carried(key)}
    environment |= {"PIP_CONFIG_FILE": str(file), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    said = [*environment.values(), *(value for section in merged.sections() for _, value in merged.items(section))]
    return IndexSettings(environment, [path for value in said for path in _paths_in(value) if path.exists()])


def _is_carried(variable: str) -> bool:
    return variable.startswith("PIP_") or variable in _VARIABLES or variable.upper() in _PROXIES


def _configurations() -> Iterator[Path]:
    """pip's configuration files, the stronger ones last: pip.pypa.io/en/stable/topics/configuration."""
    yield Path("/etc/pip.conf")
    yield Path("/etc/xdg/pip/pip.conf")
    yield Path.home() / ".pip" / "pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pip" / "pip.conf"
    if own := os.environ.get("PIP_CONFIG_FILE"):
        yield Path(own)


def _paths_in(value: str) -> Iterator[Path]:
    """Local paths among the words of a setting: absolute ones, and those of file: addresses."""
    for word in re.split(r"[\s,]+", value):
        if word.startswith("file:"):
            path = Path(unquote(urlsplit(word).path))
            yield path.parent if path.name == "simple" else path  # an index of links to files beside it
        elif word.startswith("/") and word != "/":
            yield Path(word)
