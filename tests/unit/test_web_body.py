"""Bytes of a body → parameters: what is read, what is refused, and how little is looked at either way."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.catalog.models import MODELS
from tintype.catalog.spec import ModelSpec, Param
from tintype.errors import BadRequest, InvalidParameter, MissingParameter, TintypeError, UnsupportedBody
from tintype.web import body, forms
from tintype.web.body import parse, parse_json
from tintype.web.forms import IMAGES, LONG, MAX_VALUES, SMALL

JSON, URLENCODED = "application/json", "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=zzz"
TEXTS = ("prompt", "negative_prompt")
#: Larger than all that isn't a picture may be; of every byte.
PICTURE = bytes(range(256)) * (2 * SMALL // 256)
BASE64 = b64encode(PICTURE)
Making = Callable[[], bytes]


def filled(unit: bytes) -> bytes:
    return unit * (4 * SMALL // len(unit))


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    return f'--zzz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--zzz--\r\n"


FILE = '; filename="a.png"'


@pytest.mark.parametrize("data", [b"", b"{}", b" {} ", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32")])
def test_an_empty_object(data: bytes) -> None:
    assert parse_json(data) == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not valid JSON .Expecting property name enclosed in double quotes, at character 1"),
        (b'{"a"', "not valid JSON"),
        (b'{"a', "a text in it doesn't end"),
        (b'{"a":"\n"}', "Invalid control character, at character 6"),
        (b'{"a":"\\x"}', "Invalid .escape"),
        (b"{} {}", "Extra data"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"1", "must be a JSON object"),
        (b'"a"', "must be a JSON object"),
        (b"\xff", "not valid"),
        (b'{"a":"\xe4"}', "not valid UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "not valid UTF-8"),
        (b"\xff\xfe\x00", "not valid utf-16"),
        (b"[" * 10**6, "more than 100 lists and objects"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "more than 100 lists and objects"),
        (b'{"a":' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b'{"a":-' + b"9" * 99_999 + b"}", "a number of 100000 digits"),
        (b'{"a":1,"b":2,"a":3}', "^a: sent twice"),
        (b'{"b":{"a":1,"\\u0061":3}}', "^a: sent twice"),
        (b"prompt=a+fox&steps=2", "it looks like a form, which is sent as application/x-www-form-urlencoded"),
        (form(part("a", b"1")), "it looks like a form, which is sent as multipart/form-data"),
    ],
)
def test_json_that_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        parse_json(data)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a \" quote"', 'a " quote'),
        (r'"\\"', "\\"),
        (r'"\\\""', '\\"'),
        (r'"[{,,,,"', "[{,,,,"),
        ('"' + "[" * 2000 + '"', "[" * 2000),
        (r'"\u0000\ud83d\ude00"', "\0😀"),
        (r'"\ud800"', "\ud800"),
        ("1e999999", float("inf")),
        ("-1E-999999", 0.0),
        ("0." + "1" * 500_000, 0.1111111111111111),
        ("[[[]]]", [[[]]]),
        ("null", None),
        ("true", True),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_values_of_json(text: str, value: object) -> None:
    assert parse_json(f'{{"a": {text}}}'.encode()) == {"a": value}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('\\"{}[],: \n\0é😀'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_json_is_read_as_everybody_reads_it(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=True, indent=1)):
        assert parse_json(text.encode()) == value


LARGE: dict[str, tuple[str, Making]] = {
    "JSON": (JSON, lambda: b'{"prompt": "caf\xc3\xa9 \\"\xf0\x9f\x98\x80\\"", "image": "' + BASE64 + b'", "steps": 2}'),
    "PHP's JSON": (JSON, lambda: b'{"image": "' + BASE64.replace(b"/", rb"\/") + b'"}'),
    ".NET's JSON": (JSON, lambda: b'{"image": "' + BASE64.replace(b"+", rb"\u002B") + b'"}'),
    "urlencoded": (URLENCODED, lambda: b"prompt=x&image=" + BASE64.replace(b"+", b"%2B").replace(b"/", b"%2f")),
    "a file": (MULTIPART, lambda: form(part("prompt", b"x"), part("image", PICTURE, FILE))),
    "a file without a name": (MULTIPART, lambda: form(part("image", PICTURE, headers="Content-Type: image/png\r\n"))),
    "a file with a foreign name": (MULTIPART, lambda: form(part("image", PICTURE, "; filename*=utf-8''%e4.png"))),
    "base64 in multipart": (MULTIPART, lambda: form(part("image", BASE64))),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_picture_is_read_however_it_is_sent(case: str) -> None:
    kind, make = LARGE[case]
    assert parse(kind, make(), TEXTS)["image"].encode() == BASE64


def test_several_pictures_in_a_list() -> None:
    texts = [BASE64[: LONG * count].decode() for count in range(1, 17)]
    assert parse_json(json.dumps({"data_urls": texts}).encode()) == {"data_urls": texts}
    with pytest.raises(BadRequest, match="more than 20 texts that are longer"):
        parse_json(json.dumps({"data_urls": ["a" * LONG] * 21}).encode())


def test_pictures_among_the_members_of_an_object() -> None:
    sent = {"version": "x", "input": {"prompt": "a fox", "image": BASE64.decode(), "seed": 7}}
    assert parse_json(json.dumps(sent).encode()) == sent
    with pytest.raises(BadRequest, match=r"^prompt: \d+ bytes were sent"):
        parse_json(json.dumps({"input": {"prompt": "a" * (SMALL + 1)}}).encode())
    with pytest.raises(BadRequest, match="a text in a list or an object, is longer"):
        parse_json(json.dumps({"input": {"input": {"image": BASE64.decode()}}}).encode())


def test_a_file_that_keeps_its_name() -> None:
    named = {"content": "eA==", "content.filename": "fox.png", "metadata": "{}"}
    blob = part("metadata", b"{}", '; filename="blob"', "Content-Type: application/json\r\n")
    assert parse(MULTIPART, form(part("content", b"x", '; filename="fox.png"'), blob)) == named
    assert parse(MULTIPART, form(part("content", b"x", headers="Content-Type: image/png\r\n"))) == {"content": "eA=="}


def test_what_is_ignored_may_be_long_but_not_very_long() -> None:
    """A client that forwards a pose, say, to a model that takes none."""
    pose = "é" * 200_000
    assert parse_json(json.dumps({"pose": pose}, ensure_ascii=False).encode()) == {"pose": pose}
    assert parse(URLENCODED, urlencode({"pose": pose[:80_000]}).encode()) == {"pose": pose[:80_000]}
    masked = {"pose": pose, "more": pose, "most": pose}
    with pytest.raises(BadRequest, match=r"^most: \d+ bytes were sent. The body has more than 1048576 bytes besides"):
        parse_json(json.dumps(masked, ensure_ascii=False).encode())


HOSTILE: dict[str, tuple[str, Making]] = {
    "lists": (JSON, lambda: b'{"a":[' + filled(b"[],") + b"1]}"),
    "opening brackets": (JSON, lambda: filled(b"[")),
    "objects": (JSON, lambda: filled(b'{"a":')),
    "members": (JSON, lambda: b'{"a":[' + b"1," * 1000 + b"1]}"),
    "commas": (JSON, lambda: b'{"a":[' + filled(b"1,")),
    "texts": (JSON, lambda: b"[" + filled(b'"",') + b'""]'),
    "quotes": (JSON, lambda: filled(b'"')),
    "escaped quotes": (JSON, lambda: b'{"image":"' + filled(rb"\"") + b'"}'),
    "escaped quotes after backslashes": (JSON, lambda: b'{"image":"' + filled(rb"\\\"") + b'"}'),
    "no picture": (JSON, lambda: b'{"prompt":"' + filled(b"a") + b'"}'),
    "a long name": (JSON, lambda: b'{"' + filled(b"a") + b'":1}'),
    "a long text further in": (JSON, lambda: b'{"event":{"types":["' + filled(b"a") + b'"]}}'),
    "digits": (JSON, lambda: b'{"a":' + filled(b"9") + b"}"),
    "blanks": (JSON, lambda: filled(b" ")),
    "wide characters": (JSON, lambda: b'{"image":"' + filled("😀".encode()) + b'"}'),
    "a wide escape": (JSON, lambda: b'{"image":"\\ud83d\\ude00' + filled(b"a") + b'"}'),
    "UTF-16": (JSON, lambda: b"\xff\xfe" + filled("[".encode("utf-16-le"))),
    "ampersands": (URLENCODED, lambda: b"a=" + filled(b"&")),
    "fields": (URLENCODED, lambda: filled(b"a=1&")),
    "a field's long name": (URLENCODED, lambda: filled(b"%41")),
    "a long field": (URLENCODED, lambda: b"a=" + filled(b"%41")),
    "stray percents": (URLENCODED, lambda: b"image=" + filled(b"%")),
    "parts": (MULTIPART, lambda: form(filled(part("a", b"")))),
    "boundaries": (MULTIPART, lambda: b"--zzz" + filled(b"\r\n--zzz")),
    "other boundaries": (MULTIPART, lambda: b"--zzz\r\n" + filled(b"\r\n--zzzy")),
    "line ends": (MULTIPART, lambda: b"--zzz" + filled(b"\r\n")),
    "headers": (MULTIPART, lambda: form(filled(part("image", b"", FILE, f"a: {'b' * 7000}\r\n")))),
    "endless headers": (MULTIPART, lambda: b"--zzz\r\n" + filled(b"a: b\r\n")),
    "a preamble": (MULTIPART, lambda: filled(b"a")),
    "a long text": (MULTIPART, lambda: form(part("prompt", filled(b"a")))),
    "many long texts": (MULTIPART, lambda: form(*(part(f"a{number}", b"a" * LONG) for number in range(20)))),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_is_refused_before_anything_is_built_of_it(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four megabytes, no more is made into values than of a small body."""
    built = 0

    def load(text: str, **options: Any) -> Any:
        nonlocal built
        built += len(text)
        return json.JSONDecoder(**options).decode(text)

    monkeypatch.setattr(body.json, "loads", load)
    kind, make = HOSTILE[case]
    with pytest.raises(BadRequest) as refused:
        parse(kind, make(), TEXTS)
    assert built <= SMALL
    assert len(refused.value.message) < 300


