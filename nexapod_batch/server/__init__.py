"""The coordinator over HTTPS: what people, and nodes of other people, can ask of it. It makes no rule about jobs.

How an endpoint is added:

1. Write a handler in a module of `endpoints/`: `async def name(call: Call) -> Struct | list | Response`. `call.body` is
   what came, decoded as the route says; `call.path["job"]` is a part of the path, `call.caller` who asks.
   What the database is asked runs in a thread: `await call.service.read(lambda c: ...)`; what changes it goes through
   a use case of the coordinator: `await call.service.write(lambda c: ...)`, one at a time, and then
   `call.service.passes.wake()` where a pass should look at it.
2. Put a `Route` into the tuple `ROUTES` of that module: method, path, who may call it (`Access`), the handler, the
   structs that come in and go out, how large a body may be. A new module is named in `routes.py`.
   OpenAPI, the check of bodies, 405 with `Allow`, and the sign-in follow from the table.
3. Refuse with `RequestError(Kind..., ...)`, or let any NexapodError of a use case pass: both become problems of
   RFC 9457 with `got`, `wanted` and `hint`.

A handler that waits (a long poll) waits for `call.gone()` as well: who has left must not be counted as waiting.
Who signs in otherwise than with a bearer token gets an entry in `sign_in.BY_ACCESS`, which sees headers and body.
"""
