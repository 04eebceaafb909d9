"""Sound files made unsound: a seeded mutator for where libFuzzer is not installed, and beside it where it is."""

import contextlib
import io
import random
import zipfile
from collections.abc import Callable, Sequence

MAX_BYTES = 1 << 17
_STEPS = (1, 1, 1, 2, 3, 6)
_NUMBERS = (0, 1, 2, 7, 8, 16, 100, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_EARLY = 512  # where headers and lengths stand


Restructure = Callable[[bytes, random.Random], bytes]


class Mutator:
    """Draws inputs near some sound ones.

    Args:
        seed: Seed of everything random.
        corpus: Inputs to start from; grows by `keep`.
        words: What the format is made of: its keywords, tags and marks.
        restructure: Changes what an input says and keeps it readable, for half of the inputs; raises where it cannot.
    """

    def __init__(
        self, seed: int, corpus: Sequence[bytes], words: Sequence[bytes], restructure: Restructure | None = None
    ) -> None:
        self._restructure = restructure
        self._random = random.Random(seed)
        self._corpus = list(corpus)
        self._words = list(words)
        self._steps: tuple[Callable[[bytearray], None], ...] = (
            *(self._flip, self._set_number, self._set_number, self._cut, self._repeat, self._drop),
            *(self._splice, self._set_word, self._add_word, self._swap, self._set_text_number),
        )

    def draw(self) -> bytes:
        """Return a new input."""
        return self.mutate(self._random.choice(self._corpus))

    def mutate(self, sound: bytes) -> bytes:
        """Change an input in one place or a few; of an archive, what is in it, as its checksums stop all else."""
        if sound.startswith(b"PK") and self._random.random() < 0.8:
            with contextlib.suppress(Exception):  # an archive no more
                return self._mutate_member(sound)
        if self._restructure and self._random.random() < 0.5:
            with contextlib.suppress(Exception):  # not readable any more
                return self._restructure(sound, self._random)[:MAX_BYTES]
        content = bytearray(sound)
        for _ in range(self._random.choice(_STEPS)):
            self._random.choice(self._steps)(content)
        return bytes(content[:MAX_BYTES])

    def _mutate_member(self, archive: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(archive)) as old:
            members = {name: old.read(name) for name in old.namelist()}
        chosen = self._random.choice(list(members))
        small = min(members, key=lambda name: (not name.endswith(".pkl"), len(members[name])))
        chosen = self._random.choice((chosen, small))
        content = bytearray(members[chosen])
        for _ in range(self._random.choice(_STEPS)):
            self._random.choice(self._steps)(content)
        members[chosen] = bytes(content[:MAX_BYTES])
        return pack_archive(members)

    def _place(self, content: bytearray) -> int:
        end = min(len(content), _EARLY) if self._random.random() < 0.5 else len(content)
        return self._random.randrange(end + 1)

    def _piece(self, content: bytearray) -> slice:
        start = self._place(content)
        return slice(start, start + int(2 ** self._random.uniform(0, 10)))

    def _flip(self, content: bytearray) -> None:
        if content:
            content[self._place(content) % len(content)] ^= 1 << self._random.randrange(8)

    def _set_number(self, content: bytearray) -> None:
        """Write a number at the edge of its type where a length or a count may stand."""
        width = self._random.choice((1, 2, 4, 8))
        number = self._random.choice(_NUMBERS) - self._random.choice((0, 0, 1))
        order = self._random.choice(("little", "big"))
        start = self._place(content)
        content[start : start + width] = (number % 2 ** (8 * width)).to_bytes(width, order)

    def _set_text_number(self, content: bytearray) -> None:
        digits = [at for at, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
        if digits:
            start = self._random.choice(digits)
            new = self._random.choice(
                (*map(str, _NUMBERS), "-1", "nan", "inf", "1e308", "1e-308", "0.0", "", '"', "1_0")
            )
            content[start : start + self._random.choice((1, 1, 3))] = new.encode()

    def _cut(self, content: bytearray) -> None:
        if self._random.random() < 0.3:
            del content[self._place(content) :]

    def _drop(self, content: bytearray) -> None:
        del content[self._piece(content)]

    def _repeat(self, content: bytearray) -> None:
        piece = content[self._piece(content)]
        start = self._place(content)
        content[start:start] = piece * min(self._random.choice((1, 1, 2, 50)), 1 + MAX_BYTES // (1 + len(piece)))

    def _splice(self, content: bytearray) -> None:
        other = bytearray(self._random.choice(self._corpus))
        content[self._piece(content)] = other[self._piece(other)]

    def _swap(self, content: bytearray) -> None:
        first, second = self._piece(content), self._piece(content)
        content[first], content[second] = content[second], content[first]

    def _set_word(self, content: bytearray) -> None:
        word, start = self._random.choice(self._words), self._place(content)
        content[start : start + len(word)] = word

    def _add_word(self, content: bytearray) -> None:
        start = self._place(content)
        content[start:start] = self._random.choice(self._words)


def pack_archive(members: dict[str, bytes]) -> bytes:
    """Make a zip archive whose members are stored as they are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()