def test_so_many_values_are_read() -> None:
    names = [f"a{number}" for number in range(MAX_VALUES - 1)]
    sent = dict.fromkeys(names, "b")
    assert parse_json(json.dumps(sent).encode()) == sent
    assert parse(URLENCODED, urlencode(sent).encode()) == sent
    assert parse(MULTIPART, form(*(part(name, b"b") for name in names))) == sent


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (URLENCODED, b'{"prompt": "x"}', "send content-type: application/json"),
        (URLENCODED, b' [{"prompt": "x=y&z"}]', "send content-type: application/json"),
        (MULTIPART, b'{"prompt": "x"}', "send content-type: application/json"),
        ("multipart/form-data", form(part("a", b"1")), "has no boundary: leave the header to your HTTP client"),
        ("multipart/form-data; boundary=", form(part("a", b"1")), "has no boundary"),
        ("multipart/form-data; boundary=other", form(part("a", b"1")), "no line --other"),
        (MULTIPART, b"", "no line --zzz"),
        (MULTIPART, part("a", b"1"), "its last line, --zzz--, is missing"),
        (MULTIPART, part("a", b"1").removesuffix(b"\r\n"), "its last line, --zzz--, is missing"),
        (MULTIPART, part("a", b"1") + b"--zzz", "breaks off"),
        (MULTIPART, part("a", b"1") + b"--zzz-", "breaks off"),
        (MULTIPART, part("a", b"1") + b"--zzz\r\nContent-Dispo", "breaks off"),
        (MULTIPART, part("a", b"1") + b"--zzz\r\nContent-Disposition: form-data; name=b\r\n", "breaks off"),
        (MULTIPART, form(part("a", b"1")).replace(b"\r\n", b"\n"), "CR LF"),
        (MULTIPART, form(b"--zzz\r\nContent-Disposition: form-data\r\n\r\nx\r\n"), "no name"),
        (MULTIPART, form(b"--zzz\r\n\r\nx\r\n"), "no name"),
        (MULTIPART, form(part("image", b"1", FILE), part("image", b"2", FILE)), "^image: sent twice"),
        (MULTIPART, form(part("seed", b"1"), part("seed", b"1")), "^seed: sent twice"),
        (MULTIPART, form(part("image[]", b"1", FILE), part("image", b"2", FILE)), "^image: sent twice"),
        (MULTIPART, form(part("image", b"1", FILE), part("image[]", b"2", FILE)), "^image: sent twice"),
        (URLENCODED, b"seed=1&prompt=x&seed=2", "^seed: sent twice"),
        (URLENCODED, b"prompt=caf%E9", "^prompt: not valid UTF-8"),
        (URLENCODED, b"prompt=caf\xe9", "^prompt: not valid UTF-8"),
        (URLENCODED, b"caf%E9=1", "a name in it: not valid UTF-8"),
        (MULTIPART, form(part("prompt", b"caf\xe9")), "^prompt: not valid UTF-8"),
        (MULTIPART, form(part("prompt", b"x", headers="Content-Type: text/plain; charset=shift_jis\r\n")), "shift_jis"),
        (MULTIPART, form(part("prompt", b"eA==", headers="Content-Transfer-Encoding: base64\r\n")), "base64 was sent"),
        (MULTIPART, form(part("prompt", b"\x89PNG", FILE)), "^prompt: a file was sent"),
        (MULTIPART, form(part("prompt", b"a" * LONG + b"a", FILE)), "^prompt: a file was sent"),
        (MULTIPART, form(part("image", "data:é".encode() * LONG)), "^image: not valid"),
    ],
)
def test_a_form_that_is_refused(kind: str, data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(kind, data, TEXTS)


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"--zzz--", {}),
        (b"\r\n" + form(part("a", b"1")), {"a": "1"}),
        (b"preamble\r\n" + form(part("a", b"1")) + b"epilogue\r\n--zzz\r\n", {"a": "1"}),
        (form(part("a", b"1")).removesuffix(b"\r\n"), {"a": "1"}),
        (form(part("a", b"1")).replace(b"--zzz\r\n", b"--zzz \t \r\n"), {"a": "1"}),
        (form(part("a", b"\r\n--zz\r\n--\r\nzzz\r\n")), {"a": "\r\n--zz\r\n--\r\nzzz\r\n"}),
        (form(part("a", "é".encode(), headers='Content-Type: text/plain; charset="UTF-8"\r\n')), {"a": "é"}),
        (form(part("a", "é".encode(), headers="Content-Type: text/plain; charset=utf8\r\n")), {"a": "é"}),
        (form(part("a", b"\xe9", headers="Content-Type: text/plain; charset=ISO-8859-1\r\n")), {"a": "é"}),
        (form(part("a", b"1", headers="Content-Transfer-Encoding: 8bit\r\n")), {"a": "1"}),
        (form(b"--zzz\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n"), {"a": "1"}),
        (form(part("ä", b"1")), {"ä": "1"}),
        (form(part("a;b", b"1")), {"a;b": "1"}),
        (form(part("prompt", "ein Füchslein".encode(), FILE)), {"prompt": "ein Füchslein"}),
        (form(part("mask", b"\x89PNG", FILE)), {"mask": "iVBORw=="}),
        (form(part("pose", b"\x89PNG", FILE)), {"pose": "a file of 4 bytes"}),
        (form(part("image", b"", '; filename=""', "Content-Type: application/octet-stream\r\n")), {}),
        (form(part("image", b"x", FILE)), {"image": "eA=="}),
        (form(part("image[]", b"x", FILE)), {"image": ["eA=="]}),
        (
            form(part("image[]", b"x", FILE), part("n", b"1"), part("image[]", b"y", FILE)),
            {"image": ["eA==", "eQ=="], "n": "1"},
        ),
        (form(part("image[]", PICTURE, FILE)), {"image": [BASE64.decode()]}),
        (form(part("a[]", b"1"), part("b[c]", b"2"), part("d[]", b"")), {"a": ["1"], "b[c]": "2"}),
        # The end of the headers is the line end before the boundary (RFC 2046's grammar of a part without a body).
        (b'--zzz\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n--zzz--', {"prompt": ""}),
    ],
)
def test_forms_as_encoders_write_them(data: bytes, sent: dict[str, Any]) -> None:
    assert parse(MULTIPART, data, TEXTS) == sent


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (b"", {}),
        (b"&&=&&", {}),
        (b"a=1&&b=2&", {"a": "1", "b": "2"}),
        (b"a+b=c+d%2Be", {"a b": "c d+e"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"prompt=100% of a fox&a=%zz%4", {"prompt": "100% of a fox", "a": "%zz%4"}),
        (b"prompt=%F0%9F%98%80", {"prompt": "😀"}),
        (b"prompt", {"prompt": ""}),
        (b"base64=&base64=true", {"base64": "true"}),
        (b"a[]=1&a%5B%5D=2&b[]=", {"a": ["1", "2"]}),
    ],
)
def test_urlencoded_forms(data: bytes, sent: dict[str, str]) -> None:
    assert parse(URLENCODED, data, TEXTS) == sent


