"""The rules on labels that docs/operating.md gives."""

from dataclasses import replace
from pathlib import Path

from broker.adapters.opa_wasm import WasmEngine
from broker.core.decision import Effect
from tests.docs.fences import blocks_of
from tests.policy.samples import AGENT, ask, compiled
from tests.policy.test_laws import decisions

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
ALLOW = 'allow contains {"rule": "support.allow", "message": "m"}'
FINANCE = replace(AGENT, groups=frozenset({"finance"}))
CONFIDENTIAL = frozenset({"confidential"})


class TestRules:
    async def test_they_do_what_the_page_says(self, opa: str, tmp_path: Path) -> None:
        """Reading tickets labels, as does whatever finance calls; after that mail is held."""
        (block,) = (block for block in blocks_of(GUIDE) if block.language == "rego")
        package = f"package teams.support\n\n{block.text}\n{ALLOW}\n"
        bundle = compiled(tmp_path / "policy", opa, {"teams/support/labels.rego": package})
        asked = [
            ask("read_tickets"),
            ask("read_tickets", identity=FINANCE),
            ask("send_mail"),
            ask("send_mail", identity=FINANCE),
            ask("send_mail", seen=CONFIDENTIAL),
            ask("send_mail", seen=frozenset({"untrusted"})),
        ]
        said = await decisions(WasmEngine(bundle, timeout_s=5), asked)
        assert [(one.effect, one.labels) for one in said] == [
            (Effect.ALLOW, ("confidential",)),
            (Effect.ALLOW, ("confidential",)),
            (Effect.ALLOW, ()),
            (Effect.ALLOW, ("confidential",)),
            (Effect.HOLD, ()),
            (Effect.ALLOW, ()),
        ]
