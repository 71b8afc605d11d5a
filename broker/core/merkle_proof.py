"""Prove what a log holds (RFC 6962 §2.1.1, §2.1.2).

Verification is by the algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2, not by undoing our own
generation: the two have no line in common but the hash.
"""

from collections.abc import Sequence

from broker.core.merkle import EMPTY_ROOT, Node, ReadNodes, fold, node_hash, nodes_of
from broker.errors import ReceiptInvalid

_INCLUSION = "inclusion"
_CONSISTENCY = "consistency"


def inclusion_proof(index: int, size: int, read: ReadNodes) -> tuple[bytes, ...]:
    """Prove that the entry of this index is in the tree of this size, leaf's sibling first.

    Raises:
        ValueError: There is no such entry in it.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} entries has none of index {index}")
    ranges = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _read_ranges(ranges[::-1], read)


def consistency_proof(first: int, second: int, read: ReadNodes) -> tuple[bytes, ...]:
    """Prove that the tree of the first size is how that of the second began.

    Raises:
        ValueError: The first is empty, or larger than the second.
    """
    if not 1 <= first <= second:
        raise ValueError(f"nothing proves that {first} entries are the beginning of {second}")
    if first == second:
        return ()
    ranges = []
    start, end = 0, second
    # Down to the subtree that ends where the first tree ends.
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:
        ranges.append((start, end))
    return _read_ranges(ranges[::-1], read)


def check_inclusion(
    *, index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf is in a tree at its index.

    Raises:
        ReceiptInvalid: The proof does not show it; step `inclusion`.
    """
    if not 0 <= index < size:
        raise ReceiptInvalid(_INCLUSION, f"the tree has {size} entries, none of index {index}")
    path, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ReceiptInvalid(_INCLUSION, "the proof has more hashes than the tree has levels")
        if path & 1 or path == last:
            found = node_hash(sibling, found)
            while path and not path & 1:
                path, last = path >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        path, last = path >> 1, last >> 1
    if last:
        raise ReceiptInvalid(_INCLUSION, "the proof has fewer hashes than the tree has levels")
    if found != root:
        raise ReceiptInvalid(_INCLUSION, "the entry is not in the tree, or not at this index")


def check_consistency(
    *, first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that one tree is the beginning of another.

    The empty tree is the beginning of every tree; that needs no proof, and takes none.

    Raises:
        ReceiptInvalid: The proof does not show it; step `consistency`.
    """
    if not 0 <= first <= second:
        raise ReceiptInvalid(
            _CONSISTENCY, f"a tree of {first} entries cannot begin one of {second}"
        )
    if first in (0, second):
        if proof:
            raise ReceiptInvalid(_CONSISTENCY, "there are hashes where none are needed")
        if first_root != (second_root if first == second else EMPTY_ROOT):
            raise ReceiptInvalid(_CONSISTENCY, "the trees of this size differ")
        return
    _check_growth(first, first_root, second, second_root, proof)


def _check_growth(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    # A first tree that is one node is not repeated in its proof.
    hashes = [first_root, *proof] if first.bit_count() == 1 else [*proof]
    if not proof:
        raise ReceiptInvalid(_CONSISTENCY, "the proof is empty")
    path, last = first - 1, second - 1
    while path & 1:
        path, last = path >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ReceiptInvalid(_CONSISTENCY, "the proof has more hashes than the tree has levels")
        if path & 1 or path == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while path and not path & 1:
                path, last = path >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        path, last = path >> 1, last >> 1
    if last:
        raise ReceiptInvalid(_CONSISTENCY, "the proof has fewer hashes than the tree has levels")
    if old != first_root:
        raise ReceiptInvalid(_CONSISTENCY, "the first tree is not how the second began")
    if new != second_root:
        raise ReceiptInvalid(_CONSISTENCY, "the second tree is not one that grew from the first")


def _split(count: int) -> int:
    """Give the largest power of two below `count`, where RFC 6962 splits a range."""
    return 1 << ((count - 1).bit_length() - 1)


def _read_ranges(ranges: Sequence[tuple[int, int]], read: ReadNodes) -> tuple[bytes, ...]:
    """Fold each range into its hash; everything is read at once."""
    split = [nodes_of(start, end) for start, end in ranges]
    wanted: list[Node] = [node for nodes in split for node in nodes]
    hashes = iter(read(wanted))
    return tuple(fold([next(hashes) for _ in nodes]) for nodes in split)
