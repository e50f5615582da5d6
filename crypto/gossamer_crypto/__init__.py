"""Identities, envelopes and feeds: the bytes that peers may believe.

This package knows no network, no disk, no clock and no model. It turns a private key, an epoch
secret and a plaintext into a signed envelope and back, and says whether the envelopes of one author
form one unbroken chain. All primitives (Ed25519, ChaCha20-Poly1305, HKDF) are OpenSSL's, through
`cryptography`; what is here is only how they are put together (docs/spec/envelope.md, feed.md).

The roster says who is a member and hands the epoch secret to members alone (roster.md); invites and
join messages lead into it (invite.md). One module touches the disk: `keyfile` keeps the device's
own keys. Nothing here decides who is banned or what a delta means, and nothing can wipe secrets
from memory. Whatever a peer sent is refused with a `PeerError`, which carries one `Reason`; a
`ValueError` or `GossamerError` is always our own or the user's mistake.

Modules, lowest first: `errors`, `labels`, `identity`, `prekey`, `wrap`, `epoch`, `genesis`,
`envelope`, `feed`, `roster_entry`, `roster`, `epoch_ring`, `invite`, `join`, `keyfile`.
"""