@pytest.mark.parametrize("safe", ["", "/="])
@pytest.mark.parametrize("shift", range(3))
def test_a_long_field_is_unescaped_like_a_short_one(shift: int, safe: str) -> None:
    """Piece by piece, without tearing an escape."""
    every, times = bytes(range(256)), SMALL // 200
    quoted = quote_from_bytes(every, safe).replace("%20", "+").encode()
    assert forms._unquoted(b"a" * shift + quoted * times) == b"a" * shift + every * times


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/mixed; boundary=zzz", "json", "x" * 999])
def test_other_content_types(kind: str) -> None:
    with pytest.raises(UnsupportedBody) as refused:
        parse(kind, b"{}")
    assert len(refused.value.message) < 200
    for taken in ("application/json", "multipart/form-data", "application/x-www-form-urlencoded"):
        assert taken in refused.value.public()["error_description"]


@pytest.mark.parametrize("kind", ["", JSON, "Application/JSON; charset=utf-8", " application/json ", JSON + ";"])
def test_json_under_its_names(kind: str) -> None:
    assert parse(kind, b'{"a": 1}') == {"a": 1}


@given(st.sampled_from([JSON, URLENCODED, MULTIPART]), st.binary() | st.text('{}[],:"\\abz=&%\r\n-').map(str.encode))
def test_any_bytes_are_read_or_refused(kind: str, data: bytes) -> None:
    for sent in (data, b"--zzz\r\nContent-Disposition: form-data; name=a\r\n" + data):
        try:
            assert isinstance(parse(kind, sent), dict)
        except TintypeError as error:
            assert error.status == 400
            json.dumps(error.public(), ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART, "a file"])
