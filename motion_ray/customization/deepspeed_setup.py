"""The one home of the ``deepspeed`` import: configuration and set-up of its engine, on GPUs and on
CPUs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from motion_ray.config import CustomizationConfig

logger = logging.getLogger(__name__)

BUCKET = 50_000_000
"""Numbers that ZeRO reduces at once. It makes a buffer of so many when activations are at their
peak: by its own default 2 GB in float32, half of what moving the optimizer away saves."""


def deepspeed_config(config: CustomizationConfig) -> dict[str, Any]:
    """DeepSpeed's settings for a run. Arithmetic stays ours: the model autocasts itself, weights
    are float32.
    """
    stage = config.engine.zero_stage
    zero: dict[str, Any] = {"stage": stage, "reduce_bucket_size": BUCKET}
    if config.engine.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": config.batch_size,
        "gradient_accumulation_steps": 1,
        # without ZeRO the gradients are whole, and the engine clips them itself
        "gradient_clipping": config.optimizer.grad_clip if stage else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's AdamW also when offloaded: DeepSpeed's own would have to be compiled first
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
    }


def preload() -> None:
    """Import DeepSpeed now, where waiting costs nothing; the first engine would do it otherwise."""
    import deepspeed  # noqa: F401


def initialize(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: CustomizationConfig,
    device: torch.device,
) -> Any:
    """A DeepSpeed engine around ``model``; makes a process group of one if there is none."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if device.type == "cpu":
        _skip_shared_memory_kernel(deepspeed)
    if not torch.distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(
            backend, store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    # DeepSpeed moves the model to the GPU of the local rank.
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": str(device.index or 0)}
    for name, value in ranks.items():
        os.environ.setdefault(name, value)
    deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, config=deepspeed_config(config)
    )
    if not config.engine.zero_stage:
        # There is nobody to share gradients with; it would copy all of them, twice.
        engine.enable_backward_allreduce = False
    return engine


@contextlib.contextmanager
def barriers_of_one() -> Iterator[None]:
    """Checkpoints wait for all processes. There is one, so that torch does not know on which GPU it
    should wait can hang nothing and is no news.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"barrier\(\): using the device under current context")
        yield


def _skip_shared_memory_kernel(deepspeed: Any) -> None:
    """Keep DeepSpeed from compiling its shared-memory collectives: a minute of g++ that one process
    never uses.
    """
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict) and "deepspeed_shm_comm" in compatible:
        compatible["deepspeed_shm_comm"] = False
    else:
        logger.info(
            "this deepspeed has no op table; its communication kernel may be compiled on first use"
        )
