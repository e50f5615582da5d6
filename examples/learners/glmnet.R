# A learner for Gossamer in R: multinomial logistic regression by glmnet.
#
#     gossamer init garden --swarm greenhouse --data mine.npz \
#         --model "process:Rscript glmnet.R --inputs 64 --classes 10"
#
# Needs R and glmnet (Debian: apt install r-base-core r-cran-glmnet). The protocol is
# docs/spec/process-learner.md; the part of msgpack that it needs is written out below, because
# no msgpack package for R comes with Debian. The parameters are one row for each class: the
# intercept, then one coefficient for each input, as in logit.py.
#
# glmnet does not start from given coefficients. It takes them as an offset, and what it fits is
# the difference: it minimises loss(params + d) + lambda/2 |d|^2, which is FedProx solved exactly.
# The labels are blended with what the parameters predict, so that a device without samples of a
# class does not unlearn that class: the coefficients of what it never saw move little.

suppressPackageStartupMessages(library(glmnet))

# --- msgpack: arrays of numbers, texts and bins ------------------------------------------------

big <- function(value, size) as.raw((value %/% 256^((size - 1):0)) %% 256)
number <- function(bytes) sum(as.numeric(as.integer(bytes)) * 256^((length(bytes) - 1):0))

pack_one <- function(value) {
  if (is.raw(value)) return(c(as.raw(0xc6), big(length(value), 4), value))
  if (is.character(value)) {
    text <- charToRaw(enc2utf8(value))
    return(c(as.raw(0xda), big(length(text), 2), text))
  }
  if (is.integer(value)) return(c(as.raw(0xce), big(value, 4)))
  c(as.raw(0xcb), writeBin(as.numeric(value), raw(), size = 8, endian = "big"))
}

pack <- function(fields) {
  c(as.raw(0xdc), big(length(fields), 2), unlist(lapply(fields, pack_one)))
}

unpack <- function(frame) {
  at <- 1
  take <- function(count) {
    if (at + count - 1 > length(frame)) stop("the frame is cut off")
    part <- if (count > 0) frame[at:(at + count - 1)] else raw(0)
    at <<- at + count
    part
  }
  count <- number(take(1))
  count <- if (count == 0xdc) number(take(2)) else count - 0x90
  one <- function() {
    tag <- number(take(1))
    if (tag < 0x80) return(tag)
    if (tag >= 0xa0 && tag < 0xc0) return(rawToChar(take(tag - 0xa0)))
    if (tag >= 0xc4 && tag <= 0xc6) return(take(number(take(2^(tag - 0xc4)))))
    if (tag >= 0xcc && tag <= 0xcf) return(number(take(2^(tag - 0xcc))))
    if (tag == 0xca) return(readBin(take(4), "numeric", size = 4, endian = "big"))
    if (tag == 0xcb) return(readBin(take(8), "numeric", size = 8, endian = "big"))
    if (tag == 0xd9) return(rawToChar(take(number(take(1)))))
    stop(sprintf("msgpack tag 0x%02x is not used here", tag))
  }
  lapply(seq_len(count), function(i) one())
}

# --- the model ---------------------------------------------------------------------------------

floats <- function(bytes) readBin(bytes, "numeric", length(bytes) / 4, size = 4, endian = "little")
bytes <- function(values) writeBin(as.numeric(values), raw(), size = 4, endian = "little")
rows <- function(raw, count) matrix(floats(raw), nrow = count, byrow = TRUE)

logits <- function(weights, x) {
  sweep(x %*% t(weights[, -1, drop = FALSE]), 2, weights[, 1], "+")
}

softmax <- function(logits) {
  powers <- exp(logits - apply(logits, 1, max))
  powers / rowSums(powers)
}

loss_of <- function(shares, y) -mean(log(pmax(shares[cbind(seq_along(y), y + 1)], 1e-12)))

train <- function(params, count, x, y, seed, settings) {
  weights <- rows(params, classes)
  x <- rows(x, count)
  y <- readBin(y, "integer", count, size = 4, endian = "little")
  offset <- logits(weights, x)
  shares <- softmax(offset)
  wanted <- (1 - own_share) * shares
  wanted[cbind(seq_len(count), y + 1)] <- wanted[cbind(seq_len(count), y + 1)] + own_share
  # A path towards the wanted lambda: glmnet is made to go from strong to weak penalties.
  if (inputs < 2) x <- cbind(x, 0)  # glmnet wants two columns or more
  fit <- glmnet(x, wanted, family = "multinomial", offset = offset, alpha = 0,
                lambda = lambda * c(100, 10, 1), standardize = FALSE)
  change <- t(sapply(coef(fit, s = lambda), as.vector))
  list(bytes(t(weights + change[, seq_len(inputs + 1)])), loss_of(shares, y))
}

evaluate <- function(params, count, x, y) {
  y <- readBin(y, "integer", count, size = 4, endian = "little")
  shares <- softmax(logits(rows(params, classes), rows(x, count)))
  list(loss_of(shares, y), mean(max.col(shares, ties.method = "first") - 1 == y))
}

answer <- function(request) {
  kind <- request[[1]]
  f <- request[-1]
  size <- classes * (inputs + 1L)
  if (kind == 1) {
    if (f[[1]] != 1) stop("this learner speaks version 1, not ", f[[1]])
    return(list(1L, 1L, "multinomial-logit", "classification", classes, size, 1e4, 300L, inputs))
  }
  if (kind == 2) return(list(2L, bytes(numeric(size))))
  if (kind == 3) return(list(3L, bytes(t(logits(rows(f[[1]], classes), rows(f[[3]], f[[2]]))))))
  if (kind == 4) return(c(list(4L), train(f[[1]], f[[2]], f[[3]], f[[4]], f[[5]], f[-(1:5)])))
  if (kind == 5) return(c(list(5L), evaluate(f[[1]], f[[2]], f[[3]], f[[4]])))
  stop("unknown request ", kind)
}

# --- the loop ----------------------------------------------------------------------------------

option <- function(name, otherwise) {
  given <- commandArgs(trailingOnly = TRUE)
  at <- match(paste0("--", name), given)
  if (is.na(at)) otherwise else as.numeric(given[at + 1])
}
inputs <- as.integer(option("inputs", stop("--inputs is missing")))
classes <- as.integer(option("classes", stop("--classes is missing")))
lambda <- option("lambda", 0.02)        # how strongly d is held back
own_share <- option("own-share", 0.5)   # of the labels, in the blend

sink(stderr())  # whatever prints must not get between the frames
from <- file("stdin", "rb")
to <- file("/dev/stdout", "wb", raw = TRUE)
repeat {
  length_bytes <- readBin(from, "raw", 4)
  if (length(length_bytes) < 4) break
  frame <- readBin(from, "raw", number(length_bytes))
  packed <- pack(tryCatch(answer(unpack(frame)), error = function(e) list(0L, conditionMessage(e))))
  writeBin(c(big(length(packed), 4), packed), to)
  flush(to)
}
