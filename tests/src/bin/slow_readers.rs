//! What 100 readers of a byte a second cost a reader that keeps up: its rate in equal phases
//! without and with them, taken in turns within one run.

use std::time::Duration;

use takt_tests::flood::Flood;

const SLOW: usize = 100;
const ROUNDS: usize = 4;
const PHASE: Duration = Duration::from_secs(8);
/// How long a phase runs before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let flood = Flood::start().await;
    let (mut without, mut with) = (0.0, 0.0);
    for round in 1..=ROUNDS {
        flood.reader_rate(WARM_UP).await;
        let alone = flood.reader_rate(PHASE).await;
        let slow = flood.slow_readers(SLOW).await;
        flood.reader_rate(WARM_UP).await;
        let beside = flood.reader_rate(PHASE).await;
        slow.end().await;
        let (peak, events) = (flood.memory_peak_bytes() >> 20, flood.acknowledged());
        println!(
            "round {round}: {alone:.0} events/s alone, {beside:.0} beside {SLOW} slow readers"
        );
        println!("    the node's memory was at most {peak} MiB after {events} events");
        without += alone;
        with += beside;
    }
    let peak = flood.memory_peak_bytes() >> 20;
    println!("ratio {:.3}; the node's memory was at most {peak} MiB", with / without);
    flood.finish().await;
}
