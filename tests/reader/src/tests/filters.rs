//! Filters of runs, made here by peeling.

use super::build::{filter, low};
use crate::filter::{Filter, mix};

pub(super) fn hashes(count: u64, salt: u64) -> Vec<u128> {
    let hash =
        |n: u64| u128::from(mix(n ^ salt)) << 64 | u128::from(mix(n.wrapping_add(salt << 9)));
    (1..=count).map(hash).collect()
}

fn passes(filter: &Filter<'_>, hash: &u128) -> bool {
    filter.passes((hash >> 64) as u64, low(hash))
}

#[test]
fn a_filter_lets_its_keys_pass_and_hardly_others() {
    // The finalizer of MurmurHash3 has published values.
    assert_eq!((mix(0), mix(1)), (0, 0xb456_bcfc_34c2_cb2c));
    for (count, shards) in [(1, 1), (2, 1), (300, 1), (3_000, 1), (3_000, 3)] {
        let keys = hashes(count, 77);
        let bytes = filter(&keys, shards);
        let filter = Filter::read(&bytes).unwrap();
        assert!(keys.iter().all(|hash| passes(&filter, hash)));
        let wrong = hashes(100_000, 0xabcd).iter().filter(|hash| passes(&filter, hash)).count();
        assert!(wrong < 12, "{wrong} of 100,000 at {count}");
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    let whole = filter(&hashes(40, 3), 1);
    Filter::read(&whole).unwrap();
    assert!(Filter::read(&[&whole[..], &[0]].concat()).is_err());
    assert!(Filter::read(&whole[..whole.len() - 1]).is_err());
    assert!(Filter::read(&[0; 8]).is_err(), "no shard");
    for (at, byte) in [(0, 2), (4, 1), (16, 1), (16, 19), (20, 0), (20, whole[20] + 1), (23, 255)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        assert!(Filter::read(&bytes).is_err(), "{at}");
    }
}
