//! Virtio network card.
#![no_std]
#![forbid(unsafe_code)]
