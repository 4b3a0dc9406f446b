"""Recorded denoising steps: on a GPU a small model waits for Python, not for the GPU.

A UNet of ZeroScope's family starts a few thousand kernels a step. Where starting them takes longer
than running them, a CUDA graph of the step, recorded once and replayed, is several times as fast;
where the GPU is the slower one (full size), it gains nothing and holds memory. So the second step
of a size is timed, and only what waits for Python is recorded.

A graph reads and writes fixed addresses. It is kept under the addresses of all parameters and
buffers, so other storage means another graph and never a wrong result; and the exchange of motions
(:mod:`motion_ray.customization.swap`) copies values into one place from then on instead of changing
pointers, so that one graph serves them all.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import functools
import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motion_ray.customization.swap import keep_in_place

log = logging.getLogger(__name__)

WAITING = 0.7  # share of a step spent in starting its kernels, above which recording pays
GRAPHS = 4  # kept for a model: sizes, and the base beside its motions


def predict(denoiser: nn.Module, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
    """A UNet's output ``[b, c, f, h, w]`` for ``[b, c, f, h, w]``, ``[b]`` and ``[b, n, d]``."""
    return denoiser(latents, timesteps, encoder_hidden_states=text, return_dict=False)[0]


class StepRecorder:
    """The recorded steps of one denoiser; safe for threads.

    Only without gradients. What cannot be recorded runs as it always did, with a warning.

    Args:
        denoiser: the network, on a GPU.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        self._denoiser = denoiser
        self._alone = threading.Lock()  # graphs share memory, so one of them runs at a time
        self._sizes: dict[Hashable, _Size] = {}
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._memory = torch.cuda.graph_pool_handle()
        self._stream: torch.cuda.Stream | None = None
        self._done = torch.cuda.Event()

    @property
    def recorded(self) -> int:
        """Graphs that are kept."""
        return len(self._graphs)

    def generation(self) -> Generation:
        """A predictor for the steps of one generation, in which no parameter moves."""
        return Generation(self)

    @torch.no_grad()
    def predict(self, given: tuple[Tensor, ...], addresses: Callable[[], Hashable]) -> Tensor:
        """One step, recorded or not; the result is the caller's own.

        Args:
            given: latents ``[b, c, f, h, w]``, timesteps ``[b]`` and text ``[b, n, d]``.
            addresses: of everything that a graph reads besides, :meth:`addresses` of this moment.
        """
        if not self._alone.acquire(blocking=False):
            return self._run(*given)  # somebody else generates with this model
        try:
            size = self._sizes.setdefault(self._size_of(given), _Size())
            with torch.cuda.device(given[0].device):
                if size.worth is None:
                    return self._tried(size, given)
                return self._replayed(size, given, addresses) if size.worth else self._run(*given)
        finally:
            self._alone.release()

    def addresses(self) -> Hashable:
        """Of all parameters and buffers."""
        parameters = tuple(each.data_ptr() for each in self._denoiser.parameters())
        return (*parameters, *(each.data_ptr() for each in self._denoiser.buffers()))

    def _tried(self, size: _Size, given: tuple[Tensor, ...]) -> Tensor:
        """Run as usual; the second time, tell what the time went into."""
        size.runs += 1
        if size.runs == 1:  # the first one also looks for kernels and takes memory
            return self._run(*given)
        torch.cuda.synchronize()
        started = time.perf_counter()
        found = self._run(*given)
        issued = time.perf_counter()
        torch.cuda.synchronize()
        share = (issued - started) / (time.perf_counter() - started)
        size.worth = share >= WAITING
        if size.worth:
            keep_in_place(self._denoiser)
        log.info(
            "%.0f %% of a denoising step is starting kernels: %s",
            100 * share,
            "steps of this size are recorded" if size.worth else "not recorded",
        )
        return found

    def _replayed(
        self, size: _Size, given: tuple[Tensor, ...], addresses: Callable[[], Hashable]
    ) -> Tensor:
        key = (self._size_of(given), addresses())
        graph = self._graphs.get(key)
        if graph is None:
            try:
                graph = self._record(given)
            except RuntimeError as fault:
                size.worth = False
                log.warning("a denoising step cannot be recorded: %s", str(fault).splitlines()[0])
                torch.cuda.synchronize()
                return self._run(*given)
            while len(self._graphs) >= GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[key] = graph
        self._graphs.move_to_end(key)
        torch.cuda.current_stream().wait_event(self._done)  # another stream may have been the last
        for place, value in zip(graph.inputs, given, strict=True):
            place.copy_(value)
        graph.graph.replay()
        found = graph.output.clone()
        self._done.record()
        return found

    def _record(self, given: tuple[Tensor, ...]) -> _Graph:
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        stream = self._stream
        inputs = tuple(each.clone() for each in given)
        stream.wait_stream(torch.cuda.current_stream())
        # Casts that autocast remembers are gone when its block ends; a graph would go on reading.
        autocast = functools.partial(
            *(torch.autocast, "cuda", torch.get_autocast_dtype("cuda")),
            enabled=torch.is_autocast_enabled("cuda"),
            cache_enabled=False,
        )
        with torch.cuda.stream(stream), autocast():
            self._run(*inputs)  # takes what libraries keep for a stream, outside the recording
        torch.cuda.synchronize()
        gc.collect()  # or garbage with graphs of its own could go while this one is recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream), autocast():
            # Other threads go on loading motions meanwhile, which would else be an error.
            graph.capture_begin(self._memory, capture_error_mode="thread_local")
            try:
                output = self._run(*inputs)
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return _Graph(graph, inputs, output)

    def _run(self, *given: Tensor) -> Tensor:
        return predict(self._denoiser, *given)

    def _size_of(self, given: tuple[Tensor, ...]) -> Hashable:
        shapes = tuple((tuple(each.shape), each.dtype) for each in given)
        arithmetic = (torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
        return (*shapes, *arithmetic, self._denoiser.training)


class Generation:
    """Predicts the steps of one generation.

    Args:
        recorder: of the denoiser.
    """

    def __init__(self, recorder: StepRecorder) -> None:
        self._recorder = recorder
        # Walking through a network takes as long as a small one's step: once is enough.
        self._addresses = functools.cache(recorder.addresses)

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """As :func:`predict`."""
        return self._recorder.predict((latents, timesteps, text), self._addresses)


@dataclass
class _Size:
    """What is known of a size: runs so far, and whether recording pays (null: not known yet)."""

    runs: int = 0
    worth: bool | None = None


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor
