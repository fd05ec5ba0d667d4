//! Writes follow reads: a write is a later version than those its session read before.
//!
//! Viotti and Vukolić: `vis ; so|rd→wr ⊆ ar`. Of what a read sees the version it answers with is the last, so it is
//! enough that this comes before all later writes of the session: one arrow from it to a node before all of them.
//! A read of a version that its own session writes later is a circle by itself.

use super::{
    graph::Graph,
    versions::{Act, Node, Versions},
};

pub(super) fn demand(versions: &Versions, graph: &mut Graph) {
    for session in versions.sessions() {
        let mut before: Option<Node> = None;
        for step in session.iter().rev() {
            if step.act == Act::Read {
                if let Some(before) = before {
                    graph.arrow_in(step.version, before, step.place);
                }
            } else {
                let node = graph.node();
                graph.arrow_out(node, step.version, step.place);
                if let Some(before) = before {
                    graph.arrow_on(node, before);
                }
                before = Some(node);
            }
        }
    }
}
