# METADATA
# title: Under which conditions calls run; entries for the sets `limit` and `redact`
package library.obligations

# METADATA
# title: A limit for each name
# description: |
#   Of an object such as `{"timeout_s": 30, "memory_bytes": 268435456}`.
limits(ceilings) := {{"name": name, "value": value} | some name, value in ceilings}

# METADATA
# title: Mask these arguments in what is logged and exported
# custom:
#   controls: [ISO 27001 A.8.11]
masked_arguments(names) := {concat("/", ["/arguments", escaped(name)]) | some name in names}

# As JSON Pointer has it (RFC 6901).
escaped(name) := replace(replace(name, "~", "~0"), "/", "~1")
