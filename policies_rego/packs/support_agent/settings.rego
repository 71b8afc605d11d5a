# What this team decides about its support agents; change it in your copy.
package packs.support_agent

# Agents of this group are bound by the package; [identities] of the configuration puts them into it.
group := "support"

open_tools := {"http_fetch", "pdf_text", "text_search", "workspace_list", "workspace_read", "workspace_write"}

# What it may read: our own pages for customers.
domains := {"help.example.org"}

# Where it reads what customers wrote, and answers them.
desk := "desk.example.org:443"

# No host of a listed name is asked for by its address; these are ours alone.
inner_networks := {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}

drafts := {"drafts"}

longest_answer := 10000

ceilings := {"timeout_s": 60, "memory_bytes": 268435456}
