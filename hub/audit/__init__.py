"""AuditEvent for every door."""
