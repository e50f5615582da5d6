"""What travels between peers, and how: frames, the delta codec, replicas, the view, the network.

`wire` packs and unpacks frames, `codec`, `delta` and `replica` turn parameters into few bytes and
back, `view` chooses whom to follow, `network` is the protocol that every transport implements and
`memory` is the one for tests; `testing` holds the conformance suite for further ones.

It is not a security layer: it never encrypts, signs or judges a signature (`gossamer_crypto` does),
and it holds no opinion about a peer (the agent's reputation table does). A frame that it accepts
has the right shape, nothing more.
"""
