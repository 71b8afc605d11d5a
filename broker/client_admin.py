"""Steer a broker from Python."""

from datetime import UTC, datetime

from broker.client_connection import Connection, listed
from broker.v1 import admin_pb2, policy_pb2


class AdminClient(Connection):
    """What administrators ask of a broker, with what the security team asks of its policy."""

    def policy(self) -> policy_pb2.GetPolicyResponse:
        """Show the active policy with its rules."""
        return self._attempts.repeated(self._policy.GetPolicy, policy_pb2.GetPolicyRequest())

    def activate(self, bundle: bytes) -> policy_pb2.ActivateBundleResponse:
        """Let a policy bundle decide from now on; for the security team.

        The same bundle again changes nothing, so it is safe to send this once more.

        Args:
            bundle: As `toolwarrant policy build --sign` writes it.

        Raises:
            ClientError: It was refused, and what was active still is; the reason begins with BUNDLE
                where the bundle itself is why.
        """
        request = policy_pb2.ActivateBundleRequest(bundle=bundle)
        return self._attempts.repeated(self._policy.ActivateBundle, request)

    def explain(self, call: str) -> policy_pb2.ExplainCallResponse:
        """Say which rules decided a call; for auditors and the security team."""
        return self._attempts.repeated(
            self._policy.ExplainCall, policy_pb2.ExplainCallRequest(call=call)
        )

    def server_info(self) -> admin_pb2.GetServerInfoResponse:
        """Ask what this broker is."""
        return self._attempts.repeated(self._admin.GetServerInfo, admin_pb2.GetServerInfoRequest())

    def halt(
        self,
        reason: str,
        *,
        everything: bool = False,
        agent: str = "",
        session: str = "",
        tool: str = "",
    ) -> admin_pb2.HaltResponse:
        """Stop calls now: kill what runs in a scope, let nothing in it begin.

        Name exactly one of `everything`, `agent` and `tool`. The same scope again is the same halt,
        so it is safe to send this once more.

        Args:
            reason: Why; kept with the record.
            session: With `agent`: only this session of it.

        Raises:
            ClientError: With the reason HALT_NOT_DURABLE it counts, but a restart would forget it.
        """
        scope = admin_pb2.HaltScope(all=everything, agent=agent, session_id=session, tool=tool)
        request = admin_pb2.HaltRequest(scope=scope, reason=reason)
        return self._attempts.once(self._admin.Halt, request)

    def resume(self, halt: str = "", *, everything: bool = False) -> list[admin_pb2.Halt]:
        """Lift a halt by its name, or all that are active; return what was lifted."""
        request = admin_pb2.ResumeRequest(halt=halt, all=everything)
        return list(self._attempts.once(self._admin.Resume, request).halts)

    def go_on_at(self, clock_now: datetime) -> datetime:
        """Name the time to go on from, for a broker that does not believe its machine's clock.

        Args:
            clock_now: Aware.

        Returns:
            What the broker's time was.
        """
        request = admin_pb2.ResumeRequest()
        request.clock_now.FromDatetime(clock_now)
        answer = self._attempts.once(self._admin.Resume, request)
        return answer.clock_was.ToDatetime(tzinfo=UTC)

    def halts(self, filter: str = "") -> list[admin_pb2.Halt]:  # noqa: A002
        """List active halts, oldest first."""

        def page(size: int, token: str) -> tuple[list[admin_pb2.Halt], str]:
            request = admin_pb2.ListHaltsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._admin.ListHalts, request)
            return list(answer.halts), answer.next_page_token

        return list(listed(page, None))

    def drain(self) -> int:
        """Let the broker take no new calls from now on; return how many are running."""
        return self._attempts.once(self._admin.Drain, admin_pb2.DrainRequest()).running
