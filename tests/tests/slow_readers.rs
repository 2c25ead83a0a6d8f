//! 100 readers of a byte a second beside 4 producers at full rate for 30 seconds: the node's memory
//! is bounded, and a reader that keeps up sees everything.
//!
//! What they cost the fast reader is measured by the binary `slow_readers`: a rate is no test.

use std::time::Duration;

use takt_tests::flood::Flood;

const SLOW: usize = 100;
const LENGTH: Duration = Duration::from_secs(30);
const MEMORY_BYTES_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_slow_readers_cost_bounded_memory_and_no_event() {
    let flood = Flood::start().await;
    let slow = flood.slow_readers(SLOW).await;
    let rate = flood.reader_rate(LENGTH).await;
    let (peak, acknowledged) = (flood.memory_peak_bytes(), flood.acknowledged());
    println!("{acknowledged} events, {rate:.0} a second; at most {} MiB", peak >> 20);
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
    slow.end().await;
    flood.finish().await;
}
