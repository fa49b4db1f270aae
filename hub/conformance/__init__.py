"""What is promised on the wire, and whether it is kept."""
