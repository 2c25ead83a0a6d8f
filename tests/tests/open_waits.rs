//! A node waits, with a deadline, for a directory that another process holds.

use takt_tests::process::Process;
use takt_tests::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_held_directory_is_waited_for_until_the_deadline() {
    let mut site = Site::new(&["munich"]);
    let mut first = site.start("munich").await;

    site.set("munich", "node.open_deadline", "300ms");
    let mut second = Process::spawn(&mut site.command("munich"));
    assert_eq!(second.ended().await.code(), Some(1));
    let said = second.said("another process holds").await;
    assert!(said.contains(site.data_dir("munich").to_str().unwrap()), "{said}");

    site.set("munich", "node.open_deadline", "60s");
    let mut third = Process::spawn(&mut site.command("munich"));
    // It has tried and waits: its predecessor is still there.
    third.said("waits for the data directory").await;
    assert!(!third.has_said("ready "));
    first.kill();
    third.ready().await;
    assert!(third.stop().await.success());
}
