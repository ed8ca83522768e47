"""The spell list finds each of its own words, in names and texts, and leaves alone what has words of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.words import WORDS, scan

#: Something with each word of the list, by line.
SNIPPET = '''\
"""Nobody waits for ever: who needs a picture at once has no patience. Whoever rings the bell, beside the keeper, is
tried again, so many as are to be had, and at the
utmost one look per beat, lest they wait in a circle.
"""
# The hook of a stand-in; a glance, in nobody's hands, is unhurried. Those needed longest ago make way, are given back.
# It looks at pictures anew; the front door is tidy, strays are swept in sweeps, the warm-up has an outlook and a wish.
# Put together when the company changes, by heart.


class Order: ...


class Job(Denoising, Task, Draft, Around, Terms, Mark, Verdict, Told, Loaded, Guard, Poster, Act, Mover, Peaks, Twin):
    MOST_ROWS, least_steps = 1, 2
    picture_life, USUAL = 3, 4

    def look(self, silence: float, excess: int) -> None:
        self.beat = traits(shortage, endings, own_keys, announce, Residency)
'''


def found(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    file = tmp_path / "snippet.py"
    file.write_text(text)
    return [(hit.line, hit.word) for hit in scan(file)]


def test_each_word_is_found(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    advice = {hit.better for hit in scan(file)}
    assert [better for _, _, better in WORDS if better not in advice] == []


def test_where_they_stand(tmp_path: Path) -> None:
    hits = found(tmp_path, SNIPPET)
    assert hits == sorted(hits)
    assert {(1, "at once"), (1, "nobody"), (5, "stand-in"), (6, "looks at pictures")} <= {*hits}
    assert (2, "at the utmost") in hits, "a line ends in it"
    assert {(13, "Task"), (13, "Draft"), (14, "MOST_ROWS"), (14, "least_steps"), (17, "look"), (17, "excess")} <= {
        *hits
    }
    assert hits.count((15, "picture_life")) == 2, "two words of one name"


@pytest.mark.parametrize(
    "text",
    [
        'print("a picture at once")\n',
        '"""As `max_pictures` and `TINTYPE_MAX_PICTURES` say."""\n',
        "most_seconds: float = price.most_seconds\n",
        "update(previews).where(previews.c.look < 3).values(look=3, picture=row.picture)\n",
        "task: asyncio.Task[None] = almost(webhook, heartbeat, lifecycle, overlooked)\n",
        "# The webhook of an image: at most one, the latest, in the order of arrival.\n",
    ],
)
def test_what_stays(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []
