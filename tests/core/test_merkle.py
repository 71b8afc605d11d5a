"""Hold the log's hashing to RFC 6962."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.merkle import EMPTY_ROOT, Frontier, Node, leaf_hash, nodes_of, stored_count
from broker.core.merkle_proof import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
)
from broker.errors import ReceiptInvalid
from tests.core import rfc6962
from tests.core.rfc6962 import entries_of, reader

# Of the tests that came with the first logs of certificates.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
sizes = st.integers(min_value=1, max_value=70)


def frontier(entries: list[bytes]) -> Frontier:
    """Give the right edge of a log of these entries."""
    return Frontier.empty().extended(map(leaf_hash, entries))[0]


def changed(hashes: tuple[bytes, ...], place: int) -> tuple[bytes, ...]:
    """Change one bit of one hash."""
    one = bytes([hashes[place][0] ^ 1]) + hashes[place][1:]
    return (*hashes[:place], one, *hashes[place + 1 :])


class TestRoot:
    @pytest.mark.parametrize("size", range(9))
    def test_known_answer(self, size: int) -> None:
        """The head of each beginning of the well-known eight entries is the published one."""
        assert frontier(ENTRIES[:size]).root.hex() == ROOTS[size]

    @given(sizes)
    def test_reference(self, size: int) -> None:
        """The head is the one that the text of RFC 6962 gives."""
        assert frontier(entries_of(size)).root == rfc6962.mth(entries_of(size))

    @given(sizes, sizes)
    def test_growth_by_parts(self, first: int, second: int) -> None:
        """A log that grew in two batches stores the same nodes as one that grew in one."""
        leaves = [leaf_hash(entry) for entry in entries_of(first + second)]
        begun, stored = Frontier.empty().extended(leaves[:first])
        ended, more = begun.extended(leaves[first:])
        assert (ended, stored + more) == Frontier.empty().extended(leaves)

    @given(sizes)
    def test_read_back(self, size: int) -> None:
        """A frontier that is read from the stored nodes is the one that was left."""
        assert Frontier.read(size, reader(entries_of(size))) == frontier(entries_of(size))

    @given(sizes)
    def test_stored_count(self, size: int) -> None:
        """A log stores as many nodes as it says."""
        _, stored = Frontier.empty().extended(map(leaf_hash, entries_of(size)))
        assert stored_count(size) == len(stored)

    def test_wrong_frontier(self) -> None:
        """A frontier that lacks a hash cannot exist."""
        with pytest.raises(ValueError, match="each bit"):
            Frontier(size=3, hashes=(EMPTY_ROOT,))

    def test_nodes(self) -> None:
        """A range splits into nodes from the largest to the smallest."""
        assert nodes_of(0, 7) == [Node(2, 0), Node(1, 2), Node(0, 6)]


class TestInclusion:
    @given(st.data())
    def test_reference(self, data: st.DataObject) -> None:
        """A proof is the audit path of RFC 6962, and is accepted."""
        size = data.draw(sizes)
        index = data.draw(st.integers(min_value=0, max_value=size - 1))
        entries = entries_of(size)
        proof = inclusion_proof(index, size, reader(entries))
        assert proof == rfc6962.path(index, entries)
        check_inclusion(
            index=index,
            size=size,
            leaf=leaf_hash(entries[index]),
            proof=proof,
            root=rfc6962.mth(entries),
        )

    @given(st.data())
    def test_older_tree(self, data: st.DataObject) -> None:
        """A proof within an earlier tree is made from the later one's nodes."""
        size, more = data.draw(sizes), data.draw(sizes)
        index = data.draw(st.integers(min_value=0, max_value=size - 1))
        later = reader(entries_of(size + more))
        assert inclusion_proof(index, size, later) == rfc6962.path(index, entries_of(size))

    @given(st.data())
    def test_one_bit(self, data: st.DataObject) -> None:
        """A proof with one bit changed is refused."""
        size = data.draw(st.integers(min_value=2, max_value=70))
        index = data.draw(st.integers(min_value=0, max_value=size - 1))
        entries = entries_of(size)
        proof = rfc6962.path(index, entries)
        place = data.draw(st.integers(min_value=0, max_value=len(proof) - 1))
        with pytest.raises(ReceiptInvalid, match="not in the tree"):
            check_inclusion(
                index=index,
                size=size,
                leaf=leaf_hash(entries[index]),
                proof=changed(proof, place),
                root=rfc6962.mth(entries),
            )

    @given(st.data())
    def test_another_index(self, data: st.DataObject) -> None:
        """A proof shows an entry at its own index alone."""
        size = data.draw(st.integers(min_value=2, max_value=70))
        index, other = data.draw(
            st.lists(
                st.integers(min_value=0, max_value=size - 1), min_size=2, max_size=2, unique=True
            )
        )
        entries = entries_of(size)
        with pytest.raises(ReceiptInvalid, match="inclusion"):
            check_inclusion(
                index=other,
                size=size,
                leaf=leaf_hash(entries[index]),
                proof=rfc6962.path(index, entries),
                root=rfc6962.mth(entries),
            )

    @pytest.mark.parametrize(
        ("index", "size", "cut", "message"),
        [
            (5, 5, 3, "none of index 5"),
            (-1, 5, 3, "none of index -1"),
            (2, 5, 2, "fewer"),
            (2, 5, 4, "more"),
            (0, 1, 1, "more"),
        ],
    )
    def test_shape(self, index: int, size: int, cut: int, message: str) -> None:
        """A proof of another length than the tree's depth, or past its end, is refused."""
        entries = entries_of(5)
        proof = (*rfc6962.path(2, entries), EMPTY_ROOT)[:cut]
        with pytest.raises(ReceiptInvalid, match=message):
            check_inclusion(
                index=index, size=size, leaf=leaf_hash(entries[2]), proof=proof, root=EMPTY_ROOT
            )

    @pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
    def test_nothing_to_prove(self, index: int, size: int) -> None:
        """There is no proof of an entry that is not there."""
        with pytest.raises(ValueError, match="has none of index"):
            inclusion_proof(index, size, reader(entries_of(3)))


class TestConsistency:
    @given(st.data())
    def test_reference(self, data: st.DataObject) -> None:
        """A proof is that of RFC 6962, and is accepted."""
        second = data.draw(sizes)
        first = data.draw(st.integers(min_value=1, max_value=second))
        entries = entries_of(second)
        proof = consistency_proof(first, second, reader(entries))
        assert proof == rfc6962.proof(first, entries)
        check_consistency(
            first=first,
            first_root=rfc6962.mth(entries[:first]),
            second=second,
            second_root=rfc6962.mth(entries),
            proof=proof,
        )

    @given(st.data())
    def test_rewritten(self, data: st.DataObject) -> None:
        """A log that changed one of its first entries cannot show that it only grew."""
        second = data.draw(st.integers(min_value=2, max_value=70))
        first = data.draw(st.integers(min_value=1, max_value=second - 1))
        place = data.draw(st.integers(min_value=0, max_value=first - 1))
        entries = entries_of(second)
        other = [*entries[:place], b"another", *entries[place + 1 :]]
        with pytest.raises(ReceiptInvalid, match="is not"):
            check_consistency(
                first=first,
                first_root=rfc6962.mth(entries[:first]),
                second=second,
                second_root=rfc6962.mth(other),
                proof=rfc6962.proof(first, other),
            )

    @given(st.data())
    def test_one_bit(self, data: st.DataObject) -> None:
        """A proof with one bit changed is refused."""
        second = data.draw(st.integers(min_value=2, max_value=70))
        first = data.draw(st.integers(min_value=1, max_value=second - 1))
        entries = entries_of(second)
        proof = rfc6962.proof(first, entries)
        place = data.draw(st.integers(min_value=0, max_value=len(proof) - 1))
        with pytest.raises(ReceiptInvalid, match="is not"):
            check_consistency(
                first=first,
                first_root=rfc6962.mth(entries[:first]),
                second=second,
                second_root=rfc6962.mth(entries),
                proof=changed(proof, place),
            )

    @pytest.mark.parametrize(
        ("first", "second", "cut", "message"),
        [
            (3, 7, 0, "empty"),
            (3, 7, 3, "fewer"),
            (3, 7, 5, "more"),
            (7, 3, 0, "cannot begin"),
            (-1, 3, 0, "cannot begin"),
            (0, 3, 1, "none are needed"),
            (3, 3, 1, "none are needed"),
        ],
    )
    def test_shape(self, first: int, second: int, cut: int, message: str) -> None:
        """A proof of another length than these sizes need is refused."""
        entries = entries_of(7)
        proof = (*rfc6962.proof(3, entries), EMPTY_ROOT)[:cut]
        with pytest.raises(ReceiptInvalid, match=message):
            check_consistency(
                first=first,
                first_root=rfc6962.mth(entries[:3]),
                second=second,
                second_root=rfc6962.mth(entries),
                proof=proof,
            )

    def test_same_size(self) -> None:
        """Two heads of one size are the same, or the log is forked."""
        one, other = (rfc6962.mth([entry]) for entry in (b"a", b"b"))
        check_consistency(first=1, first_root=one, second=1, second_root=one, proof=())
        with pytest.raises(ReceiptInvalid, match="of this size differ"):
            check_consistency(first=1, first_root=one, second=1, second_root=other, proof=())

    def test_empty_beginning(self) -> None:
        """Every log began empty, and only with the head of an empty log."""
        root = rfc6962.mth(entries_of(3))
        check_consistency(first=0, first_root=EMPTY_ROOT, second=3, second_root=root, proof=())
        with pytest.raises(ReceiptInvalid, match="of this size differ"):
            check_consistency(first=0, first_root=root, second=3, second_root=root, proof=())

    @pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3)])
    def test_nothing_to_prove(self, first: int, second: int) -> None:
        """There is no proof between sizes that cannot follow each other."""
        with pytest.raises(ValueError, match="nothing proves"):
            consistency_proof(first, second, reader(entries_of(3)))


@given(st.integers(min_value=0, max_value=2**40), st.integers(min_value=1, max_value=2**20))
def test_few_reads(index: int, more: int) -> None:
    """A proof reads no more nodes than twice the tree's levels, however large the tree."""
    size = index + more
    asked: list[Node] = []

    def read(nodes: list[Node]) -> list[bytes]:
        asked.extend(nodes)
        return [EMPTY_ROOT] * len(nodes)

    inclusion_proof(index, size, read)
    assert len(asked) <= 2 * size.bit_length()
