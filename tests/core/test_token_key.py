"""The names of keys on tokens (RFC 7512)."""

import pytest

from broker.core.token_key import TokenKey

GOOD = "pkcs11:token=the%20token;object=log?module-path=/usr/lib/a.so&pin-source=file:/etc/pin"


class TestRead:
    def test_it_reads_what_it_names(self):
        """Each part is decoded."""
        assert TokenKey.read(
            "pkcs11:serial=0a1b;token=the%20token;id=%01%ff;object=a%3bb;type=private"
            "?pin-source=file:/etc/pin&module-path=/usr/lib/a.so"
        ) == TokenKey(
            module="/usr/lib/a.so",
            token="the token",
            serial="0a1b",
            label="a;b",
            key_id=b"\x01\xff",
            pin_source="file:/etc/pin",
        )

    @pytest.mark.parametrize(
        ("source", "read"),
        [
            ("file:/etc/pin", "file:/etc/pin"),
            ("/etc/pin", "file:/etc/pin"),
            ("credential:hsm-pin", "credential:hsm-pin"),
        ],
    )
    def test_where_a_pin_is(self, source, read):
        """A PIN is in a file, or a credential of systemd's."""
        assert TokenKey.read(GOOD.replace("file:/etc/pin", source)).pin_source == read

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("pkcs11:", "pkcs12:", "begins with pkcs11:"),
            ("token=the%20token;", "", "must name the token"),
            (";object=log", "", "must name the token"),
            (";object=log", ";object=", "nothing in it"),
            (";object=log", ";object=log;object=log", "twice"),
            (";object=log", ";object=log;slot-id=1", "'slot-id'"),
            (";object=log", ";object=log;type=public", "another type"),
            (";object=log", ";object=%ff", "not UTF-8"),
            (";object=log", ";object=%00", "NUL"),
            (";object=log", ";object=a b", "%XX"),
            (";object=log", ";object=%2", "%XX"),
            ("module-path=/usr/lib/a.so&", "", "module-path"),
            ("/usr/lib/a.so", "a.so", "module-path"),
            ("&pin-source=file:/etc/pin", "", "where the PIN is"),
            ("file:/etc/pin", "file:etc/pin", "where the PIN is"),
            ("file:/etc/pin", "|cat", "where the PIN is"),
            ("file:/etc/pin", "credential:../pin", "where the PIN is"),
            ("pin-source=file:/etc/pin", "pin-value=1234", "holds a PIN"),
            ("&pin-source", "&vendor=1&pin-source", "'vendor'"),
        ],
    )
    def test_what_it_cannot_hold_to(self, old, new, said):
        """One change away from a good one, each is refused, without a word of a PIN."""
        assert old in GOOD
        with pytest.raises(ValueError, match=said) as caught:
            TokenKey.read(GOOD.replace(old, new, 1))
        assert "1234" not in str(caught.value)
