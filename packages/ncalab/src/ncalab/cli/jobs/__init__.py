"""The work of the commands; the parts of the library are imported here."""
