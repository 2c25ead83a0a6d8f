//! What `takt-tests kills` does, a few times over: the long run is the command's.

use takt_tests::kills::kill;

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_random_instants_lose_nothing_that_was_acknowledged() {
    let report = kill(30, 7).await;
    println!("{report:#?}");
    assert_eq!(report.violations, []);
    assert_eq!(report.invalid(), None);
    assert_eq!(report.kills, 30);
}
