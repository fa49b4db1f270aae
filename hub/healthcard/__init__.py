"""The e-health card: issue, bind, suspend, verify."""
