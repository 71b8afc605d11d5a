"""PDF files written by hand: small, odd, broken, hostile."""

import zlib
from collections.abc import Sequence

_CMAP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap
/CMapName /Odd def /CMapType 2 def
1 begincodespacerange <00> <ff> endcodespacerange
%d beginbfchar
%b
endbfchar
endcmap CMapName currentdict /CMap defineresource pop end end"""


def shows(text: str, *, at: int = 700) -> bytes:
    """Give a page's content that shows a line of ASCII text."""
    return b"BT /F1 12 Tf 72 %d Td (%b) Tj ET" % (at, text.encode("ascii"))


def stream(data: bytes, extra: bytes = b"") -> bytes:
    """Give a stream object."""
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), extra, data)


def deflated(data: bytes) -> bytes:
    """Give a compressed stream object."""
    return stream(zlib.compress(data, 9), b"/Filter /FlateDecode")


def pdf(
    *contents: bytes,
    means: dict[bytes, str] | None = None,
    count: int | None = None,
    encrypt: bytes = b"",
    title: str = "",
    side: int = 792,
) -> bytes:
    """Write a PDF with a page for each content.

    Args:
        contents: What the pages draw: operators, or whole stream objects.
        means: What characters of the font stand for, where it is not themselves.
        count: How many pages the file claims; by default as many as it has.
        encrypt: An encryption dictionary.
        title: What the file says that its title is.
        side: Width and height of the pages, in points.
    """
    streams = [each if each.startswith(b"<<") else stream(each) for each in contents]
    kids = b" ".join(b"%d 0 R" % (5 + 2 * index) for index in range(len(streams)))
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 4 0 R >>"
    rows = [
        b"<%02x> <%b>" % (code[0], text.encode("utf-16-be").hex().encode())
        for code, text in (means or {b"\x01": "\x01"}).items()
    ]
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>"
        % (kids, len(streams) if count is None else count),
        font if means else font.replace(b" /ToUnicode 4 0 R", b""),
        stream(_CMAP % (len(rows), b"\n".join(rows))),
    ]
    for index, each in enumerate(streams):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (side, side, 6 + 2 * index),
            each,
        ]
    trailer = b""
    if encrypt:
        objects.append(encrypt)
        trailer += b"/Encrypt %d 0 R /ID [<00> <00>] " % len(objects)
    if title:
        objects.append(b"<< /Title <%b> >>" % title.encode().hex().encode())
        trailer += b"/Info %d 0 R " % len(objects)
    return _file(objects, trailer)


def encrypted() -> bytes:
    """Write a PDF that opens with no password that anybody knows: its check value is arbitrary."""
    key = b"<" + b"5a" * 32 + b">"
    dictionary = b"<< /Filter /Standard /V 1 /R 2 /O %b /U %b /P -4 >>" % (key, key)
    return pdf(shows("secret"), encrypt=dictionary)


def _file(objects: Sequence[bytes], trailer: bytes) -> bytes:
    written = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    written += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    written += b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(objects) + 1, trailer)
    written += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(written)
