"""Exchange of values without moving parameters, for what reads fixed addresses.

:mod:`motion_ray.backbones.replay` records steps of the denoiser that go on reading the addresses
they were recorded with. So every parameter that is exchanged moves once, to a place of its own, and
stays there: other values are copied into the place, and afterwards the base model's own again. Some
copies on the GPU take less time than telling a few hundred parameters where else to look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from motion_ray.customization.packing import packed

PLACES = "_places_of_values"  # attribute of a denoiser whose parameters must not move


def keep_in_place(denoiser: nn.Module) -> None:
    """From the next exchange on, have each parameter at the same address always.

    Takes memory for one or two more sets of values, of all parameters that were ever exchanged.
    """
    vars(denoiser).setdefault(PLACES, Places())


def places_of(denoiser: nn.Module) -> Places | None:
    """Where parameters stay; null if they may move."""
    return vars(denoiser).get(PLACES)


def own_values(denoiser: nn.Module) -> dict[str, Tensor]:
    """Parameter name to storage that holds the base model's value during exchanges too.

    To be called while nothing is exchanged.
    """
    places, parameters = places_of(denoiser), dict(denoiser.named_parameters())
    present = {name: each.data for name, each in parameters.items()}
    return present if places is None else present | places.own(parameters)


class Places:
    """One place for each parameter that was ever exchanged.

    Places lie together in few pieces of memory, and so do the base model's own values: to copy
    pieces takes Python less time than to copy tensors.
    """

    def __init__(self) -> None:
        self._places: dict[str, Tensor] = {}
        self._addresses: dict[str, int] = {}  # of the places
        self._own: dict[str, Tensor] = {}
        self._pieces: list[tuple[Tensor, Tensor]] = []  # the base model's own, and the places

    def __deepcopy__(self, memo: dict[int, Any]) -> Places:
        """A copied network's parameters have not moved yet."""
        return Places()

    def own(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """The base model's own values of those parameters that are in their places."""
        self._note()
        return {
            name: own
            for name, own in self._own.items()
            if parameters[name].data_ptr() == self._addresses[name]
        }

    @contextlib.contextmanager
    def filled(
        self, values: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]
    ) -> Iterator[None]:
        """Other values in the places of some parameters; the base model's again on leaving, in all
        places: what was changed in them meanwhile is undone.

        Args:
            values: parameter name to value, of the parameter's shape.
            parameters: of the denoiser, by name.
        """
        if any(parameters[n].data_ptr() != self._addresses.get(n) for n in values):
            self._settle({*values, *self._places}, parameters)
        self._note()
        try:
            self._fill(values)
            yield
        finally:
            self._restore()

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        torch._foreach_copy_([self._places[name] for name in values], [*values.values()])

    @torch.no_grad()
    def _restore(self) -> None:
        for own, place in self._pieces:
            place.copy_(own)

    @torch.no_grad()
    def _note(self) -> None:
        """Training may have changed what is in a place."""
        for own, place in self._pieces:
            own.copy_(place)

    def _settle(self, names: set[str], parameters: Mapping[str, nn.Parameter]) -> None:
        """For the first time, or since there is a new one, or one that a cast gave other storage.
        All of them move: what a piece holds stays in memory with it.
        """
        present = {name: parameters[name].data for name in sorted(names)}
        own, own_pieces = _copies(present)
        places, pieces = _copies(present)
        # Nothing fails from here on: without memory for both, all would stay as it is.
        self._own, self._places = own, places
        self._pieces = [*zip(own_pieces, pieces, strict=True)]
        self._addresses = {name: place.data_ptr() for name, place in places.items()}
        for name, place in places.items():
            parameters[name].data = place


def _copies(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Copies of the same layout, and the memory that they take: together where that is possible."""
    pieces: list[Tensor] = []
    device = next(iter(tensors.values())).device

    def take(nbytes: int) -> Tensor:
        pieces.append(torch.zeros(nbytes, dtype=torch.uint8, device=device))
        return pieces[-1]

    found = packed({n: each for n, each in tensors.items() if each.is_contiguous()}, take, int)
    for name, tensor in tensors.items():
        if name not in found:  # a layout of its own, such as channels last
            found[name] = tensor.clone()
            pieces.append(found[name])
    return found, pieces
