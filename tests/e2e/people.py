"""People besides the development set: who might try to sign off what they may not."""

from broker.init import SPIFFE_PREFIX

_ENTRIES = {
    # A second certificate of the person behind `approver`.
    "approver-again": 'person = "approver-person"\nroles = ["approver"]\ngroups = ["operators"]',
    # The human who answers for `agent` and `agent2`.
    "owner": 'person = "agent-owner"\nroles = ["approver"]\ngroups = ["operators", "security"]',
    # An agent that is an approver too, with a second certificate of the same person.
    "double": 'person = "double-person"\nroles = ["agent", "approver"]\ngroups = ["operators"]',
    "double-again": 'person = "double-person"\nroles = ["approver"]\ngroups = ["security"]',
    # An approver of no group.
    "outsider": 'person = "outsider-person"\nroles = ["approver"]',
    # In the group, without the role.
    "member": 'person = "member-person"\nroles = ["auditor"]\ngroups = ["operators", "security"]',
    # A second person in the group of `approver`.
    "operator": 'person = "operator-person"\nroles = ["approver"]\ngroups = ["operators"]',
}
PAIRS = tuple(_ENTRIES)
IDENTITIES = "\n".join(
    f'[identities."{SPIFFE_PREFIX}{name}"]\n{entry}\n' for name, entry in _ENTRIES.items()
)
