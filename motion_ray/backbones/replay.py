"""Recorded denoising steps: on a GPU a small model waits for Python, not for the GPU.

A UNet of ZeroScope's family starts a few thousand kernels a step. Where starting them takes longer
than running them, a CUDA graph of the step, recorded once and replayed, is several times as fast;
where the GPU is the slower one (full size), it gains nothing and holds memory. So some steps of a
size are timed, and only what waits for Python, and comes again, is recorded.

A graph reads and writes fixed addresses. It is kept under the addresses of all parameters and
buffers, so other storage means another graph; what else a network computes with (hooks, scales of
adapters) must not change once it has generated. The exchange of motions
(:mod:`motion_ray.customization.places`) copies values from then on instead of changing pointers, so
that one graph serves the base model and all of them.

Shapes: b batch, c channels, f frames, h/w latent cells, n tokens, d text width.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motion_ray.customization.places import keep_in_place

log = logging.getLogger(__name__)

#: Share of a step spent in starting its kernels, above which recording pays. A GPU that is behind
#: also makes starting wait, once a thousand or so are queued: half of a large model's step.
WAITING = 0.9
GRAPHS = 16  # kept for a model, each for a size
ASKED = 64  # of these that are remembered because a generation asked for them
TIMED = 2  # steps that are timed, after a first one that also looks for kernels and takes memory
TRIES = 2  # of recording a size: another thread can spoil one


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
        self._asked: OrderedDict[Hashable, int] = OrderedDict()  # first generation that did
        self._graphs: dict[Hashable, _Graph] = {}
        self._numbers = itertools.count()  # of generations
        self._memory: Any = None  # of all recordings; this and what follows come with the first
        self._stream: torch.cuda.Stream | None = None
        self._done: torch.cuda.Event | None = None

    @property
    def recorded(self) -> int:
        """Graphs that are kept."""
        return len(self._graphs)

    def __deepcopy__(self, memo: dict[int, Any]) -> StepRecorder:
        """Nothing is recorded of a copied network yet."""
        return StepRecorder(copy.deepcopy(self._denoiser, memo))

    def generation(self) -> Generation:
        """A predictor for the steps of one generation, in which no parameter moves."""
        return Generation(self, next(self._numbers))

    @torch.no_grad()
    def predict(
        self, given: tuple[Tensor, ...], addresses: Callable[[], Hashable], generation: int
    ) -> Tensor:
        """One step, recorded or not; the result is the caller's own.

        Args:
            given: latents ``[b, c, f, h, w]``, timesteps ``[b]`` and text ``[b, n, d]``.
            addresses: of everything that a graph reads besides, :meth:`addresses` of this moment.
            generation: number of the one that the step is part of.
        """
        if not self._alone.acquire(blocking=False):
            return self._run(*given)  # somebody else generates with this model
        try:
            key = self._size_of(given)
            size = self._sizes.setdefault(key, _Size())
            with torch.cuda.device(given[0].device):
                if size.worth is None:
                    return self._tried(size, given)
                if not size.worth:
                    return self._run(*given)
                return self._replayed((key, addresses()), size, given, generation)
        finally:
            self._alone.release()

    def addresses(self) -> tuple[int, ...]:
        """Of all parameters and buffers."""
        parameters = tuple(each.data_ptr() for each in self._denoiser.parameters())
        return (*parameters, *(each.data_ptr() for each in self._denoiser.buffers()))

    def _tried(self, size: _Size, given: tuple[Tensor, ...]) -> Tensor:
        """Run as usual, and tell what the time went into."""
        size.runs += 1
        if size.runs == 1:
            return self._run(*given)
        stream = torch.cuda.current_stream()
        stream.synchronize()
        # By the GPU's own clock: this thread may have to wait for Python once the GPU has ended.
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record(stream)
        started = time.perf_counter()
        found = self._run(*given)
        issued = time.perf_counter()
        end.record(stream)
        stream.synchronize()
        taken = begin.elapsed_time(end) / 1000
        # The least of several: another thread that computes in Python makes starting look slow.
        size.share = min(size.share, (issued - started) / taken)
        if size.runs <= TIMED:
            return found
        size.worth = size.share >= WAITING
        if size.worth:
            keep_in_place(self._denoiser)
        log.info(
            "%.0f %% of a denoising step is starting kernels: %s",
            100 * size.share,
            "steps of this size are recorded" if size.worth else "not recorded",
        )
        return found

    def _replayed(
        self, key: Hashable, size: _Size, given: tuple[Tensor, ...], generation: int
    ) -> Tensor:
        graph = self._graphs.get(key)
        if graph is None:
            if not self.again(key, generation):
                return self._run(*given)
            if len(self._graphs) >= GRAPHS:
                self._forget()
            try:
                graph = self._record(given)
            except RuntimeError as fault:
                self._clear_up()
                size.failures += 1
                size.worth = size.failures < TRIES
                log.warning("a denoising step cannot be recorded: %s", str(fault).splitlines()[0])
                return self._run(*given)
            self._graphs[key] = graph
        if self._done is None:
            self._done = torch.cuda.Event()
        torch.cuda.current_stream().wait_event(self._done)  # another stream may have been the last
        for place, value in zip(graph.inputs, given, strict=True):
            place.copy_(value)
        graph.graph.replay()
        found = graph.output.clone()
        self._done.record()
        return found

    def again(self, key: Hashable, generation: int) -> bool:
        """Whether an earlier generation asked for this already: what comes once, such as the
        pointers from before a first exchange, is not worth a recording.
        """
        first = self._asked.setdefault(key, generation)
        self._asked.move_to_end(key)
        while len(self._asked) > ASKED:
            self._asked.popitem(last=False)
        return first != generation

    def _forget(self) -> None:
        """Let all graphs go, and their stream. One alone cannot: with it torch would free what its
        libraries keep for the stream of the recording, which the others still write to.
        """
        torch.cuda.synchronize()
        self._graphs.clear()
        self._stream = None  # and with it the memory

    def _record(self, given: tuple[Tensor, ...]) -> _Graph:
        if self._stream is None:
            self._stream, self._memory = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
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

    def _clear_up(self) -> None:
        """After a recording that failed: torch up to 2.11 goes on giving out the recording's memory
        if the end of a recording is an error, too.
        """
        torch.cuda.synchronize()
        with contextlib.suppress(RuntimeError, AttributeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._memory)
        self._forget()

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
        number: no other generation of the recorder has it.
    """

    def __init__(self, recorder: StepRecorder, number: int) -> None:
        self._recorder, self._number = recorder, number
        # Walking through a network takes as long as a small one's step: once is enough.
        self._addresses = functools.cache(recorder.addresses)

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """As :func:`predict`."""
        return self._recorder.predict((latents, timesteps, text), self._addresses, self._number)


@dataclass
class _Size:
    """What is known of a size: runs so far, the share of starting kernels, whether recording pays
    (null: not known yet), and recordings that failed.
    """

    runs: int = 0
    share: float = 1.0
    worth: bool | None = None
    failures: int = 0


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor
