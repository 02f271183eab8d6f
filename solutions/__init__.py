"""The reference service: one module a chapter, put together by `solutions.app`."""
