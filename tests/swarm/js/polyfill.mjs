// Node 20 lacks Promise.withResolvers, which js-libp2p uses. Loaded by `node --import`.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
