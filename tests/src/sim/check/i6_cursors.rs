//! I6: a cursor never goes back: at the end it stands nowhere below what was committed, and nowhere
//! that nobody asked for. That each life begins there is checked as it begins. And what is kept is
//! kept: that nothing is dropped that a cursor holds or the hub lacks is checked as it is dropped,
//! here that nothing was that was too young.

use super::end::End;
use crate::sim::history::{Dropped, History};

/// Looks every cursor up at the node that keeps it.
pub fn check(end: &End<'_>, history: &History, violated: &mut dyn FnMut(String)) {
    for (name, known) in &history.committed {
        let kept = end.nodes.iter().find_map(|node| node.cursors.get(name.as_str()));
        for (partition, least) in &known.acknowledged {
            let text = partition.to_string();
            let positions = kept.map(|cursor| &cursor.positions);
            let at = positions
                .and_then(|positions| positions.iter().find(|(id, _)| id.to_string() == text))
                .map(|(_, at)| *at);
            let most = known.asked.get(partition).map_or(0, |most| most.get());
            if at.is_none_or(|at| at < least.get() || at > most) {
                violated(format!(
                    "{name} stands at {at:?} in {text}, committed {least}, asked at most {most}"
                ));
            }
        }
    }
    for Dropped { partition, upto, older_than } in &history.drops {
        let id = partition.to_string();
        let mirror = end.hub().partitions.iter().find(|mirror| mirror.id.to_string() == id);
        let index = upto.get().checked_sub(1).and_then(|last| usize::try_from(last).ok());
        let newest = mirror.zip(index).and_then(|(mirror, index)| mirror.batches.get(index));
        let appended = newest.map(|batch| batch.append_time);
        if older_than.is_some_and(|limit| appended.is_none_or(|at| at >= limit.as_micros())) {
            violated(format!(
                "{id} was dropped up to {upto}, appended at {appended:?}, too young for {older_than:?}"
            ));
        }
    }
}
