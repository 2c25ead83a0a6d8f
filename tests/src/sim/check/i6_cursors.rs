//! I6: a cursor never goes back: at the end it stands nowhere below what was committed, and nowhere
//! that nobody asked for. That each life begins there is checked as it begins.

use super::end::End;
use crate::sim::history::History;

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
}
