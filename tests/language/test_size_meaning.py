"""Well-formed phrases that no nodule can satisfy."""

import pytest

from noduleclip.errors import SizeLanguageError
from noduleclip.language import parse_size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10 to 6", "wrong way round .* write the lower end first, 6-10 mm"),
        ("between 10 and 6 mm", "wrong way round .* 6-10 mm"),
        ("8 mm - 0.6 cm", "wrong way round .* 6-8 mm"),
        ("6-6 mm", "is empty; say 6 mm alone"),
        ("between 6 and > 10 mm", "a range takes two numbers"),
        ("> 6-8 mm", "a comparison takes one number"),
        ("diameter >", "a comparison takes one number"),
        ("> large", "a comparison takes one number"),
        ("150 mm", "150 mm: a lung nodule's diameter lies between 0 and 100 mm; did you mean 15 mm?"),
        ("> 12 cm", "12 cm: .* did you mean 12 mm?"),
        ("> 100.001 mm", "between 0 and 100 mm"),
        ("> 6000 mm", "between 0 and 100 mm$"),
        ("> 99999" + "9" * 900, "between 0 and 100 mm"),
        ("-6 mm", "-6 mm: a diameter cannot be negative"),
        ("> -6", "cannot be negative"),
        ("minus 6 mm", "cannot be negative"),
        ("−6 mm", "cannot be negative"),
        ("1.2.3 mm", "unreadable number"),
        ("> 1,000 mm", "unreadable number"),
        ("10² mm", "unreadable number"),
        ("3-4-5 mm", "unreadable number"),
        ("6/8 mm", "unreadable number"),
        ("1,00,0 mm3", "unreadable number"),
        ("250 ± 25 mm3", "write a range of volumes"),
        ("1000 ml", "124.1 mm|between 0 and 100 mm"),
        ("50 mm²", "areas are not read"),
        ("> 6 µm", "only mm and cm"),
        ("half inch, 0.5 inches", "only mm and cm"),
        ("not medium", "leaves two separate ranges"),
        ("not between 6 and 10 mm", "leaves two separate ranges"),
        ("≠ 6 mm", "leaves two separate ranges"),
        ("< 0 mm", "no diameter lies between 0 and 0 mm"),
        ("(10, 6] mm", "no diameter lies between 10 and 6 mm"),
        ("(6, 6] mm", "no diameter lies between 6 and 6 mm"),
        ("(-1, 6] mm", "cannot be negative"),
        ("(6, 150] mm", "150 mm: .* did you mean 15 mm?"),
        ("not (6, 10] mm", "leaves two separate ranges"),
    ],
)
def test_a_phrase_that_cannot_be_meant_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SizeLanguageError, match=message):
        parse_size(text)
