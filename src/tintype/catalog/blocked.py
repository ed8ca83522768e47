"""The operator's list of phrases that prompts are refused for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tintype.errors import BadRequest

#: Thai, Lao, kana and Han are written without spaces: each of their letters counts as a word.
UNSPACED = re.compile("([\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff])")
COMMENT = "#"


class BlockedPhrases:
    """Phrases, found in a prompt whatever its case, punctuation and Unicode form, as whole words next to each other."""

    def __init__(self, phrases: Iterable[str] = ()) -> None:
        self._phrases = frozenset(filter(None, map(words, phrases)))
        self._lengths = sorted({len(phrase) for phrase in self._phrases})

    @classmethod
    def read(cls, path: Path | None) -> BlockedPhrases:
        """One phrase to a line, in UTF-8; empty lines and those that begin with # are none. No file, no phrases.

        Raises BadRequest, in the operator's terms, for a file that can't be read and for a line without a word.
        """
        if path is None:
            return cls()
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise BadRequest(f"TINTYPE_BLOCKED_PROMPTS: {path} can't be read: {reason}") from error
        phrases = {number: line for number, line in enumerate(lines, 1) if line.strip() and line[0] != COMMENT}
        for number, phrase in phrases.items():
            if not words(phrase):
                raise BadRequest(f"TINTYPE_BLOCKED_PROMPTS: line {number} of {path} has no word in it")
        return cls(phrases.values())

    def found(self, prompt: str) -> str | None:
        """The first blocked phrase in a prompt, as its words; None where there is none."""
        if not self._phrases:
            return None
        spoken = words(prompt)
        for length in self._lengths:
            for start in range(len(spoken) - length + 1):
                phrase = spoken[start : start + length]
                if phrase in self._phrases:
                    return " ".join(phrase)
        return None


def words(text: str) -> tuple[str, ...]:
    """A text's words, alike for all ways to write them: NFKC of the folded case, without invisible characters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return tuple(UNSPACED.sub(r" \1 ", "".join(map(_spoken, folded))).split())


def _spoken(letter: str) -> str:
    """Letters, marks and digits as they are, nothing for what can't be seen, a space for all else."""
    category = unicodedata.category(letter)
    if category[0] in "LMN":
        return letter
    return "" if category == "Cf" else " "
