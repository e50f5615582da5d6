// A js-libp2p node that is no member: it pings an agent, listens to its topic, and tries to get at
// the deltas. Prints one JSON object. Usage: stranger.mjs ADDRESS TOPIC SECONDS PROTOCOL...
import { createPublicKey, verify } from 'node:crypto'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { multiaddr } from '@multiformats/multiaddr'

const [address, topic, seconds, ...protocols] = process.argv.slice(2)
const LABEL = Buffer.from('gossamer/v1/envelope-sig\0')
const ED25519_DER = Buffer.from('302a300506032b6570032100', 'hex')
const AUTHOR_AT = 46

// An announce frame of docs/spec/wire.md: [16, header, ciphertext hash, signature].
function parseAnnouncement (frame) {
  const fields = []
  let at = 2
  while (at < frame.length) {
    if (frame[at] !== 0xc4) return null
    const length = frame[at + 1]
    fields.push(frame.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  return frame[0] === 0x94 && frame[1] === 16 && fields.length === 3 ? fields : null
}

function isSigned ([header, hash, signature]) {
  const author = header.subarray(AUTHOR_AT, AUTHOR_AT + 32)
  const key = createPublicKey({ key: Buffer.concat([ED25519_DER, author]), format: 'der', type: 'spki' })
  return verify(null, Buffer.concat([LABEL, header, hash]), key, signature)
}

const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping(), pubsub: gossipsub() }
})
const seen = { frames: 0, announcements: 0, signed: 0 }
node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.topic !== topic) return
  seen.frames += 1
  const fields = parseAnnouncement(Buffer.from(detail.data))
  if (fields === null) return
  seen.announcements += 1
  if (isSigned(fields)) seen.signed += 1
})
node.services.pubsub.subscribe(topic)

const target = multiaddr(address)
const pingMs = await node.services.ping.ping(target)

// What the stream answers to a request for whatever it has: nothing, if the agent refuses.
async function ask (protocol) {
  try {
    const stream = await node.dialProtocol(target, protocol, { signal: AbortSignal.timeout(5000) })
    stream.send(new Uint8Array([0, 0, 0, 2, 0x92, 3, 0]))
    let bytes = 0
    const reading = (async () => { for await (const chunk of stream) bytes += chunk.byteLength })()
    await Promise.race([reading, new Promise(resolve => setTimeout(resolve, 3000))])
    return { opened: true, bytes, status: stream.status }
  } catch (error) {
    return { opened: false, bytes: 0, error: String(error.name) }
  }
}
const streams = {}
for (const protocol of protocols) streams[protocol] = await ask(protocol)

const until = Date.now() + 1000 * Number(seconds)
while (Date.now() < until && seen.signed < 3) await new Promise(resolve => setTimeout(resolve, 200))
console.log(JSON.stringify({ peer: node.peerId.toString(), pingMs, ...seen, streams }))
await node.stop()
process.exit(0)
