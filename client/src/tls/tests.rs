//! Both ends over real endpoints on the loopback address.

mod credentials;
mod handshake;
mod identity;
mod names;
mod pki;
