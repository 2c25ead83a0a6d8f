//! What `takt-tests cuts` does, ten times over, where this machine allows it.

use takt_tests::cuts::cut;

#[tokio::test(flavor = "multi_thread")]
async fn power_cuts_lose_nothing_that_was_acknowledged() {
    let report = match cut(10, 11).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("SKIPPED: no power was cut (it takes root, ext4, a loop device): {error}");
            return;
        }
    };
    println!("{report:#?}");
    assert_eq!(report.violations, []);
    assert_eq!(report.invalid(), None);
    assert_eq!(report.cuts, 10);
}
