"""A prompt in its three renderings (paper section 4.1; shared vocabulary of training and
evaluation).

The paper asks for the motion with V*, scores appearance on the part of the prompt that describes
the subject, and scores text alignment on a caption in natural language. One template with a
``<motion>`` slot gives all three, whatever the token is called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from motion_ray.errors import ConfigError

SLOT = "<motion>"
TOKEN = "<token>"
DOING = f"doing the {TOKEN}"  # how a prompt asks for a motion, unless it says otherwise


def contains_word(text: str, word: str) -> bool:
    """Whether a text holds the word, in any case (CLIP's tokenizers read small letters)."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class EvalPrompt:
    """A template such as ``"a female firefighter <motion>"`` or ``"a red robot <motion> in the
    forest"``.

    Raises:
        ConfigError: the template does not hold the ``<motion>`` slot exactly once.
    """

    template: str

    def __post_init__(self) -> None:
        if self.template.count(SLOT) != 1:
            raise ConfigError(
                f"prompt {self.template!r}",
                f"a prompt holds the slot {SLOT} exactly once",
                f'for example "a red robot {SLOT} in the forest"',
            )

    def with_token(self, token: str, phrase: str = DOING) -> str:
        """The prompt that is sampled: ``"a female firefighter doing the pll"``."""
        return self._fill(phrase.replace(TOKEN, token))

    def appearance(self) -> str:
        """What CLIP appearance is scored on: ``"a female firefighter"``."""
        return self._fill("")

    def natural(self, description: str) -> str:
        """What text alignment is scored on: ``"a female firefighter swiping hand down"``."""
        return self._fill(description)

    def _fill(self, text: str) -> str:
        return re.sub(r"\s+", " ", self.template.replace(SLOT, text)).strip()
