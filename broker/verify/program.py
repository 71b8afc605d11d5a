"""Start the verifier by itself: `toolwarrant-verify`.

It needs what the extra `verify` names, and nothing else of the broker's: no gRPC, no Docker, no
policy engine. The options and exit codes are those of `toolwarrant receipts verify`.
"""

import argparse
import sys
from collections.abc import Sequence

from broker.verify.command import run

_ENDS = (
    "Exit codes: 0 valid; 1 invalid; 2 not verified: wrong usage, or a file or log that cannot be "
    "read; 3 indeterminate."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Verify the receipt that the command line names; leave with its exit code."""
    given = _parser().parse_args(arguments)
    sys.exit(
        run(
            file=given.file,
            trust_root=given.trust_root,
            proof=given.proof,
            request=given.request,
            result=given.result,
            witness_quorum=given.witness_quorum,
            log=given.log,
            proof_out=given.proof_out,
            output=given.output,
        )
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="toolwarrant-verify",
        description="Verify a receipt offline; no broker is asked.",
        epilog=_ENDS,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the receipt; - reads standard input")
    parser.add_argument(
        "--trust-root",
        metavar="ROOT",
        required=True,
        help="trust-root.json, got by another way than from the broker",
    )
    parser.add_argument("--proof", metavar="P", help="proof that it is in the log")
    parser.add_argument(
        "--log",
        metavar="L",
        help="the log's files, a folder or https://...: the proof is made from them",
    )
    parser.add_argument("--proof-out", metavar="P", help="with --log: write that proof to a file")
    parser.add_argument("--request", metavar="F", help="the request document that it names")
    parser.add_argument("--result", metavar="F", help="the result document that it names")
    parser.add_argument(
        "--witness-quorum", metavar="N", type=int, help="how many witnesses must have signed"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="for people or programs"
    )
    return parser


if __name__ == "__main__":
    main()