@pytest.mark.parametrize(
    ("spec", "param"),
    [pytest.param(spec, one, id=f"{spec.slug} {one.name}") for spec in MODELS.values() for one in spec.parameters],
)
def test_an_empty_field_is_an_absent_one_unless_it_is_a_text(spec: ModelSpec, param: Param, kind: str) -> None:
    """PHP writes null and false that way, and a browser a file that wasn't chosen."""
    sent = {name: str(value) for name, value in spec.example.items()} | {param.name: ""}
    unchosen = {"a file": {param.name: ('; filename=""', "Content-Type: application/octet-stream\r\n")}}.get(kind, {})
    parts = [part(name, value.encode(), *unchosen.get(name, ())) for name, value in sent.items()]
    of = (URLENCODED, urlencode(sent).encode()) if kind == URLENCODED else (MULTIPART, form(*parts))
    read = parse(*of, spec.texts)
    if param.kind == "string" and not param.choices:
        assert spec.validate(read)[0][param.name] == ""
    elif param.required:
        with pytest.raises(MissingParameter, match=f"^{param.name}: required, but not sent"):
            spec.validate(read)
    else:
        assert spec.validate(read)[0][param.name] == param.default
    if param.name not in spec.texts:
        with pytest.raises(InvalidParameter, match=f"^{param.name}: '' was sent"):
            spec.validate({**spec.example, param.name: ""})


def test_every_parameter_that_holds_a_picture_may_be_long() -> None:
    pictures = {param.name for spec in MODELS.values() for param in spec.parameters if param.kind == "picture"}
    assert pictures <= {*IMAGES}
