"""The local API: other programs on a device ask its agent and feed it, over HTTP.

`listening` opens the socket, `server` serves, `guard` says who may ask and how much, `app` has the
routes, `bodies` the messages, `backend` what the routes ask of an agent, `serving` answers that for
a running one.
"""
