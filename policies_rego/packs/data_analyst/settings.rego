# What this team decides about its data analysts; change it in your copy.
package packs.data_analyst

# Agents of this group are bound by the package; [identities] of the configuration puts them into it.
group := "analysts"

open_tools := {"python_run", "sql_query", "workspace_list", "workspace_read", "workspace_write"}

# The database behind sql_reading_dsn.
database := "db.example.org:5432"

# As statements name them; a name with a schema is another name.
tables := {"customers", "invoices", "items", "orders"}

# Of these, the ones that tell of persons: someone of `privacy` agrees, and what was seen stays inside.
personal_tables := {"customers"}

# UTC, in minutes of the day: 06:00 to 20:00.
opens := 360

closes := 1200

ceilings := {"timeout_s": 120, "memory_bytes": 1073741824}
