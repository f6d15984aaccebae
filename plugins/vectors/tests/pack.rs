//! Every verifier of the pack against its recorded requests.

#![allow(unreachable_pub, missing_docs, reason = "the plugins' sources, each a crate of its own elsewhere")]

include!(concat!(env!("OUT_DIR"), "/pack.rs"));
