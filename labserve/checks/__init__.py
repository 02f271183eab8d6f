"""The checks, one module a chapter; see `labserve.checking` for how they are written and run."""
