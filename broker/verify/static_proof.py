"""Make proofs from a log's files alone, as any reader of C2SP tlog-tiles can."""

from collections.abc import Sequence

from broker.core.canonical import JsonObject
from broker.core.checkpoint import read_checkpoint, read_number
from broker.core.dsse import read_envelope
from broker.core.log_proof import LogProof, write_log_proof
from broker.core.merkle import Node, node_hash
from broker.core.merkle_proof import inclusion_proof
from broker.core.signed_note import read_note
from broker.core.strict_json import parse_object
from broker.core.tiles import HEIGHT, WIDTH
from broker.errors import InvalidArgument, ReceiptInvalid
from broker.verify.log_folder import LogFolder
from broker.verify.receipt import receipt_index

_STEP = "log"


def prove_receipt(receipt: bytes, log: LogFolder) -> bytes:
    """Write the proof (c2sp.org/tlog-proof@v1) of a receipt at the place that it names.

    Nothing is verified: that is for whoever is given the proof, as with a broker's.

    Args:
        receipt: The exact envelope.

    Raises:
        ReceiptInvalid: It names no place, the log's checkpoint covers none such, or tiles are
            missing or of another length; step `log`, `tiles` or that of what cannot be read.
        OSError: The checkpoint cannot be read.
    """
    return prove(_index_of(receipt), log)


def prove(index: int, log: LogFolder) -> bytes:
    """Write the proof of the entry of an index; as `prove_receipt`.

    Reads one tile for each eighth level of the tree, and for its right edge.
    """
    # One checkpoint for all of it: a live log's next one may stand there at any time.
    checkpoint = log.checkpoint()
    size = read_checkpoint(read_note(checkpoint).text).size
    if index >= size:
        raise ReceiptInvalid(
            _STEP, f"the log's checkpoint covers {size} entries, none of index {index}: get a later"
        )
    hashes = inclusion_proof(index, size, _Reader(log, size).read)
    return write_log_proof(LogProof(index=index, hashes=hashes, checkpoint=checkpoint))


class _Reader:
    """Give the nodes of a tree of one size from its tiles, each read once."""

    def __init__(self, log: LogFolder, size: int) -> None:
        self._log = log
        self._size = size
        self._tiles: dict[tuple[int, int], Sequence[bytes]] = {}

    def read(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._node(node) for node in nodes]

    def _node(self, node: Node) -> bytes:
        """Fold a node from the hashes of the tile that it stands in."""
        level, height = divmod(node.level, HEIGHT)
        first = node.number << height
        tile = self._tile(level, first // WIDTH)
        at = first % WIDTH
        hashes = list(tile[at : at + (1 << height)])
        while len(hashes) > 1:
            hashes = [node_hash(*hashes[place : place + 2]) for place in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, index: int) -> Sequence[bytes]:
        if (level, index) not in self._tiles:
            width = min(WIDTH, (self._size >> (HEIGHT * level)) - index * WIDTH)
            self._tiles[level, index] = self._log.tile(level, index, width)
        return self._tiles[level, index]


def _index_of(receipt: bytes) -> int:
    try:
        statement = parse_object(read_envelope(receipt).payload, field="receipt").value
        identity = _object(_object(statement["predicate"])["identity"])
        # Its shape was not checked yet: Python reads numbers of many other forms.
        said = str(identity["index" if "index" in identity else "sequence"])
        read_number(said, step=_STEP, what="the receipt's place in a log")
        place = receipt_index(identity)
        if place < 0:
            raise ValueError("sequences count from 1")
        return place
    except (InvalidArgument, KeyError, TypeError, ValueError) as error:
        raise ReceiptInvalid(_STEP, "the receipt names no place in a log") from error


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError
    return value
