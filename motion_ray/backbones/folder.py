"""A diffusers model folder, checked before anything in it is loaded.

`model_index.json` and `config.json` decide which classes a loader instantiates, and pickles run
code when they are read. So the classes are compared with an allow-list first, and only safetensors
are accepted.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from motion_ray.errors import BaseModelError

#: Component -> the (library, class) pairs that we load.
ALLOWED: dict[str, frozenset[tuple[str, str]]] = {
    "unet": frozenset({("diffusers", "UNet3DConditionModel")}),
    "vae": frozenset({("diffusers", "AutoencoderKL")}),
    "text_encoder": frozenset({("transformers", "CLIPTextModel")}),
    "tokenizer": frozenset(
        {("transformers", "CLIPTokenizer"), ("transformers", "CLIPTokenizerFast")}
    ),
    "scheduler": frozenset(
        {
            ("diffusers", "DDIMScheduler"),
            ("diffusers", "DDPMScheduler"),
            ("diffusers", "DPMSolverMultistepScheduler"),
            ("diffusers", "PNDMScheduler"),
            ("diffusers", "EulerDiscreteScheduler"),
        }
    ),
}
PIPELINES = frozenset({"TextToVideoSDPipeline"})
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
CODE = frozenset({".py", ".so"})
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder.

    Attributes:
        path: the folder.
        scheduler_config: contents of ``scheduler/scheduler_config.json``.
        fingerprint: sha256 over the weights and configs of UNet, VAE, text encoder and tokenizer.
        vae_fingerprint: sha256 over the VAE alone.
    """

    path: Path
    scheduler_config: dict[str, Any]
    fingerprint: str
    vae_fingerprint: str


def open_model_folder(path: Path) -> ModelFolder:
    """Check a diffusers folder and hash it.

    Raises:
        BaseModelError: a part is missing, a class is not on the allow-list, or a pickle lies in it.
    """
    check_classes(path)
    for component in ALLOWED:
        _check_files(path / component)
        if component in WEIGHTS:
            _check_weights(path / component, WEIGHTS[component])
    parts = {
        name: _hash_component(path / name, WEIGHTS.get(name))
        for name in ("unet", "vae", "text_encoder", "tokenizer")
    }
    whole = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return ModelFolder(
        path=path,
        scheduler_config=_read_json(path / "scheduler" / "scheduler_config.json", path),
        fingerprint=whole,
        vae_fingerprint=parts["vae"],
    )


def check_classes(path: Path) -> None:
    """Compare what a folder says it is with what we load.

    Raises:
        BaseModelError: a part is missing, or a class is not on the allow-list.
    """
    index = _read_json(path / "model_index.json", path)
    if index.get("_class_name") not in PIPELINES:
        raise BaseModelError(
            f"{path}/model_index.json",
            f"pipeline class {index.get('_class_name')!r} is not supported",
            f"use a folder of {', '.join(sorted(PIPELINES))}, for example ZeroScope or ModelScope",
        )
    for component, allowed in ALLOWED.items():
        _check_class(path, component, index.get(component), allowed)


def _check_class(
    path: Path, component: str, declared: object, allowed: frozenset[tuple[str, str]]
) -> None:
    folder = path / component
    if not isinstance(declared, list) or len(declared) != 2 or not folder.is_dir():
        raise BaseModelError(
            f"{path}/{component}",
            "this part of the model is missing",
            f"a base folder holds {', '.join(ALLOWED)} and model_index.json",
        )
    pair = (str(declared[0]), str(declared[1]))
    if pair not in allowed:
        names = ", ".join(sorted(f"{library}.{name}" for library, name in allowed))
        raise BaseModelError(
            f"{path}/model_index.json",
            f"{component} is {pair[0]}.{pair[1]}, a class that is not allowed",
            f"allowed: {names}",
        )
    config = folder / "config.json"
    if config.exists():
        content = _read_json(config, path)
        if "auto_map" in content or content.get("_class_name", pair[1]) != pair[1]:
            raise BaseModelError(
                config, "asks for another class than model_index.json", f"expected {pair[1]}"
            )


def _check_files(folder: Path) -> None:
    for file in sorted(folder.rglob("*")):
        if file.suffix in PICKLES or file.suffix in CODE:
            raise BaseModelError(
                file,
                "a base folder must not hold pickles or code: reading them can run anything",
                "`python -m jobs.convert FOLDER NEW_FOLDER` makes a copy with .safetensors",
            )


def _check_weights(folder: Path, name: str) -> None:
    """The file that loaders look for is there, and every one of its name is whole."""
    there = sorted(folder.glob(f"{name}*.safetensors"))
    if not {f"{name}.safetensors", f"{name}.safetensors.index.json"} & set(os.listdir(folder)):
        fix = f"rename {there[0].name} to it" if there else "download the model as safetensors"
        raise BaseModelError(folder, f"holds no {name}.safetensors", fix)
    for file in there:
        try:
            with safe_open(str(file), framework="pt"):  # reads its table, and compares the length
                pass
        except (SafetensorError, OSError) as error:
            rule = f"is damaged or cut off ({error})"
            raise BaseModelError(file, rule, "copy or download it again") from None


def _hash_component(folder: Path, weights: str | None) -> str:
    """Sha256 over weight files byte for byte, and JSON without the versions that wrote it.

    Other precisions of the weights, which hubs keep beside them, are not loaded and do not count.
    """
    digest = hashlib.sha256()
    loaded = None if weights is None else weight_files(folder, weights)
    for file in sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix in (".safetensors", ".json", ".txt")
    ):
        if loaded is not None and ".safetensors" in file.name and file.name not in loaded:
            continue
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        if file.name.endswith("config.json"):
            content = _read_json(file, folder)
            kept = {
                k: v
                for k, v in content.items()
                if not k.startswith("_") and k != "transformers_version"
            }
            digest.update(json.dumps(kept, sort_keys=True).encode())
        else:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def weight_files(folder: Path, name: str) -> set[str]:
    """Names of the safetensors that loaders take: one, or an index and its parts."""
    index = folder / f"{name}.safetensors.index.json"
    if (folder / f"{name}.safetensors").exists() or not index.exists():
        return {f"{name}.safetensors"}
    parts = _read_json(index, folder).get("weight_map", {})
    return {index.name, *map(str, parts.values())}


def _read_json(file: Path, base: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise BaseModelError(
            file,
            "is missing",
            f"{base} must be a diffusers folder with model_index.json, e.g. ZeroScope",
        ) from None
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
        raise BaseModelError(file, rule, "check its permissions") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        rule = f"is not valid JSON ({error})"
        raise BaseModelError(file, rule, "copy or download it again") from None
    if not isinstance(content, dict):
        raise BaseModelError(file, "must hold a JSON object", "copy or download it again")
    return content
