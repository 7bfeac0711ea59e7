"""Tools that do not depend on any other room of the library."""
