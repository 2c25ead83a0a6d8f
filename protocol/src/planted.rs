//! Defects on purpose, to see that the tests would catch them. They are there only under
//! `--cfg takt_planted`; one of them is chosen when a program begins, and lines like
//!
//! ```text
//! #[cfg(takt_planted)]
//! if takt_protocol::planted::is("epoch_unchecked") {
//!     ..
//! }
//! ```
//!
//! do what it says. `.ci/same` compares a release with one that is built without these lines.

use std::sync::OnceLock;

/// Every defect, and what is wrong with it.
pub const ALL: &[(&str, &str)] = &[
    ("ack_before_sync", "an answer leaves before the sync of its commit (the shape of etcd 14370)"),
    ("hub_ack_before_sync", "the hub acknowledges a mirrored batch before its sync"),
    ("no_sync", "a commit is written and never synced"),
    ("failed_sync_retried", "a sync that failed is tried again, and believed"),
    ("failed_write_ignored", "a commit whose write failed is acknowledged"),
    ("no_directory_sync", "the name of the next file is not made durable"),
    ("no_preamble_sync", "the next file gets its name before its preamble is durable"),
    ("cut_at_any_damage", "the log ends at any bad checksum (the shape of NATS 7549)"),
    ("mark_omitted", "an idle node writes no mark"),
    (
        "tail_not_copied",
        "a start forgets what was valid above the proved position: offsets are used again",
    ),
    (
        "old_file_deleted_first",
        "a start deletes what it replaces before its own file is durable (the shape of redb 1290)",
    ),
    ("incarnation_reused", "a start goes on under the incarnation and salt of the one before"),
    ("stale_commit_accepted", "a commit counts wherever it lies, as in a recycled file"),
    ("snapshot_too_late", "a file's snapshot is taken after something of it was judged"),
    ("run_keys_forgotten", "a run lacks keys of its file"),
    ("replayed_keys_forgotten", "a start does not learn the keys behind the runs"),
    ("heads_forgotten", "a start does not load where orders stand"),
    ("epoch_unchecked", "a batch of an old epoch is judged (the shape of KIP-890)"),
    ("sequence_reused_answered", "a used sequence with other content is answered as a repeat"),
    ("conflict_taken_for_repeat", "other content under a known key is answered as a repeat"),
    ("dedup_within_batch_forgotten", "a key that stands twice in a batch counts twice"),
    ("divergence_taken_for_repeat", "a plant whose log is not the hub's goes on as if it were"),
    ("uplink_hold_ignored", "retention drops what the hub does not have"),
    ("cursor_hold_ignored", "retention drops what a cursor with a hold has not read"),
    ("shown_before_sync", "readers see a commit before its sync"),
    ("salt_omitted", "a commit's checksum leaves out the salt of its incarnation"),
    ("mirror_end_apart", "a mirror's end is recorded a commit later than its bytes"),
    ("replay_judges_again", "a start judges batches again instead of taking their verdicts"),
    ("dropped_before_named", "retention deletes a journal file before the entry that says so"),
    ("resend_omitted", "a producer does not send again what a lost stream has taken"),
    ("resumes_late", "a link goes on one batch behind the hub's end"),
    ("merge_keeps_the_oldest", "of two heads of an order, merging keeps the older"),
    ("merged_without_heads", "a merged run has no heads"),
    ("merged_away_before_named", "merged runs are removed before the entry that names the new one"),
    ("run_not_synced", "a run gets its name before it is durable"),
    ("young_table_forgets", "the table of young runs lacks some of their keys"),
    ("filter_forgets", "a filter refuses some keys that are there"),
    ("closed_file_not_asked", "keys of a closed file are not looked up until its run is named"),
    ("unread_is_fresh", "a key whose run does not answer is taken for a fresh one"),
    ("heads_dropped_early", "heads leave memory before a run has them"),
    ("keys_lost_with_retention", "a dropped file takes its run along, merged or not"),
    ("second_key_forgotten", "of a record's two dedup keys the second is not learned"),
    (
        "conflict_replaces_first",
        "in a run, a conflict takes the place of a key's first of the same content",
    ),
    ("horizon_dropped_early", "keys are forgotten when half of the horizon has passed"),
    ("keys_dropped_early", "forgotten runs are removed before the entry that says so"),
    ("heads_expire_early", "an order begins again that was quiet for a part of the horizon"),
    ("topic_trim_ignores_holds", "a topic's limits trim what the hub lacks or a cursor holds"),
    ("trim_moves_start_too_far", "a trimmed partition begins one batch behind what was trimmed"),
    ("topic_keeps_too_little", "a topic keeps half of the bytes that it is to keep"),
    ("topic_file_dropped_early", "a file that no topic needs goes before the entry that says so"),
    ("pack_not_synced", "a pack gets its name before it is durable"),
    ("pack_forgets_a_batch", "a pack lacks the last batch of those that are sorted at a time"),
    ("packed_before_named", "packed files go before the entry that names their pack"),
    ("old_pack_removed_early", "a pack goes before the entry that names the one in its place"),
    ("pack_goes_with_its_first", "a pack goes with the first of the files that it stands for"),
    ("compaction_takes_the_latest", "compaction leaves out the latest event of an order too"),
    ("compaction_takes_what_has_no_order", "compaction leaves out events without an order key"),
    ("compaction_takes_conflicts", "compaction leaves out conflicts that wait for an operator"),
    ("compaction_ignores_holds", "what the hub does not have yet is compacted"),
    ("age_by_any_clock", "retention judges ages by a wall clock that has leapt ahead"),
];

static CHOSEN: OnceLock<String> = OnceLock::new();

/// Chooses a defect for as long as the program runs.
///
/// # Panics
/// If there is no such defect, or one was chosen already.
pub fn choose(name: &str) {
    assert!(ALL.iter().any(|(known, _)| *known == name), "there is no defect {name}");
    CHOSEN.set(name.to_owned()).expect("one defect is chosen once");
}

/// Whether this defect was chosen.
pub fn is(name: &str) -> bool {
    debug_assert!(ALL.iter().any(|(known, _)| *known == name), "there is no defect {name}");
    CHOSEN.get().is_some_and(|chosen| chosen == name)
}
