"""The store's format, implemented a second time from docs/format.md alone.

Nothing here knows the Rust code: two implementations that agree to the byte are evidence that the document says
enough. `merkle`, `note`, `segment` and `spool` are the parts, `audit` reads a whole store and checks it, `writer`
builds one from records, `forgery` rebuilds one after an attacker's edit with everything but the key.
"""
