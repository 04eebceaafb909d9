"""Numbers in words and fractions, articles and units before their number: tokens to tokens with plain numbers."""

from collections.abc import Sequence
from fractions import Fraction

from noduleclip.language.size_tokens import Token
from noduleclip.language.size_words import JOINTS, ONES, SYMBOLS, TENS, UNITS
from noduleclip.language.words import split_words

_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "eighth": 8, "eighths": 8}
_MEASURES = split_words("diameter diameters size sizes axis dimension dimensions length measurement volume")
_BEFORE_VALUE = split_words(": = > >= < <= ~ ± is of between from ) ] ,") | {*SYMBOLS.values()}
_JOINING = {phrase[0] for phrase in JOINTS if len(phrase) == 1} | {"and", "or", "×", "x", "by"}

_MOST_DIGITS = 6


def read_numbers(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with "twenty-five", "1 1/2", "half a" and "a" before a unit as numbers."""
    read: list[Token] = []
    at = 0
    while at < len(tokens):
        value, end = _read_value(tokens, at)
        if value is None and tokens[at].text in UNITS and read and read[-1].kind == "number":
            rest, after = _read_rest(tokens, at + 1)
            if (
                rest is not None
                and _text(tokens, at + 1) == "and"
                and read[-1].text.isdecimal()
                and len(read[-1].text) < 4
            ):  # "1 cm and a half"
                read[-1] = read[-1]._replace(text=_write(int(read[-1].text) + rest))
                read.append(tokens[at])
                at = after
                continue
        if value is None:
            read.append(tokens[at])
            at += 1
        else:
            spoken = " ".join(token.spoken for token in tokens[at:end])
            read.append(Token("number", _write(value), spoken))
            at = end
    return _move_units(read)


def _write(value: Fraction) -> str:
    return f"{float(value):.6f}".rstrip("0").rstrip(".")


def _read_value(tokens: Sequence[Token], at: int) -> tuple[Fraction | None, int]:
    """Return the number that starts here and where it ends; None where the token stands for itself."""
    fraction, end = _read_fraction(tokens, at)
    if fraction is not None:
        return (fraction, end) if _has_unit(tokens, end) else (None, at)
    if tokens[at].text in ("a", "an") and at + 1 < len(tokens) and UNITS.get(tokens[at + 1].text) in ("mm", "cm"):
        return Fraction(1), at + 1
    whole, end = _read_whole(tokens, at)
    if whole is None:
        return None, at
    rest, after = _read_rest(tokens, end)
    if rest is not None and _has_unit(tokens, after):
        return whole + rest, after
    return (Fraction(whole), end) if end > at + 1 else (None, at)


def _read_whole(tokens: Sequence[Token], at: int) -> tuple[int | None, int]:
    if tokens[at].kind != "number":
        return None, at
    tens = TENS.get(tokens[at].spoken)
    if tens is None:
        plain = tokens[at].text.isdecimal() and len(tokens[at].text) <= _MOST_DIGITS
        return (int(tokens[at].text), at + 1) if plain else (None, at)
    after = at + 1 + (_text(tokens, at + 1) == "-")
    ones = ONES.get(tokens[after].spoken, 10) if after < len(tokens) else 10
    return (tens + ones, after + 1) if ones < 10 else (tens, at + 1)


def _read_rest(tokens: Sequence[Token], at: int) -> tuple[Fraction | None, int]:
    """Read the fraction behind a whole number: "and a half", "1/2", "-1/2", "point five"."""
    if _text(tokens, at) == "point" and tokens[at + 1 : at + 2] and tokens[at + 1].text[:_MOST_DIGITS].isdecimal():
        return Fraction(int(tokens[at + 1].text), 10 ** len(tokens[at + 1].text)), at + 2
    joined = _text(tokens, at) in ("and", "-")
    fraction, end = _read_fraction(tokens, at + joined) if at + joined < len(tokens) else (None, at)
    return fraction, end


def _read_fraction(tokens: Sequence[Token], at: int) -> tuple[Fraction | None, int]:
    """Read "1/2", "half a", "a half", "three quarters of a", "quarter"."""
    top, slash, bottom = tokens[at].text.replace("⁄", "/").partition("/")
    if slash and top.isdecimal() and bottom in ("2", "3", "4", "8") and 0 < int(top) < int(bottom):
        if Fraction(int(top), int(bottom)).denominator != int(bottom):
            return None, at
        return Fraction(int(top), int(bottom)), _skip_article(tokens, at + 1)
    count, end = 1, at
    if tokens[at].text in ("a", "an"):
        end += 1
    elif tokens[at].kind == "number" and tokens[at].text.isdecimal() and len(tokens[at].text) == 1:
        count = int(tokens[at].text)
        end += 1 + (_text(tokens, at + 1) == "-")
    parts = _PARTS.get(_text(tokens, end), 0)
    if not 0 < count < parts:
        return None, at
    return Fraction(count, parts), _skip_article(tokens, end + 1)


def _skip_article(tokens: Sequence[Token], at: int) -> int:
    """Return where "of a" or "a" before a unit ends."""
    end = at + (_text(tokens, at) == "of")
    end += _text(tokens, end) in ("a", "an")
    end += _text(tokens, end) == "-"
    return end if _text(tokens, end) in UNITS else at


def _has_unit(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a unit follows, perhaps behind the other end of a range."""
    for token in tokens[at : at + 5]:
        if token.text in UNITS:
            return True
        if token.kind != "number" and token.text not in _JOINING and token.text not in _PARTS and token.text != "a":
            return False
    return False


def _move_units(tokens: list[Token]) -> list[Token]:
    """Move the unit of "diameter (mm): 8" and "size in cm = 1.2" behind its number."""
    for at in range(1, len(tokens) - 1):
        if tokens[at].text not in UNITS or tokens[at - 1].kind == "number":
            continue
        before = at - 1 - (tokens[at - 1].text in ("(", "[", ",", "in"))
        if before < 0 or tokens[before].text not in _MEASURES:
            continue
        end = at + 1
        while end < len(tokens) and tokens[end].text in _BEFORE_VALUE:
            end += 1
        if end == len(tokens) or tokens[end].kind != "number":
            continue
        while end + 1 < len(tokens) and (tokens[end + 1].kind == "number" or _is_joint(tokens, end + 1)):
            end += 1
        if _text(tokens, end + 1) in UNITS:
            continue
        closing = _text(tokens, at + 1) in (")", "]")
        opening = tokens[at - 1].text in ("(", "[", ",", "in")
        moved = [*tokens[at + 1 + closing : end + 1], tokens[at]]
        return _move_units([*tokens[: at - opening], *moved, *tokens[end + 1 :]])
    return tokens


def _is_joint(tokens: Sequence[Token], at: int) -> bool:
    return tokens[at].text in _JOINING and at + 1 < len(tokens) and tokens[at + 1].kind == "number"


def _text(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].text if at < len(tokens) else ""
