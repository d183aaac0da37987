"""What the commands do; the parts of the library are imported here."""
