//! Monotonic writes: the writes of a session are versions in the order in which it wrote them.
//!
//! Viotti and Vukolić: `so|wr→wr ⊆ ar`. A write that was not answered may take effect after later ones, so that it
//! comes behind those before it and before none.

use super::{
    graph::Graph,
    versions::{Act, Step, Versions},
};

pub(super) fn demand(versions: &Versions, graph: &mut Graph) {
    for session in versions.sessions() {
        let mut last: Option<&Step> = None;
        for write in session.iter().filter(|step| step.act != Act::Read) {
            if let Some(last) = last {
                graph.arrow(last.version, write.version, (last.place, write.place));
            }
            if write.act == Act::Write {
                last = Some(write);
            }
        }
    }
}
