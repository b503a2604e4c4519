"""Make the packaged base models ready, so that the first start does not wait: `python -m local_server.prepare`."""

from __future__ import annotations

from local_server import catalogue, weights
from local_server.config import default_home


def main() -> None:
    home = default_home()
    for entry in catalogue.load(home):
        if entry.package is not None:
            print(f"{entry.id}: {weights.ensure(entry, home)}", flush=True)


if __name__ == "__main__":
    main()
