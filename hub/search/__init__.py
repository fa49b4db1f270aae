"""Query string to expression, resource to index entries. Pure: knows no database."""
