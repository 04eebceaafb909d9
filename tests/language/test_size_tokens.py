"""What the tokeniser makes of typography, and the sentences that it refuses."""

import pytest

from noduleclip.errors import SizeLanguageError
from noduleclip.language import MAX_SENTENCE_CHARS, parse_size
from noduleclip.language.size_tokens import tokenise


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the query is empty"),
        (" \n\u00a0\u200b", "the query is empty"),
        ("a" * (MAX_SENTENCE_CHARS + 1), "has 1001 characters, at most 1000"),
    ],
)
def test_an_empty_or_endless_sentence_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SizeLanguageError, match=message):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("Nodule > 6mm", "nodule > 6 mm"),
        ("６–10 ＭＭ", "6 - 10 mm"),
        ("isn’t over\u200b 6,5 mm", "not over 6,5 mm"),
        ("six mm", "6 mm"),
        ("> -6 mm", "> -6 mm"),
        ("LIDC-IDRI-0078", "lidc - idri - 0078"),
        ("(6,10] mm", "( 6 , 10 ] mm"),
        ("[6,10) mm", "[ 6 , 10 ) mm"),
        ("(6,10) mm", "( 6,10 ) mm"),
        ("read as: diameter in (6, inf) mm", "diameter in ( 6 , inf ) mm"),
    ],
)
def test_a_sentence_becomes_tokens(text: str, texts: str) -> None:
    assert [token.text for token in tokenise(text)] == texts.split()


def test_plain_and_other_characters_take_the_same_way() -> None:
    assert tokenise("over 6 mm, isn't it") == tokenise("over 6 mm,\u200b isn’t it")
