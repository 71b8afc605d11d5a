"""Serve `bench.peer`: run the program by `llm-sandbox`, in an environment that is its own.

Reads one word a line, `fresh` or `again`; answers with what the program printed, as JSON. Started
as `peer_session.py URL IMAGE CODE HARDENING`, the last as JSON.
"""

import json
import sys

import docker
from llm_sandbox import SandboxSession


def main(url: str, image: str, code: str, hardening: str) -> None:
    """Answer until standard input ends."""
    client = docker.DockerClient(url)

    def session() -> SandboxSession:
        return SandboxSession(
            client=client,
            image=image,
            lang="python",
            # It would install packages from an index otherwise.
            skip_environment_setup=True,
            runtime_configs=json.loads(hardening),
        )

    kept = session()
    kept.open()
    try:
        for line in sys.stdin:
            if line.strip() == "again":
                printed = kept.run(code).stdout
            else:
                with session() as fresh:
                    printed = fresh.run(code).stdout
            print(json.dumps(printed), flush=True)
    finally:
        kept.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
