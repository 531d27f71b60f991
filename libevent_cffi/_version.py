"""The package's version, alone, so that the build can read it without importing the rest."""

VERSION = "0.1.0"
